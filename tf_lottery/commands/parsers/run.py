"""Arguments of `tf-lottery run`."""

from tf_lottery.commands.parsers import preset
from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import shared
from tf_lottery.experiments import catalogue


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "run", add_help=False,
        help="find lottery tickets by the protocol of a preset",
        description="Finds lottery tickets by the protocol of a preset and "
        "measures them against random controls." + preset.NOTE.format("run"),
    )
    preset.add_preset(parser)
    parser.add_argument(
        "--protocol", default="full", type=readers.one_of(
            "protocol", tuple(catalogue.PROTOCOLS)
        ),
        help="'cheap': tickets as sparse in about a quarter of the steps, by "
        "fewer and shorter rounds",
    )
    shared.add_output_dir(
        parser, "runs/PRESET",
        "; a run of the preset that was interrupted there resumes",
    )
    shared.add_overwrite(parser, "run of the preset")
    shared.add_jobs(parser)
    parser.add_argument(
        "--dry-run", action="store_true",
        help="measure for a few seconds, show the trainings and the time "
        "they would take, write nothing",
    )
