"""At a high learning rate a deep network has no ticket at initialisation.

Frankle et al. 2019 (arXiv:1903.01611), table 1 and figure 4: there tickets
rewound to step 0 are no better than re-initialised ones or random masks, and
tickets rewound to a step a little into training match the dense network.
Frankle et al. 2020 (arXiv:1912.05671) say why: by then the order of the data
does not decide any more where training ends. So beside the accuracy of every
rewinding point stand the barriers of the error between two trainings that
differ in the order of the data, and between the dense network and the ticket.
The dense round is trained once for all points. A narrow ResNet-20 on CIFAR-10
of 16x16 pixels, pruned once, in half an hour a trial:

    tf-lottery run resnet20-cifar10 --model resnet_20_narrow \\
        --dataset cifar10_16x16 --augment none --batch-size 64 \\
        --iterations 3000 --evaluate-every 200 --rate "*=0.85" --rounds 1 \\
        --rewind-to 400it --also-rewind-to 0,200it,800it \\
        --test-densities 0.15 --trials 3 --output-dir runs/rewinding
    python examples/rewinding_matters.py --run runs/rewinding
"""

import argparse
import itertools

from laboratory import lines
from laboratory import pages
from laboratory import runs

from tf_lottery import analysis
from tf_lottery.analysis import caveats
from tf_lottery.verdicts import comparisons
from tf_lottery.verdicts import words

_CLEAREST = "validation accuracy, %"
_ACCURACIES = {_CLEAREST: "val_accuracy", "test accuracy, %": "test_accuracy"}
_OVER = "over re-init, points of validation"
_BARRIERS = {
    "barrier between orders, train": "barrier, train",
    "the same, test": "barrier, test",
    "barrier to dense, train": "to dense, train",
    "the same to dense, test": "to dense, test",
    "L2 between orders": "L2",
}
TEXT = (
    "Table 1 and figure 4 of Frankle et al. 2019, "
    "[arXiv:1903.01611](https://arxiv.org/abs/1903.01611): there, "
    "\"Resnet-18\" at learning rate 0.1 and 16.7 % density comes to 87.7 % "
    "rewound to step 0, 87.7 % with random masks, and above the dense "
    "network's 90.5 % rewound to step 500. Barriers are the highest error on "
    "the line between two networks less the mean of its ends, in points, on "
    "10,000 training images and on the test set: between two trainings of "
    "the ticket in different orders of the data "
    "([arXiv:1912.05671](https://arxiv.org/abs/1912.05671)), and between "
    "the dense network and the ticket as they were trained. Random "
    "masks start where the tickets of step {} do. Nothing was chosen on the "
    "validation set, whose {:,} images tell smaller differences than the "
    "test set's {:,}."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runs.add_arguments(parser, rounds=1)
    parser.set_defaults(preset="resnet20-cifar10")
    parser.add_argument("--rewind-to", default="400it", metavar="POINT")
    lines.add_arguments(parser)
    arguments = parser.parse_args()
    trainings = runs.Rows(arguments.output_dir)
    with runs.found(
        arguments, rewind_to=arguments.rewind_to, also_rewind_to=(0,),
        control_trials=1, control_every=arguments.rounds,
    ) as subject:
        last = subject.preset.rounds
        for trial in runs.trials(subject, last)[:arguments.trials]:
            for step in runs.points(subject):
                add(trainings, subject, arguments, trial, step)
    preset, run = subject.preset, subject.run
    shown = table(subject, trainings.rows)
    pages.show(shown)
    pages.write(
        arguments.output_dir,
        f"Where to rewind to: {preset.model} on {preset.dataset}",
        "\n".join([
            TEXT.format(
                preset.rewind_step, len(subject.data.x_val),
                subject.data.test_images,
            ), "", *pages.bullets([
                *words.text(run.judgement).splitlines(),
                *caveats.of_run(run),
            ]),
        ]),
        [shown],
        {"line": lines.chart(
            "Test error between two orders of the data", trainings.rows,
            "rewound to",
        )},
        runs.protocol(subject),
        {"tickets": run.rows, "controls": run.controls},
    )


def add(trainings, subject, arguments, trial, step):
    """Measures the barriers of a rewinding point, if not known."""
    bench, last = subject.bench(trial), subject.preset.rounds

    def measure():
        ticket = subject.ticket(trial, last, step)
        dense, _ = runs.trained(subject, bench)
        trained, _ = runs.trained(subject, bench, last, step)
        level = lines.between(bench, (dense, trained), arguments)
        bench.retrain(ticket, order=1)
        other = bench.weights()
        return {
            **lines.between(bench, (trained, other), arguments),
            "to dense, train": level["barrier, train"],
            "to dense, test": level["barrier, test"],
            "L2": analysis.stability(trained, other, ticket.masks).distance,
        }

    trainings.add(measure, trial=trial, **{"rewound to": step})


def table(subject, found):
    """A row for every rewinding point, and one for each control."""
    run, last = subject.run, subject.preset.rounds
    rows = [row for row in run.rows + run.controls if row["round"] == last]
    series = pages.grouped([
        {"series": row.get("control", ""), "trial": row["trial"]} | {
            name: 100 * row[metric] for name, metric in _ACCURACIES.items()
        }
        for row in rows
    ], "series")
    known = {
        row["trial"]: row for row in series.get(("random_reinitialize",), ())
    }
    for row in itertools.chain(*series.values()):
        if row["trial"] in known:
            row[_OVER] = row[_CLEAREST] - known[row["trial"]][_CLEAREST]
    shown = [
        _row("dense", [
            {"trial": row["trial"]} | {
                name: 100 * row[metric] for name, metric in _ACCURACIES.items()
            }
            for row in run.rows if not row["round"]
        ])
    ]
    for step in runs.points(subject):
        own = step == subject.preset.rewind_step
        shown.append(_row(
            f"ticket, rewound to step {step}",
            series.get(("" if own else comparisons.of_point(step),), ()),
            [row for row in found if row["rewound to"] == step],
        ))
    for name in ("random_reinitialize", "random_masks"):
        shown.append(_row(comparisons.label(name), series.get((name,), ())))
    density = 100 * rows[0]["density"]
    return pages.Table("points", f"At {density:.1f} % density", shown)


def _row(network, rows, barriers=()):
    return {
        "network": network,
        **{
            name: pages.Spread.of(rows, name)
            for name in (*_ACCURACIES, _OVER)
        },
        **{
            title: pages.Spread.of(barriers, name)
            for title, name in _BARRIERS.items()
        },
    }


if __name__ == "__main__":
    main()
