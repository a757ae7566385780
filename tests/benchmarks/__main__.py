"""Runs the benchmarks, each in a process of its own.

    python -m tests.benchmarks [NAME ...] [--quick] [--json PATH]
                         [--tfmot-python PATH]

Without names, all of them. The machine should have nothing else to do.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import tests
from tests.benchmarks import harness

_ALL = (
    "held", "mirrored", "imp_mnist", "compact", "between_rounds",
    "global_selection", "disk", "criteria", "structured", "pipeline",
    "export_size", "export_latency", "export_time", "export_accuracy",
    "ethos_u", "aware", "migration", "tuner", "tensorboard",
)


def main():
    args = _parse()
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in args.names or _ALL:
            path = pathlib.Path(directory, f"{name}.json")
            command = [sys.executable, "-m", f"tests.benchmarks.{name}"]
            command += ["--json", str(path), *_options(name, args)]
            subprocess.run(command, cwd=tests.ROOT, check=True)
            found[name] = json.loads(path.read_text())
    if args.json:
        text = json.dumps(found, indent=2) + "\n"
        pathlib.Path(args.json).write_text(text)


def _parse():
    parser = harness.parser(__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(_ALL)}"
    )
    parser.add_argument(
        "--tfmot-python", metavar="PATH",
        help="a Python with tensorflow-model-optimization and tf-keras",
    )
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(_ALL))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    return args


def _options(name, args):
    options = ["--quick"] if args.quick else []
    if name in ("held", "aware") and args.tfmot_python:
        options += ["--tfmot-python", args.tfmot_python]
    return options


if __name__ == "__main__":
    main()
