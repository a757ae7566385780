"""From a dense network to an Ethos-U, on tasks of small devices.

Each network is trained (or comes trained), pruned little by little, clustered
to 16 values, and but for the GRU trained as its int8 file will compute. After
each step Arm's compiler, Vela, says what the int8 file takes in flash; nothing
runs on hardware. Most are trained on towards the outputs of the dense network.
Those that come trained have no labelled data here: they are judged by how
often they agree with it.

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
import functools
import pathlib
import statistics
import tempfile

import keras
from laboratory import pages
from laboratory import runs
from laboratory import sensing

import tf_lottery as tfl
from tf_lottery import sparsity_schedules

ACCELERATOR = "ethos-u55-128"
# Training for int8 has no rule for the last one of a recurrent network.
STEPS = ("dense", "pruned", "and clustered", "and trained for int8")
_MEANS = (
    "gzip, KiB", "coded weights, KiB", "flash, KiB", "time, us", "on the CPU",
)


def main():
    arguments = parse()
    trainings = runs.Rows(arguments.output_dir)
    for name in arguments.tasks:
        for trial in range(arguments.trials):
            made = steps(name, trial, arguments.quick)
            for step in STEPS[:4 if name != "sleep" else 3]:
                trainings.add(
                    functools.partial(measured, made, step),
                    task=name, trial=trial, step=step,
                    accelerator=ACCELERATOR, quick=arguments.quick,
                )
    rows = trainings.rows
    found = pages.Table(
        "steps", f"Each step, {ACCELERATOR}", summary(rows)
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
    parser.add_argument(
        "--quick", action="store_true", help="train for one epoch at a time"
    )
    parser.add_argument(
        "--output-dir", type=pathlib.Path, metavar="DIR",
        help="where to write the table and a page; default: nowhere",
    )
    return parser.parse_args()


def steps(name, trial, quick):
    """Yields a task, and what was done to its network, step by step."""
    task = sensing.TASKS[name](trial)
    net, data, loss = task.net, task.train, task.loss
    more = 1 if quick else task.more
    if task.loss:
        fit(net, data, loss, 1 if quick else task.epochs, 2e-3)
    yield STEPS[0], task, net
    if task.taught:
        data = data[0], net.predict(data[0], verbose=0)
        loss = task.taught
    if task.criterion:
        tfl.prune(net, task.sparsity, task.criterion, scope="layer")
    fit(
        net, data, loss, 2 * more, task.rate,
        0 if task.criterion else task.sparsity,
    )
    yield STEPS[1], task, net
    # Units that pruning made dead: training for int8 keeps all there are.
    net = tfl.structured.compact(net)
    tfl.cluster(net, 16)
    fit(net, data, loss, more, task.rate / 2)
    yield STEPS[2], task, net
    net = tfl.quantize.aware(net)
    fit(net, data, loss, more, task.rate / 5)
    yield STEPS[3], task, net


def fit(net, data, loss, epochs, rate, sparsity=0):
    """Trains at a falling rate, and in the first half prunes."""
    steps = epochs * -(-len(data[0]) // 64)
    decay = keras.optimizers.schedules.CosineDecay(rate, steps)
    net.compile(keras.optimizers.Adam(decay), loss, jit_compile=False)
    callbacks = [pruning(sparsity, steps // 2)] if sparsity else []
    net.fit(
        *data, batch_size=64, epochs=epochs, verbose=0, callbacks=callbacks
    )


def pruning(sparsity, steps):
    schedule = sparsity_schedules.PolynomialDecay(
        0.0, sparsity, end_step=steps, frequency=max(1, steps // 20)
    )
    return tfl.callbacks.GradualPruning(schedule, scope="layer")


def measured(made, wanted):
    """Returns what the int8 file of a network is, after a step."""
    task, net = next((task, net) for step, task, net in made if step == wanted)
    with tempfile.TemporaryDirectory() as place:
        report = tfl.export.tflite(
            net, pathlib.Path(place, "net.tflite"), ACCELERATOR,
            representative_data=task.train[0][:300],
            compare_on=task.test, metric=task.score,
        )
    found = report.npu.file
    return {
        "network": task.title,
        "pruned, %": 0 if wanted == STEPS[0] else round(100 * task.sparsity),
        "float, %": 100 * report.metric,
        "int8, %": 100 * report.shipped.metric,
        "gzip, KiB": report.compressed / 1024,
        "coded weights, KiB": found.encoded_weights / 1024,
        "flash, KiB": found.flash / 1024,
        "time, us": 1e6 * found.seconds,
        "on the CPU": len(found.on_cpu),
        "compiler": found.compiler,
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
                "pruned, %": same[0]["pruned, %"],
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
