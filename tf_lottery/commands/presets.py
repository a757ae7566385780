"""`tf-lottery list`: which presets there are."""

import rich.box
import rich.console
import rich.table

from tf_lottery import experiments


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser("list", help="list the presets")
    parser.set_defaults(command=_list)


def _list(arguments):
    table = rich.table.Table(box=rich.box.SIMPLE)
    for name in ("preset", "rounds", "steps", "what it is"):
        table.add_column(name)
    for preset in experiments.PRESETS.values():
        table.add_row(
            preset.name,
            str(preset.rounds),
            str(preset.iterations),
            preset.summary,
        )
    rich.console.Console(highlight=False).print(table)
