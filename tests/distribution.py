"""What a release contains, tried as a stranger would: `make dist`.

    python -m tests.distribution dist

Installs the wheel into an empty environment, and there, with nothing of the
checkout in reach, prunes a model, saves, loads and exports it.
"""

import pathlib
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile

import tests

USE = """
import importlib.metadata
import pathlib

import keras
import numpy as np

import tf_lottery as tfl
from tf_lottery import experiments

assert "site-packages" in tfl.__file__, tfl.__file__
assert importlib.metadata.version("tf_lottery") == tfl.__version__
data = experiments.load("digits")
model = experiments.models.lenet_300_100((8, 8, 1))
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
tfl.prune(model, 0.9)
model.fit(data.x_train, data.y_train, verbose=0)
model.save("pruned.keras")
again = tfl.load_model("pruned.keras")
assert abs(tfl.masks.density(tfl.masks_of(again)) - 0.1) < 1e-3
report = tfl.export.tflite(again, "model.tflite", target="size")
print(f"tf_lottery {tfl.__version__} works; "
      f"model.tflite takes {report.shipped.nbytes:,} bytes")
"""
# The package, its data, and in the source what builds and explains it.
IN_BOTH = (
    "tf_lottery/__init__.py", "tf_lottery/py.typed",
    "tf_lottery/experiments/data/README.md",
)
IN_SOURCE = ("README.md", "LICENSE", "setup.cfg", "pyproject.toml")


def main(directory):
    """Tries the wheel and the source distribution in `directory`."""
    wheel, = directory.glob("*.whl")
    source, = directory.glob("*.tar.gz")
    _check(wheel, zipfile.ZipFile(wheel).namelist(), IN_BOTH)
    names = [
        name.partition("/")[2] for name in tarfile.open(source).getnames()
    ]
    _check(source, names, IN_BOTH + IN_SOURCE)
    with tempfile.TemporaryDirectory() as empty:
        python = pathlib.Path(empty, "venv", "bin", "python")
        venv.create(python.parents[1], with_pip=True)
        _run(empty, python, "-m", "pip", "install", "-q", wheel.resolve())
        _run(empty, python, "-m", "tf_lottery", "--version")
        _run(empty, python, "-I", "-c", USE)


def _check(path, names, expected):
    missing = sorted(set(expected) - set(names))
    if missing:
        raise SystemExit(f"{path.name} lacks {', '.join(missing)}")
    strange = [n for n in names if n.startswith(("tests/", "runs/", "site/"))]
    if path.suffix == ".whl" and strange:
        raise SystemExit(f"{path.name} also has {', '.join(strange)}")


def _run(directory, *command):
    subprocess.run(command, cwd=directory, check=True)


if __name__ == "__main__":
    main(tests.ROOT / sys.argv[1])
