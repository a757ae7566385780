r"""Iterative magnitude pruning of LeNet-300-100 on MNIST, the whole process.

    TFDS_DATA_DIR=... python -m tests.benchmarks.imp_mnist [--quick] \
        [--json PATH] [--open-lth PATH]

SGD 0.1, batch 128, rounds 0 to 3 of two epochs with a test evaluation after
each epoch: CPU seconds of a child process from its start to its end, imports
and data included, all threads. The plain scripts read MNIST from an .npz
file as `keras.datasets.mnist.load_data` does; the file is made first, from
`tensorflow_datasets`. The peer is open_lth, where the folder of a copy is
given, run by the Python of `python -m tests.benchmarks.peers torch`. Of 2ce732f
two lines are too old for that: `class Model(torch.nn.Module, abc.ABC)` has this
order today (`models/base.py`), and `np.product` is `np.prod`.
"""

import os
import pathlib
import statistics
import sys
import tempfile

import numpy as np

from tests.benchmarks import harness
from tests.benchmarks import peers

# Whole processes, against open_lth's.
_TARGET = 0.22


def main():
    parser = harness.parser(__doc__)
    parser.add_argument(
        "--open-lth", metavar="PATH", help="the folder of a copy of open_lth"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows = _rows(pathlib.Path(directory), 1 if args.quick else 5, args)
    harness.report(
        "LeNet-300-100, MNIST, 4 rounds of 2 epochs", rows, args.json
    )


def _rows(directory, repetitions, args):
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
    reason = _why_no_open_lth(args.open_lth, data, directory)
    if reason is None:
        names["open_lth"] = "open_lth"
    seconds = {name: [] for name in names}
    last = dict.fromkeys(names, "")
    for i in range(repetitions):
        turn = i % len(names)
        for name in [*names][turn:] + [*names][:turn]:
            if name == "open_lth":
                seconds[name].append(_open_lth(args.open_lth, directory, i + 1))
                continue
            command = _command(name, data, directory / f"{name}{i}")
            cpu, last[name] = harness.child_cpu(command)
            seconds[name].append(cpu)
    return [
        harness.Row(
            what, statistics.median(seconds[name]), None, "s",
            f"{min(seconds[name]):.1f} to {max(seconds[name]):.1f}, "
            f"n={repetitions}; {last[name].strip()}",
        )
        for name, what in names.items()
    ] + _ratios(seconds, reason)


def _ratios(seconds, reason):
    rows = [harness.ratio_row(seconds, name, "dense")
            for name in ("plain", "preset")]
    if reason:
        return [*rows, harness.Row("open_lth", "skipped", note=reason)]
    return rows + [
        harness.ratio_row(seconds, name, "open_lth", _TARGET)
        for name in ("plain", "preset")
    ]


def _why_no_open_lth(path, data, home):
    """A sentence, or `None` where a first run of it went well."""
    if path is None:
        return "no copy of it: give its folder by --open-lth"
    reason = peers.why_not("torch")
    if reason:
        return reason
    _as_torchvision_reads(data, home)
    try:
        _open_lth(path, home, 0)
    except RuntimeError as error:
        return f"cannot run: {str(error).strip().splitlines()[-1]}"
    return None


def _open_lth(path, home, replicate):
    """CPU seconds of its own protocol, the same, in a home of its own."""
    script = pathlib.Path(path, "open_lth.py").resolve()
    command = [str(peers.python_of("torch")), str(script), "lottery",
               "--default_hparams=mnist_lenet_300_100", "--levels=3",
               "--training_steps=2ep", f"--replicate={replicate + 1}"]
    return harness.child_cpu(command, env={**os.environ, "HOME": str(home)})[0]


def _as_torchvision_reads(data, home):
    """Writes MNIST where open_lth looks for it."""
    folder = home / "open_lth_datasets" / "mnist" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    with np.load(data) as arrays:
        for part, name in (("train", "train"), ("test", "t10k")):
            for letter, kind in (("x", "images-idx3"), ("y", "labels-idx1")):
                array = np.squeeze(arrays[f"{letter}_{part}"]).astype("uint8")
                head = np.array([0x800 + array.ndim, *array.shape], ">i4")
                path = folder / f"{name}-{kind}-ubyte"
                path.write_bytes(head.tobytes() + array.tobytes())


def _command(name, *arguments):
    module = f"tests.benchmarks.imp_mnist_{name}"
    return [sys.executable, "-m", module, *map(str, arguments)]


if __name__ == "__main__":
    main()
