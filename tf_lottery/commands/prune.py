"""`tf-lottery prune`: prune a saved model."""

import tf_lottery
from tf_lottery import files
from tf_lottery.commands import console as console_lib
from tf_lottery.commands import data as data_lib
from tf_lottery.commands import flags
from tf_lottery.commands import models


def main(arguments):
    """Prunes a model and writes it."""
    out = models.output_path(
        arguments.model, arguments.output, ".pruned.keras"
    )
    model = models.can_hold(models.load(arguments.model))
    tf_lottery.prune(**flags.given(
        tf_lottery.prune, arguments,
        model=model,
        data=_data(arguments, model),
        loss=None if model.compiled else "sparse_categorical_crossentropy",
        exclude=arguments.exclude or (),
    ))
    console_lib.stdout().print(tf_lottery.summary(model).render())
    files.save_model(tf_lottery.strip(model) if arguments.strip else model, out)
    console_lib.say_written(out)


def _data(arguments, model):
    if arguments.data is None:
        return None
    found = data_lib.load(arguments.data, model)
    return data_lib.first(found.train, arguments.samples)
