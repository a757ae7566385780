"""Arguments of `tf-lottery export`."""

from tf_lottery.commands.parsers import names
from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import shared


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "export",
        help="write a saved model as a checked TFLite file",
        description="Converts a saved model to the TFLite file that suits a "
        "target, runs and compares it in every runtime installed, and shows "
        "what it chose from. A .tflite file is inspected, and compared.",
    )
    shared.add_model(parser, "a .keras file, or a .tflite file")
    shared.add_name(parser, "--target", "target", names.TARGETS, "auto")
    shared.add_name(
        parser, "--quantize", "type", names.QUANTIZE,
        help="type of the weights; auto tries all (default: float32)",
    )
    shared.add_data(parser, "to measure accuracy on, and to quantise with")
    parser.add_argument(
        "--compare", action="append", default=[], metavar="FILE",
        type=readers.existing_file,
        help="a .tflite file to time next to it; may be repeated",
    )
    parser.add_argument(
        "--explicit-padding", action="store_true",
        help="rewrite the padding that keeps XNNPACK from running sparse",
    )
    parser.add_argument(
        "--report", metavar="FILE", type=readers.new_file(".html", ".json"),
        help="write the report there, as .html or .json",
    )
    shared.add_output(parser, "the .tflite file", "MODEL.tflite")
