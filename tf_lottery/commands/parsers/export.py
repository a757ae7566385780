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
        help="type of the weights; auto tries all (default: float32; int8 "
        "for an Ethos-U)",
    )
    shared.add_name(
        parser, "--accelerator", "configuration", names.ACCELERATORS,
        help="configuration of the Ethos-U that Vela compiles for",
    )
    for flag, what in (
        ("--system-config", "clock and memories"),
        ("--memory-mode", "what lies in which memory"),
    ):
        parser.add_argument(
            flag, metavar="SECTION",
            help=f"section of Vela's configuration: {what}",
        )
    parser.add_argument(
        "--input-shapes", type=readers.shapes, metavar="SHAPE",
        help="shapes without the batch where the model leaves a size open: "
        "49x10, or by input mel=49x10,mask=49",
    )
    for side in ("input", "output"):
        shared.add_name(
            parser, f"--{side}-dtype", "type", names.DTYPES,
            help=f"type of the {side}s of int8 files",
        )
    parser.add_argument(
        "--float-layers", nargs="+", default=(), metavar="LAYER",
        help="layers that int8 files compute in float32",
    )
    shared.add_name(
        parser, "--encoding", "encoding", names.ENCODINGS, "auto",
        help="dense stores zeros as they are, for other tools to read",
    )
    parser.add_argument(
        "--runtimes", nargs="+", metavar="NAME",
        type=readers.one_of("runtime", names.RUNTIMES),
        help="where every file must be right: "
        f"{', '.join(names.RUNTIMES)}",
    )
    parser.add_argument(
        "--metric", metavar="NAME",
        help="a Keras metric in place of the accuracy",
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
