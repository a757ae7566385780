"""From a dense network to an Ethos-U, on tasks of small devices.

Each network is trained (or comes trained), pruned in steps, clustered to 16
values, and where that is possible trained as its int8 file will compute. After
each step Arm's compiler, Vela, says what the int8 file takes in flash; nothing
runs on hardware. Those that come trained have no labelled data here: they are
trained on towards the outputs of the dense network, and judged by how often
they agree with it.

The tasks take what other packages ship, and `pip install tf_lottery[ethosu]`:

    keywords    DS-CNN, trained here; speech from espeakng-loader
    activities  convolutions, trained here; BasicMotions from aeon
    faces       ONet from mtcnn, on CIFAR-10
    sleep       Bi-GRU from sleepecg, on made-up heartbeats
    digits      LeNet-300-100, trained here; nothing else is needed

    python examples/ethos_u.py digits
    python examples/ethos_u.py keywords activities faces sleep --trials 3 \
        --output-dir examples/results/ethos_u
"""

import argparse
import pathlib
import statistics
import tempfile

import keras
from laboratory import pages
from laboratory import sensing

import tf_lottery as tfl

CLUSTERS = 16
SAMPLES = 300
_MEANS = (
    "gzip, KiB", "weights as coded, KiB", "flash, KiB", "time, us",
    "operators on the CPU",
)


def main():
    arguments = parse()
    rows = []
    for name in arguments.tasks:
        for trial in range(arguments.trials):
            rows += trained(name, trial, arguments)
    found = pages.Table(
        "steps", f"Each step, {arguments.accelerator}", summary(rows)
    )
    pages.show(found)
    pages.write(
        arguments.output_dir, "From dense to Ethos-U", page(rows), [found], {},
        {
            "tasks": ", ".join(arguments.tasks),
            "trials": f"{arguments.trials}; the seed of weights, data order "
            "and made-up heartbeats is the number of the trial",
            "compiler": f"{rows[-1]['compiler']}, its default modes: estimates",
        },
    )


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "tasks", nargs="*", default=list(sensing.TASKS), metavar="TASK",
        choices=list(sensing.TASKS),
    )
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--accelerator", default="ethos-u55-128")
    parser.add_argument(
        "--quick", action="store_true", help="train for one epoch at a time"
    )
    parser.add_argument(
        "--output-dir", type=pathlib.Path, metavar="DIR",
        help="where to write the table and a page; default: nowhere",
    )
    return parser.parse_args()


def trained(name, trial, arguments):
    """Returns the rows of a trial, from the directory where they are there."""
    place = arguments.output_dir and (
        arguments.output_dir / f"{name}-{trial}.csv"
    )
    if place is None or not place.exists():
        task, rows = sensing.TASKS[name](trial), []
        for step, net in steps(task, arguments.quick):
            report = exported(task, net, arguments.accelerator)
            rows.append({
                "network": task.title, "step": step, "trial": trial,
                **figures(report),
            })
        if place is None:
            return rows
        place.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_csv(place, rows)
    return pages.read(place)


def steps(task, quick=False):
    """Yields what was done, and the network after it."""
    net, more = task.net, 1 if quick else task.more
    if task.epochs:
        fit(task, net, 1 if quick else task.epochs, 2e-3)
    yield "dense", net
    for part in (0.5, 0.8, 1):
        tfl.prune(net, sparsity=part * task.sparsity, scope="layer")
        fit(task, net, more, 1e-3)
    yield f"{task.sparsity:.0%} pruned", net
    tfl.cluster(net, CLUSTERS)
    fit(task, net, more, 5e-4)
    yield f"and {CLUSTERS} clusters", net
    if task.in_training:
        net = tfl.quantize.aware(net)
        fit(task, net, more, 2e-4)
        yield "and int8 in training", net


def fit(task, net, epochs, rate):
    steps = epochs * -(-len(task.train[0]) // 64)
    decay = keras.optimizers.schedules.CosineDecay(rate, steps)
    net.compile(
        keras.optimizers.Adam(decay), task.loss, jit_compile=False
    )
    net.fit(*task.train, batch_size=64, epochs=epochs, verbose=0)


def exported(task, net, accelerator):
    """Returns the report of the int8 file of a network."""
    with tempfile.TemporaryDirectory() as place:
        return tfl.export.tflite(
            net, pathlib.Path(place, "net.tflite"), accelerator,
            representative_data=task.train[0][:SAMPLES],
            compare_on=task.test, metric=task.score,
        )


def figures(report):
    made = report.npu.file
    return {
        "float, %": 100 * report.metric,
        "int8, %": 100 * report.shipped.metric,
        "gzip, KiB": report.compressed / 1024,
        "weights as coded, KiB": made.encoded_weights / 1024,
        "flash, KiB": made.flash / 1024,
        "time, us": 1e6 * made.seconds,
        "operators on the CPU": len(made.on_cpu),
    }


def summary(rows):
    """Returns a row for each network and step, over its trials."""
    found = []
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        for step in dict.fromkeys(row["step"] for row in own):
            same = [row for row in own if row["step"] == step]
            found.append({
                "network": network, "step": step,
                **{
                    name: pages.Spread.of(same, name)
                    for name in ("float, %", "int8, %")
                },
                **{
                    name: statistics.fmean(row[name] for row in same)
                    for name in _MEANS
                },
            })
    return found


def page(rows):
    """Returns what the numbers mean, and what became of each network."""
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        first, *_, last = (
            row for row in summary(rows) if row["network"] == network
        )
        lines.append(
            f"{network}: flash {first['flash, KiB']:.1f} -> "
            f"{last['flash, KiB']:.1f} KiB "
            f"({last['flash, KiB'] / first['flash, KiB']:.2f}), weights as "
            f"coded {last[_MEANS[1]] / first[_MEANS[1]]:.2f}, time "
            f"{last['time, us'] / first['time, us']:.2f}; int8 "
            f"{last['int8, %'].mean - first['float, %'].mean:+.2f} points "
            "against the dense float network"
        )
    return "\n\n".join([
        "Each step trains on from the one before. Percentages are accuracy "
        "on the test set of the float network and of its int8 file as TFLite "
        "computes it; where it says agreement, the share of outputs that "
        "agree with those of the dense network, for there are no labels. "
        "Flash, time and what is left to the CPU are estimates of Arm's "
        "compiler: nothing has run on hardware.",
        "\n".join(pages.bullets(lines)),
    ])


if __name__ == "__main__":
    main()
