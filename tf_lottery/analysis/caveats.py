"""Caveats: reasons not to believe a run's numbers yet."""

from tf_lottery.analysis import published as published_lib
from tf_lottery.analysis.curves import TICKETS
from tf_lottery.analysis.curves import of_runs
from tf_lottery.verdicts import comparisons
from tf_lottery.verdicts import judging

_FEW = 3


def of_run(run):
    """Returns the caveats of a run as a list of sentences."""
    published = published_lib.of(run.config)
    return [
        *of_protocol(run.config, run.ends, published),
        *_measured(run),
        *_controls(run),
        *_unknown(run, published),
    ]


def of_protocol(config, ends, published):
    """Returns the caveats of how much was run, up to the `ends` of trials."""
    return [
        *_trials(len(ends)),
        *_unfinished(config, ends),
        *_changed(config),
        *_middle_rounds(config),
        *_protocol(config, published.get("protocol", {})),
        *_budget(config),
    ]


def _trials(number):
    if number == 1:
        yield (
            "One trial: there is no band around the tickets, and a "
            "difference of a few tenths of a point may be chance."
        )
    elif number < _FEW:
        yield f"{number} trials: the bands are from the least to the greatest."


def _changed(config):
    changes = ", ".join(
        f"{name.replace('_', ' ')} {after} instead of {before}"
        for name, (before, after) in (config.get("changed") or {}).items()
    )
    if changes:
        yield (
            f"Changed from preset {config['name']}: {changes}. Numbers of its "
            "paper do not belong next to these."
        )


def _middle_rounds(config):
    part = config.get("middle_rounds", 1)
    if part != 1:
        yield (
            f"Rounds between the first and the last have {100 * part:.3g} % "
            "of the steps. Of their tickets, only those with controls were "
            "trained at full length as well; charts leave the others out."
        )


def _measured(run):
    if run.judgement.refused == judging.CHANCE:
        yield (
            "The dense network is at chance level: a ticket that matches it "
            "has learnt no more."
        )
    for rows, what in ((run.rows, "tickets"), (run.controls, "controls")):
        last = sum(row["early_stop_censored"] for row in rows)
        if last:
            yield (
                f"The early stop was not measured in {last} of "
                f"{_counted(len(rows), 'training')} of {what}, whose smallest "
                "validation loss is the last: their rounds have none here."
            )


def _unfinished(config, ends):
    planned, counts = config.get("rounds"), ends.values()
    trials = config.get("trials", 1)
    if len(counts) < trials or (planned and min(counts) < planned):
        rounds = _counted(planned, "round") if planned else "its rounds"
        yield (
            f"Unfinished: {len(counts)} of {_counted(trials, 'trial')}, with "
            f"{min(counts)} of {rounds} in the shortest."
        )


def _protocol(config, protocol):
    units = {
        "iterations": ("step", " a round"),
        "batch_size": ("image", " in a batch"),
        "trials": ("trial", ""),
    }
    for key, (unit, where) in units.items():
        ours, paper = config.get(key), protocol.get(key)
        if ours is not None and paper is not None and ours != paper:
            what = "Shortened protocol" if ours < paper else "Other protocol"
            yield (
                f"{what}: {_counted(ours, unit)}{where}, the paper has "
                f"{paper:,}."
            )


def _counted(number, unit):
    return f"{number:,} {unit}" if number == 1 else f"{number:,} {unit}s"


def _budget(config):
    budget, shortened = config.get("budget"), config.get("shortened")
    if budget or shortened:
        changes = ", ".join(
            f"{key} {value}" for key, value in (shortened or {}).items()
        )
        yield (
            f"Shortened to fit a budget of time ({budget or 'given'})"
            f"{': ' * bool(changes)}{changes}."
        )


def _controls(run):
    if not run.controls:
        yield (
            "No controls were trained: nothing here says that the masks or "
            "the initial weights of the tickets are special."
        )
        return
    rounds = {row["round"] for row in run.rows} - {0}
    controlled = {row["round"] for row in run.controls}
    if rounds - controlled:
        yield (
            f"Controls were trained for {len(controlled)} of {len(rounds)} "
            "rounds."
        )
    for name, metrics in of_runs([run]).items():
        if name == TICKETS:
            continue
        fewest = min(
            (min(curve.counts) for curve in metrics.values()), default=0
        )
        if fewest == 1:
            yield (
                f"Some points of {comparisons.label(name)!r} are single "
                "trainings."
            )


def _unknown(run, published):
    if not published and "dataset" in run.config:
        yield (
            "No paper's numbers are known for this experiment; compare the "
            "curves with each other only."
        )
