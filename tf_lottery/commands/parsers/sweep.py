"""Arguments of `tf-lottery sweep`."""

import argparse

from tf_lottery.commands.parsers import names
from tf_lottery.commands.parsers import preset
from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import shared

# What of a preset a search has no use for: it trains tickets alone.
UNUSED = {
    "trials", "compare", "control_trials", "control_every", "also_rewind_to",
    "budget", "save_freq", "test_densities", "margin",
}


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "sweep", add_help=False,
        help="search for the best way to prune a preset's network",
        description="Searches with keras-tuner. With KERASTUNER_TUNER_ID, "
        "KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT set, and a "
        "directory that all machines share, it is the chief or a worker of a "
        "search on several machines." + preset.NOTE.format("sweep"),
    )
    preset.add_preset(parser, UNUSED)
    _add_search(parser)
    shared.add_output_dir(
        parser, "runs/PRESET-sweep", "; the same search there resumes"
    )
    shared.add_overwrite(parser, "search")
    _add_timeouts(parser)


def _add_search(parser):
    parser.add_argument(
        "--trials", type=int, default=20, metavar="N",
        help="at most so many trials",
    )
    shared.add_name(parser, "--tuner", "tuner", names.TUNERS, "random")
    parser.add_argument(
        "--objective", default="density", metavar="NAME",
        help="'density', the smallest of a candidate ticket; 'accuracy@0.1', "
        "at that density; 'bytes@0.97' or 'latency@0.97', of the exported file "
        "with that accuracy",
    )
    parser.add_argument(
        "--tune", action="append", type=_tunable, metavar="NAME=VALUES",
        help=f"what to tune, of {', '.join(names.TUNABLE)}: values as "
        "'rate=0.1:0.5' or 'criterion=magnitude,lamp'; may be repeated "
        "(default: rate, rewinding point and learning rate, except those "
        "that a flag fixes)",
    )
    shared.add_name(
        parser, "--hyperband-budget", "budget", ("rounds", "epochs"),
        "rounds", "what hyperband gives good trials more of",
    )


def _add_timeouts(parser):
    parser.add_argument(
        "--chief-timeout", type=float, default=60, metavar="SECONDS",
        help="how long a worker waits for the chief; the chief waits ten "
        "times as long for workers",
    )
    parser.add_argument(
        "--worker-timeout", type=float, default=60, metavar="SECONDS",
        help="after how long a silent worker is taken as dead, and its trial "
        "given to another",
    )


def _tunable(text):
    """Reads `rate=0.1:0.5` or `criterion=magnitude,lamp`."""
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in names.TUNABLE or not equals or not values:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(names.TUNABLE)} with values, "
            "such as rate=0.1:0.5 or criterion=magnitude,lamp"
        )
    if name == "pattern" or ":" not in values:
        return name, [_value(name, part) for part in values.split(",")]
    return name, tuple(readers.number(part) for part in values.split(":"))


def _value(name, text):
    if name in ("criterion", "pattern"):
        return text
    if name == "rewind_to":
        return readers.point(text)
    return readers.number(text)
