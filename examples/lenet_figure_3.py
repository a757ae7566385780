"""Figures 3 and 4 of the lottery ticket paper: LeNet-300-100 on MNIST.

Frankle and Carbin 2019 (arXiv:1803.03635): test accuracy and early-stop step
against density, of tickets and of what they have to beat, and the
paper's claims next to what came out here. The directory of a run, finished or
not, is read as it is. Without one the preset is run first, which takes an
hour and more by the paper's protocol; ten minutes with 5,000 iterations:

    tf-lottery run lenet-mnist --trials 3 --output-dir runs/lenet
    python examples/lenet_figure_3.py --run runs/lenet --output-dir lenet
    python examples/lenet_figure_3.py --iterations 5000
"""

import argparse

from laboratory import curves as curves_lib
from laboratory import pages
from laboratory import runs

from tf_lottery.analysis import caveats
from tf_lottery.analysis import claims
from tf_lottery.analysis.curves import chart
from tf_lottery.analysis.curves import of_runs
from tf_lottery.experiments import changes
from tf_lottery.verdicts import words

COMPARED = ("random-reinit", "random-mask", "one-shot")
COLUMNS = {
    "early_stop_test_accuracy": "Test accuracy at early stop, %",
    "early_stop_step": "Early-stop step",
    "test_accuracy": "Test accuracy at the end, %",
}
TEXT = (
    "Figures 3 and 4 of Frankle and Carbin 2019, "
    "[arXiv:1803.03635](https://arxiv.org/abs/1803.03635): LeNet-300-100, "
    "20 % of the weights removed in every round, 10 % of the output layer's. "
    "Values are means over trials. The early-stop step is that of the least "
    "validation loss; where this was the last evaluation in any trial, the "
    "early stop was not measured."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runs.add_arguments(parser, rounds=16)
    parser.add_argument(
        "--control-trials", type=int, default=1, help="controls of each kind"
    )
    arguments = parser.parse_args()
    with runs.found(
        arguments, compare=COMPARED, control_trials=arguments.control_trials
    ) as subject:
        preset, run = subject.preset, subject.run
    curves = of_runs([run])
    published = changes.published(preset)
    compared = claims.compare(published, curves)
    # Where no early stop was measured, there is nothing to draw of it.
    shown = [
        name for name in COLUMNS
        if any(name in metrics for metrics in curves.values())
    ]
    tables = [
        curves_lib.table(run, name, COLUMNS[name]) for name in shown
    ]
    if compared:
        tables.insert(0, claimed(compared))
    pages.show(*tables)
    pages.write(
        arguments.output_dir,
        f"Tickets and their controls: {preset.name}",
        "\n".join([
            TEXT, "",
            *pages.bullets(words.text(run.judgement).splitlines()), "",
            "Caveats:", "",
            *pages.bullets(caveats.of_run(run)),
        ]),
        tables,
        {name: chart([run], name) for name in shown},
        runs.protocol(subject) | {
            "versions in the run": ", ".join(
                f"{name} {version}" for name, version in run.versions.items()
            ),
        },
        {"tickets": run.rows, "controls": run.controls},
    )


def claimed(compared):
    rows = [
        {
            "what": claim["what"],
            "density, %": 100 * claim["density"],
            "paper": claim["paper"] + " *" * claim["recollected"],
            "here": claim["ours"],
        }
        for claim in compared
    ]
    return pages.Table(
        "claims", "The paper's numbers (* from quotations of it) and ours",
        rows,
    )


if __name__ == "__main__":
    main()
