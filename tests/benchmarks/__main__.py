"""Runs the benchmarks, each in a process of its own.

    python -m tests.benchmarks [NAME ...] [--quick] [--json PATH]
                         [--record] [--check] [--open-lth PATH]

Without names, all of them. The machine should have nothing else to do. Other
tools are compared with where `python -m tests.benchmarks.peers` made their
environments.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import tests
from tests.benchmarks import harness
from tests.benchmarks import history

_ALL = (
    "held", "mirrored", "imp_mnist", "compact", "between_rounds",
    "global_selection", "disk", "criteria", "structured", "pipeline",
    "export_size", "export_latency", "export_time", "export_accuracy",
    "ethos_u", "aware", "migration", "tuner", "tensorboard", "gradual",
    "shrink_peers", "compress", "one_shot",
)
# A part of others, by name only.
_QUICK = "quick"


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
    problems = []
    if args.check:
        problems = history.worse(found, history.read(), args.quick)
    if args.record:
        history.record(found, args.quick)
    if problems:
        sys.exit("Clearly slower than recorded:\n" + "\n".join(problems))


def _parse():
    parser = harness.parser(__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(_ALL)}"
    )
    parser.add_argument(
        "--record", action="store_true",
        help=f"add the ratios to {history.FILE.name}, and make its page",
    )
    parser.add_argument(
        "--check", action="store_true",
        help="fail where a ratio is clearly worse than the one recorded",
    )
    parser.add_argument(
        "--open-lth", metavar="PATH", help="a copy of open_lth, for imp_mnist"
    )
    args = parser.parse_args()
    unknown = sorted(set(args.names) - {*_ALL, _QUICK})
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    return args


def _options(name, args):
    options = ["--quick"] if args.quick else []
    if name == "imp_mnist" and args.open_lth:
        options += ["--open-lth", args.open_lth]
    return options


if __name__ == "__main__":
    main()
