"""`tf-lottery compress`: the smallest checked file of a saved model."""

import pathlib

import tf_lottery
from tf_lottery import files
from tf_lottery.commands import console as console_lib
from tf_lottery.commands import data as data_lib
from tf_lottery.commands import flags
from tf_lottery.commands import models


def main(arguments):
    """Compresses a model; writes its file and the model beside it."""
    if arguments.data is None:
        raise ValueError(
            "Compression takes data to calibrate and to choose on: --data."
        )
    path = pathlib.Path(arguments.model)
    directory = pathlib.Path(
        arguments.output_dir or path.with_suffix(".compressed")
    )
    console = console_lib.stdout()
    with console.status("loading the model") as status:
        model = models.load(path)
        data = data_lib.load(arguments.data, model)
        result = tf_lottery.compress(**flags.given(
            tf_lottery.compress, arguments, model=model, train=data.train,
            validation=data.val, exclude=arguments.exclude or (),
            directory=directory, progress=status.update,
        ))
    console.print(result.render())
    small = directory / "model.keras"
    files.save_model(tf_lottery.strip(result.model), small)
    if arguments.report:
        result.report(arguments.report)
        console_lib.say_written(arguments.report)
    console_lib.say_written(result.file, small)
