"""What a search costs beyond training, in seconds for each trial.

    python -m tests.benchmarks.tuner [--quick] [--json PATH]

LeNet-300-100 on digits, by the preset's pipeline. A trial's time in `fit` is
its own; everything else belongs to the search: keras-tuner, building the
model, saving trial, chosen weights and report.
"""

import pathlib
import statistics
import tempfile
import time

import tf_lottery as tfl
from tests.benchmarks import harness
from tf_lottery import experiments

_TARGET = 1.0


def main():
    args = harness.parser(__doc__).parse_args()
    trials = 6 if args.quick else 20
    kinds = ("random",) if args.quick else ("random", "bayesian")
    harness.report(
        f"Search, {trials} trials",
        [_row(kind, trials) for kind in kinds],
        args.json,
    )


def _row(kind, trials):
    found = overheads(kind, trials)
    low, middle, high = harness.quartiles(found)
    return harness.Row(
        f"{kind}: a trial beyond `fit`", middle, _TARGET, "s",
        f"quartiles {low:.2f} to {high:.2f}, largest {max(found):.2f}, mean "
        f"{statistics.mean(found):.2f}",
    )


def overheads(kind, trials):
    """Returns the seconds of each trial that were not spent in `fit`."""
    preset = experiments.preset("lenet-digits", iterations=40, rounds=1)
    ends = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as directory:
        tuner = tfl.tuner.sweep(
            preset, pathlib.Path(directory, "sweep"), trials, kind,
            on_trial_end=lambda trial: ends.append(time.perf_counter()),
        )
        tuner.search()
        tuner.report().save(tuner.project_dir)
        ends.append(time.perf_counter())
        trained = [
            trial.outcome.trained for trial in tuner.report().trials
        ]
    whole = [after - before for before, after in zip(ends, ends[1:])]
    # The first one loads the data, the last of them is the report.
    return [a - b for a, b in zip(whole[1:-1], trained[1:])] + whole[-1:]


if __name__ == "__main__":
    main()
