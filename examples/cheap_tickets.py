"""Tickets without the bill: fewer and shorter rounds beside the full protocol.

`tf-lottery run --protocol cheap` prunes in four rounds as much as the full
protocol in 15, and trains two thirds as long between the first and the last.
Here its tickets are put beside those of the full protocol, trial by
trial: both start from the same weights, and train on the same batches. Two
runs, finished or not, are read as they are; without them they are run first:

    tf-lottery run lenet-mnist --iterations 6000 --trials 5 \\
        --output-dir runs/lenet
    tf-lottery run lenet-mnist --iterations 6000 --trials 5 \\
        --protocol cheap --control-trials 0 --output-dir runs/cheap
    python examples/cheap_tickets.py --full runs/lenet --run runs/cheap
"""

import argparse
import math
import pathlib
import statistics

from laboratory import pages
from laboratory import runs
from scipy import stats

from tf_lottery.analysis import caveats

# By how many points a ticket may be behind, in the mean over trials.
GOAL = 0.15
# By what part two densities that are compared may differ.
ALIKE = 0.02
METRICS = {
    "at the end": "test_accuracy",
    "at early stop": "early_stop_test_accuracy",
}
TEXT = (
    "Tickets of `--protocol cheap` beside those of the full protocol at the "
    "same density. Steps are those of all rounds that a ticket takes, the "
    "dense round and its own included. Test accuracy in %: means, in brackets "
    "the least and the greatest of the trials; differences are paired by "
    "trial, with a 90 % interval of the t distribution."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runs.add_arguments(parser, rounds=4)
    parser.add_argument(
        "--full", type=pathlib.Path, metavar="DIR",
        help="run of the full protocol; default: a run of its own",
    )
    arguments = parser.parse_args()
    other = argparse.Namespace(**vars(arguments) | {"run": arguments.full})
    with (
        runs.found(other, rounds=round(15 / 4 * arguments.rounds)) as full,
        runs.found(arguments, protocol="cheap") as cheap,
    ):
        found = list(compared(full, cheap, arguments.trials))
    for name in ("seed", "iterations"):
        values = [getattr(each.preset, name) for each in (full, cheap)]
        if values[0] != values[1]:
            parser.error(f"The runs differ in {name}: {values}")
    table = summary(found)
    verdict = judged(table.rows[-1])
    pages.show(table)
    print(verdict)
    pages.write(
        arguments.output_dir,
        f"Tickets without the bill: {cheap.preset.name}",
        "\n".join([TEXT, "", verdict, "", *(
            f"- {line}" for line in caveats.of_protocol(
                cheap.run.config, cheap.run.ends, {}
            )
        )]),
        [table],
        {},
        runs.protocol(full) | {
            "rates": f"{full.preset.rate} in full rounds, "
            f"{cheap.preset.rate} in cheap ones",
        },
        {"trials": found},
    )


def compared(full, cheap, trials=None):
    """Yields a row for each density and trial that both runs have.

    Args:
        full: `Subject` of a run of the full protocol.
        cheap: `Subject` of a run of the cheap one.
        trials: Integer, how many trials; `None` for all.
    """
    for row in cheap.run.whole_rows:
        trial, number = row["trial"], row["round"]
        other = next((
            each for each in full.run.whole_rows if each["trial"] == trial
            and math.isclose(each["density"], row["density"], rel_tol=ALIKE)
        ), None)
        if other is None or trials is not None and trial >= trials:
            continue
        yield {
            "trial": trial,
            "round, full": other["round"],
            "round, cheap": number,
            "density, %": 100 * row["density"],
            **{
                f"{where}, {name}": 100 * each[metric]
                for where, metric in METRICS.items()
                for name, each in (("full", other), ("cheap", row))
            },
            "steps, full": steps(full, trial, other["round"]),
            "steps, cheap": steps(cheap, trial, number),
        }


def steps(subject, trial, round):
    """Returns the steps of all rounds that a ticket takes."""
    rounds = subject.results[trial][:round + 1]
    again = subject.preset.rewind_step * round
    return sum(result.steps for result in rounds) - again


def summary(found):
    rows = []
    for _, same in pages.grouped(found, "round, cheap").items():
        row = {
            "density, %": statistics.fmean(r["density, %"] for r in same),
            "trials": len(same),
        }
        for where in METRICS:
            for name in ("full", "cheap"):
                row[f"{where}, {name}"] = pages.Spread.of(
                    same, f"{where}, {name}"
                )
            row[f"{where}, difference"] = difference([
                r[f"{where}, cheap"] - r[f"{where}, full"] for r in same
            ])
        for name in ("full", "cheap"):
            row[f"steps, {name}"] = round(
                statistics.fmean(r[f"steps, {name}"] for r in same)
            )
        rows.append(row)
    return pages.Table("tickets", "Tickets by both protocols", rows)


def difference(values):
    """Returns the mean of differences and its interval, as text."""
    mean = statistics.fmean(values)
    if len(values) < 2 or math.isclose(min(values), max(values)):
        return f"{mean:+.2f}"
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def judged(row):
    """Says how far the sparsest tickets of the cheap protocol are behind."""
    part = 100 * row["steps, cheap"] / row["steps, full"]
    behind = row["at the end, full"].mean - row["at the end, cheap"].mean
    met = "met" if behind <= GOAL else "missed"
    return (
        f"At {row['density, %']:.1f} % density, with {part:.0f} % of the "
        f"steps, tickets end {behind:.2f} points behind those of the full "
        f"protocol, the mean over trials: {row['trials']}; the goal, at most "
        f"{GOAL} points, is {met}."
    )


if __name__ == "__main__":
    main()
