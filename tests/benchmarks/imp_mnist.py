r"""Iterative magnitude pruning of LeNet-300-100 on MNIST, the whole process.

    TFDS_DATA_DIR=... python -m tests.benchmarks.imp_mnist [--quick] \
        [--json PATH]

SGD 0.1, batch 128, rounds 0 to 3 of two epochs with a test evaluation after
each epoch: CPU seconds of a child process from its start to its end, imports
and data included, all threads. The plain scripts read MNIST from an .npz
file as `keras.datasets.mnist.load_data` does; the file is made first, from
`tensorflow_datasets`. Peer, quoted: open_lth 2ce732f took 42.5 s.
"""

import pathlib
import statistics
import sys
import tempfile

from tests.benchmarks import harness

_OPEN_LTH = "open_lth, quoted: 42.5"


def main():
    args = harness.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows = _rows(pathlib.Path(directory), 1 if args.quick else 5)
    harness.report(
        "LeNet-300-100, MNIST, 4 rounds of 2 epochs", rows, args.json
    )


def _rows(directory, repetitions):
    data = directory / "mnist.npz"
    try:
        harness.child_cpu(_command("data", data))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        return [harness.Row("MNIST", "skipped", note=reason[:60])]
    names = {
        "dense": "plain Keras `fit`, 8 dense epochs",
        "plain": "a user's plain `fit` with the callback",
        "preset": "the package's preset and pipeline",
    }
    targets = {"plain": 19.0, "preset": 15.0}
    seconds = {name: [] for name in names}
    last = {}
    for i in range(repetitions):
        turn = i % len(names)
        for name in [*names][turn:] + [*names][:turn]:
            command = _command(name, data, directory / f"{name}{i}")
            cpu, last[name] = harness.child_cpu(command)
            seconds[name].append(cpu)
    return [
        harness.Row(
            what, statistics.median(seconds[name]), targets.get(name), "s",
            f"{min(seconds[name]):.1f} to {max(seconds[name]):.1f}, "
            f"n={repetitions}; {last[name].strip()}",
        )
        for name, what in names.items()
    ] + [_ratio(seconds), harness.Row(_OPEN_LTH, "")]


def _ratio(seconds):
    return harness.ratio_row(seconds, "plain", "dense", what="plain / dense")


def _command(name, *arguments):
    module = f"tests.benchmarks.imp_mnist_{name}"
    return [sys.executable, "-m", module, *map(str, arguments)]


if __name__ == "__main__":
    main()
