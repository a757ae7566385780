"""The flags of a preset's values, made from the fields of `Preset`."""

import argparse
import dataclasses

from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import tables
from tf_lottery.experiments import catalogue
from tf_lottery.experiments import presets

_NOTE = (
    " Flags that are not given keep the preset's values, which "
    "`tf-lottery {} PRESET --help` shows."
)


def add_parser(commands, name, help, description, but=()):
    """Returns a new parser of PRESET, and a flag for each value but some."""
    parser = commands.add_parser(
        name, help=help, add_help=False,
        description=description + _NOTE.format(name),
    )
    parser.add_argument(
        "preset", metavar="PRESET",
        type=readers.one_of("preset", tuple(catalogue.PRESETS)),
        help=f"one of {', '.join(catalogue.PRESETS)}",
    )
    parser.add_argument(
        "-h", "--help", nargs=0, action=_Help, dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="show this, with the values of PRESET if it is given",
    )
    tables.add(parser, tables.exclude())
    for field in _fields({"exclude", *but}):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            **_kind(field),
            help=field.metadata["help"],
        )
    return parser


def changes(arguments, but=()):
    """Returns the values of the preset's flags; `None` for those not given."""
    found = {
        field.name: getattr(arguments, field.name) for field in _fields(but)
    }
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found.items()
    }


class _Help(argparse.Action):
    """`--help` that shows the preset's values as defaults."""

    def __call__(self, parser, namespace, values, option_string=None):
        chosen = catalogue.PRESETS.get(getattr(namespace, "preset", None))
        if chosen is not None:
            parser.set_defaults(**{
                field.name: _text(getattr(chosen, field.name))
                for field in _fields()
            })
        parser.print_help()
        parser.exit()


def _fields(but=()):
    return [
        field for field in dataclasses.fields(presets.Preset)
        if "help" in field.metadata and field.name not in but
    ]


def _text(value):
    """Returns a value as one types it."""
    if isinstance(value, dict):
        return ",".join(f"{layer}={rate}" for layer, rate in value.items())
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return "none" if value in ("", None) else str(value)


def _rate(text):
    rate = readers.rate(text)
    return rate if isinstance(rate, dict) else {"*": rate}


_BY_NAME = {
    "drops": readers.points,
    "test_densities": readers.points,
    "also_rewind_to": readers.points,
    "budget": readers.duration,
}
_BY_TYPE = {
    int: int, float: float, float | None: float, str: str, dict: _rate,
    tuple: readers.names,
}


def _kind(field):
    """Returns the arguments of a flag that say what it takes."""
    if field.type is bool:
        return {"action": argparse.BooleanOptionalAction}
    read = _BY_NAME.get(field.name) or _BY_TYPE.get(field.type, readers.point)
    return {"type": read, "metavar": field.name.split("_")[-1].upper()}
