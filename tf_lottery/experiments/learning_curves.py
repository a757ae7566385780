"""Learning curves: what the trainings of a run logged as they went."""

from tf_lottery.analysis import reading
from tf_lottery.analysis import run_files
from tf_lottery.experiments import histories
from tf_lottery.experiments import outputs
from tf_lottery.verdicts import comparisons


def of_run(run):
    """Yields the trainings of a run that kept their logs; callbacks keep none.

    Each is a row, of `run.rows` or `run.controls`, and pairs of a step and the
    dict of what was logged there.
    """
    if "dataset" not in run.config:
        return
    with reading.of(run.path / run_files.CONFIG):
        last, every = run.config["iterations"], run.config["evaluate_every"]
    for row, logs in _logs(run):
        if logs:
            # The first release did not note the steps.
            steps = range(row.get("steps") or last, 0, -every)
            yield row, list(zip(steps, reversed(logs)))[::-1]


def _logs(run):
    rounds = {}
    for row in (*run.rows, *run.controls):
        place = outputs.TrialDirectory(run_files.trial(run.path, row["trial"]))
        path, name = place.history, row.get("control")
        own = place.control(
            row["round"], name or comparisons.FULL_LENGTH,
            row.get("number", 0),
        )
        if own.exists():
            yield row, _read(own)
            continue
        if name is not None:
            path = place.variant(name).history
        if path not in rounds:
            rounds[path] = _by_round(_read(path)) if path.exists() else {}
        if row["round"] in rounds[path]:
            yield row, rounds[path][row["round"]]


def _by_round(logs):
    found = {}
    for entry in logs:
        found.setdefault(entry["round"], []).append(entry)
    return found


def _read(path):
    with reading.of(path):
        return histories.read(path)
