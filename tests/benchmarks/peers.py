"""Other tools, each in an environment and a process of its own.

    python -m tests.benchmarks.peers [NAME ...]

Makes the environments, all without names, with pinned versions, in the folder
`.peers` of the repository or the one that `TF_LOTTERY_PEERS` names. What
stands there already is left alone, and the benchmarks that compare use it.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import venv

import tests
from tests.benchmarks import harness

_FOLDER = pathlib.Path(
    os.environ.get("TF_LOTTERY_PEERS", tests.ROOT / ".peers")
)
# Without the libraries of GPUs, which take gigabytes.
_TORCH = "https://download.pytorch.org/whl/cpu"

# What `pip` installs, and what has to be there to be imported.
_PEERS = {
    "tfmot": (
        ("tensorflow==2.21.0", "tf-keras==2.21.0",
         "tensorflow-model-optimization==0.8.1"),
        "tensorflow_model_optimization, tf_keras",
    ),
    "pquant": (
        ("pquant-ml[tensorflow]==0.1.0", "tensorflow==2.20.0",
         "keras==3.15.1"),
        "pquant",
    ),
    "torch": (
        ("torch==2.14.1", "torchvision==0.29.1", "torch-pruning==1.6.1",
         "fastai==2.8.12", "fasterai==0.4.1"),
        "torch_pruning, torchvision, fasterai",
    ),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"of {', '.join(_PEERS)}")
    names = parser.parse_args().names or list(_PEERS)
    unknown = sorted(set(names) - set(_PEERS))
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}")
    for name in names:
        if not python_of(name).exists():
            _make(name)


def python_of(name):
    """Returns the path of a peer's Python, whether or not it is there."""
    return _FOLDER / name / ("Scripts" if os.name == "nt" else "bin") / "python"


def why_not(name, python=None):
    """Returns a sentence that says why a peer cannot run; `None` if it can.

    Args:
        name: String, one of the peers.
        python: Path of its Python. Defaults to `None`: see `python_of`.
    """
    python, modules = python or python_of(name), _PEERS[name][1]
    try:
        harness.child_cpu([str(python), "-c", f"import {modules}"])
    except OSError:
        return (
            f"not installed: there is no {python}. Make it by `python -m "
            f"tests.benchmarks.peers {name}`."
        )
    except RuntimeError as error:
        return f"not installed: {str(error).strip().splitlines()[-1]}"
    return None


def run(name, module, *arguments, python=None):
    """Runs a benchmark module in a peer's Python; returns what it prints.

    Args:
        name: String, one of the peers, or `None` for this Python.
        module: String, a module of `tests.benchmarks` whose last line of
            output is JSON.
        arguments: What it is given.
        python: See `why_not`.
    """
    if name is None:
        python = sys.executable
    command = [str(python or python_of(name)), "-m",
               f"tests.benchmarks.{module}", *map(str, arguments)]
    return json.loads(harness.child_cpu(command)[1].splitlines()[-1])


def _make(name):
    folder = _FOLDER / name
    venv.create(folder, with_pip=True)
    command = [python_of(name), "-m", "pip", "install", "--quiet",
               "--extra-index-url", _TORCH, "rich", *_PEERS[name][0]]
    if subprocess.run(command).returncode:
        # Half an environment would be taken for a whole one.
        python_of(name).unlink()
        raise SystemExit(f"{name} could not be installed into {folder}.")


if __name__ == "__main__":
    main()
