"""Are the solutions of successive rounds connected by a straight line?

Paul et al. 2023, "Unmasking the Lottery Ticket Hypothesis: What's Encoded in
a Winning Ticket's Mask?" (arXiv:2210.03044): the networks that two successive
rounds trained to are linearly connected, without a hill of the error between
them, if and only if the later ticket matches the dense network. For chosen
rounds, and at every rewinding point of the run, both networks are trained
again, if the run has not kept them, and the error on the line is measured;
statistics of batch normalisation are estimated anew at every point. With a
directory of results that was interrupted, it resumes where it was:

    python examples/level_connectivity.py --run runs/lenet \\
        --choose 1 3 7 9 15 18 --output-dir level
    python examples/level_connectivity.py --iterations 2000
"""

import argparse

from laboratory import lines
from laboratory import pages
from laboratory import runs

TEXT = (
    "The error on the line between the network that a round trained to and "
    "that of the round before: the barrier is the highest error less the mean "
    "of both ends, in points. A round matches if its test accuracy at the end "
    "is at most {:g} points below that of the dense network of its trial. "
    "[arXiv:2210.03044](https://arxiv.org/abs/2210.03044) finds that rounds "
    "match where there is no barrier, and only there."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runs.add_arguments(parser, rounds=15, choose=True)
    lines.add_arguments(parser)
    arguments = parser.parse_args()
    trainings = runs.Rows(arguments.output_dir)
    with runs.found(arguments) as subject:
        numbers = [number for number in arguments.choose if number]
        for trial in runs.trials(subject, max(numbers))[:arguments.trials]:
            for step in runs.points(subject):
                for number in numbers:
                    add(trainings, subject, arguments, trial, number, step)
    rows, margin = trainings.rows, subject.preset.margin
    shown = table(rows, 100 * margin)
    pages.show(shown)
    pages.write(
        arguments.output_dir,
        f"Between successive rounds: {subject.preset.name}",
        TEXT.format(100 * margin),
        [shown],
        {"barrier": pages.against_density(
            rows, "barrier, test", "rewound to"
        )},
        runs.protocol(subject, arguments),
    )


def add(trainings, subject, arguments, trial, number, step):
    """Measures the line from a round to the one before, if not known."""
    bench = subject.bench(trial, arguments.iterations)

    def measure():
        before, _ = runs.trained(subject, bench, number - 1, step)
        after, accuracy = runs.trained(subject, bench, number, step)
        _, dense = runs.trained(subject, bench)
        return {
            "density": 100 * subject.ticket(trial, number, step).density,
            "below the dense network": 100 * (dense - accuracy),
            **lines.between(bench, (before, after), arguments),
        }

    trainings.add(
        measure, trial=trial, round=number,
        **{"rewound to": f"step {step}"},
        iterations=bench.preset.iterations,
    )


def table(rows, margin):
    """A row for each round and rewinding point."""
    shown = []
    for (step, number), same in pages.grouped(
        rows, "rewound to", "round"
    ).items():
        below = [row["below the dense network"] for row in same]
        shown.append({
            "rewound to": step, "rounds": f"{number - 1} and {number}",
            "density, %": pages.Spread.of(same, "density").mean,
            **{
                name: pages.Spread.of(same, name) for name in
                ("barrier, train", "barrier, test", "below the dense network")
            },
            "matching": f"{sum(each <= margin for each in below)} of "
            f"{len(below)}",
            "stable": lines.stable(same),
        })
    return pages.Table(
        "barriers", "Barriers in points; stable: below 2 points", shown
    )


if __name__ == "__main__":
    main()
