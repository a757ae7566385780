"""`tf-lottery list`: which presets there are."""

from tf_lottery.commands import console as console_lib
from tf_lottery.experiments import catalogue
from tf_lottery.utils import tables


def main(arguments):
    """Prints the table of presets."""
    table = tables.Table("preset", numbers=("rounds", "steps"))
    table.add_column("what it is")
    for preset in catalogue.PRESETS.values():
        table.add_row(
            preset.name,
            str(preset.rounds),
            str(preset.iterations),
            preset.summary,
        )
    console_lib.stdout().print(table)
