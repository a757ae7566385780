"""Arguments of `tf-lottery compress`."""

from tf_lottery.commands.parsers import names
from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import shared

_COMPRESSED = ("macs", *names.TARGETS, *names.ACCELERATORS)


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "compress",
        help="make the smallest checked file within a loss of accuracy",
        description="Removes channels and weights from a saved model, and "
        "writes the smallest TFLite file found that loses no more than a "
        "given amount on the validation part of the data, and its model.",
    )
    shared.add_model(parser)
    shared.add_data(parser, "to calibrate on, and to choose on")
    shared.add_name(parser, "--target", "target", _COMPRESSED, "size")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--max-drop", type=float, metavar="NUMBER",
        help="by how much the metric may be worse (default: 0.01)",
    )
    group.add_argument(
        "--budget", type=readers.budget, metavar="NAME=SIZE",
        help="what counts for the target and the most it may be: size=20kB, "
        "flash=64KiB, macs=1e6, cycles=1e5 or latency_ms=2",
    )
    parser.add_argument(
        "--minimize", choices=("flash", "cycles", "latency_ms"),
        help="what counts for an Ethos-U (default: that of the budget, or "
        "flash)",
    )
    shared.add_name(
        parser, "--quantize", "type", names.QUANTIZE[:-1], "int8",
        help="type of the weights of the file",
    )
    parser.add_argument(
        "--metric", metavar="NAME",
        help="a Keras metric in place of the accuracy",
    )
    for name, default, text in (
        ("epochs", 0, "epochs of training after pruning, after the model"),
        ("samples", 1024, "training examples to calibrate on"),
        ("candidates", 8, "files to try"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=text
        )
    shared.add_exclude(parser)
    shared.add_output_dir(
        parser, "MODEL.compressed", "; what was interrupted resumes there"
    )
    parser.add_argument(
        "--report", metavar="FILE", type=readers.new_file(".html"),
        help="write a page there",
    )
