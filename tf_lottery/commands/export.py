"""`tf-lottery export`: a saved model as a checked TFLite file."""

import pathlib

import rich.box
import rich.console
import rich.table

from tf_lottery import experiments
from tf_lottery import export
from tf_lottery.commands import models
from tf_lottery.export import arguments as valid
from tf_lottery.export import targets

_SAMPLES = 300
_WIDTH = 130


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "export",
        help="write a saved model as a checked TFLite file",
        description="Converts a saved model to the TFLite file that suits a "
        "target, runs and compares it in every runtime installed, and shows "
        "what it chose from. A .tflite file is inspected, and compared.",
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a .keras file, or a .tflite file"
    )
    parser.add_argument(
        "--target",
        choices=targets.TARGETS,
        default="auto",
        metavar="TARGET",
        help=f"one of {', '.join(targets.TARGETS)} (default: auto)",
    )
    parser.add_argument(
        "--quantize",
        choices=[name for name in valid.QUANTIZE if name],
        metavar="TYPE",
        help="float16, dynamic, int8, or auto to try all (default: float32)",
    )
    parser.add_argument(
        "--data",
        choices=sorted(experiments.LOADERS),
        metavar="NAME",
        help="data set to measure accuracy on, and to quantise with: "
        f"{', '.join(sorted(experiments.LOADERS))}",
    )
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="FILE",
        help="a .tflite file to time beside it; may be repeated",
    )
    parser.add_argument(
        "--explicit-padding",
        action="store_true",
        help="rewrite the padding that keeps XNNPACK from running sparse",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="write the report there, as .html or .json",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the .tflite file to write (default: MODEL.tflite)",
    )
    parser.set_defaults(command=_export)


def _export(arguments):
    console = rich.console.Console(highlight=False)
    if not console.is_terminal:
        # Its tables are wide, and a file has room.
        console = rich.console.Console(highlight=False, width=_WIDTH)
    path = pathlib.Path(arguments.model)
    if path.suffix == ".tflite":
        console.print(export.inspect(path).table())
        written = path
    else:
        written = _convert(path, arguments, console)
    if arguments.compare:
        _compare([*arguments.compare, written], console)


def _convert(path, arguments, console):
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file '{path}'.")
    data = arguments.data and experiments.load(arguments.data)
    with console.status("loading the model") as status:
        report = export.tflite(
            models.load(path),
            arguments.out or path.with_suffix(".tflite"),
            target=arguments.target,
            quantize=arguments.quantize,
            representative_data=data.x_train[:_SAMPLES] if data else None,
            compare_on=(data.x_test, data.y_test) if data else None,
            explicit_padding=arguments.explicit_padding,
            progress=status.update,
        )
    console.print(report.render())
    if arguments.report:
        report.save(arguments.report)
        console.print(f"written: {arguments.report}", soft_wrap=True)
    for name in (report.path, *report.sources):
        console.print(f"written: {name}", soft_wrap=True)
    return report.path


def _compare(paths, console):
    paths = {str(path): pathlib.Path(path) for path in paths}
    found = export.benchmark(paths)
    table = rich.table.Table(box=rich.box.SIMPLE)
    for name in ("file", "bytes", "latency (ms)", "speedup"):
        table.add_column(name, justify="left" if name == "file" else "right")
    for name, path in paths.items():
        table.add_row(
            name,
            f"{path.stat().st_size:,}",
            f"{1e3 * found.timings[name].median:.3f}",
            f"{found.speedups[name]:.2f}x",
        )
    console.print(table)
