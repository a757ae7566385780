"""What `tf-lottery list` is asked for."""


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    commands.add_parser(
        "list", help="list the presets", description="Lists the presets."
    )
