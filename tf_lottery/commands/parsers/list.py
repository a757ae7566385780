"""Arguments of `tf-lottery list`."""


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    commands.add_parser(
        "list", help="list the presets", description="Lists the presets."
    )
