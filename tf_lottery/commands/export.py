"""`tf-lottery export`: a saved model as a checked TFLite file."""

import pathlib

from tf_lottery import export
from tf_lottery.commands import console as console_lib
from tf_lottery.commands import data as data_lib
from tf_lottery.commands import flags
from tf_lottery.commands import models
from tf_lottery.utils import tables

_SAMPLES = 300


def main(arguments):
    """Exports a model, or inspects a file, and compares it with others."""
    console = console_lib.stdout()
    path = pathlib.Path(arguments.model)
    if path.suffix == ".tflite":
        console.print(export.inspect(path).table())
        written = path
    else:
        written = _convert(path, arguments, console)
    if arguments.compare:
        _compare([*arguments.compare, written], console)


def _convert(path, arguments, console):
    with console.status("loading the model") as status:
        model = models.load(path)
        data = arguments.data and data_lib.load(arguments.data, model)
        report = export.tflite(**flags.given(
            export.tflite, arguments,
            model=model,
            path=arguments.output or path.with_suffix(".tflite"),
            target=export.targets.get(
                arguments.target, arguments.accelerator,
                arguments.system_config, arguments.memory_mode,
            ),
            accelerator=None,
            float_layers=arguments.float_layers or (),
            representative_data=(
                data_lib.first(data.train[0], _SAMPLES) if data else None
            ),
            compare_on=data.test if data else None,
            progress=status.update,
        ))
    console.print(report.render())
    if arguments.report:
        report.save(arguments.report)
        console_lib.say_written(arguments.report)
    console_lib.say_written(report.path, *report.sources)
    return report.path


def _compare(paths, console):
    paths = {str(path): pathlib.Path(path) for path in paths}
    found = export.benchmark(paths)
    table = tables.Table("file", numbers=("bytes", "latency (ms)", "speedup"))
    for name, path in paths.items():
        table.add_row(
            name,
            f"{path.stat().st_size:,}",
            f"{1e3 * found.timings[name].median:.3f}",
            f"{found.speedups[name]:.2f}x",
        )
    console.print(table)
