"""Export under another backend of Keras, by a process under TensorFlow.

The model is made again there, converted and checked as ever; what its files
are compared with are the outputs of the model here.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import keras

from tf_lottery import internals
from tf_lottery import quantize
from tf_lottery import weights as weights_lib
from tf_lottery.export import feeding
from tf_lottery.structured import rebuilding
from tf_lottery.utils import companion


@dataclasses.dataclass(eq=False)
class Model:
    """A model of another process: its configuration, `weights` by key, and a
    `call` that returns its outputs there as arrays.
    """

    model: keras.Model
    weights: dict
    call: Callable
    notes: list

    def filled(self):
        """Returns the model with its weights."""
        for key, variable in variables(self.model).items():
            variable.assign(self.weights[key])
        rebuilding.finalize(self.model)
        return self.model


def variables(model):
    """Returns the weights of a model by key, and the ranges of int8."""
    ranges = (
        variable for layer in internals.layers.flat(model)
        if isinstance(layer, quantize.FakeQuantize)
        for variable in layer.variables
    )
    return {
        **weights_lib.variables(model),
        **{f"range {i}": each for i, each in enumerate(ranges)},
    }


def ask(function, model, plain, notes, given):
    """Has a file written by the companion; returns what that returns.

    `plain` is the model without masks and in full precision, which `notes`
    tell of.
    """
    if given.get("signatures") is not None:
        raise ValueError(
            "Argument `signatures` holds functions of TensorFlow, which the "
            f"model calls under that backend alone. Received: backend "
            f"{keras.backend.backend()!r}. Expected: None"
        )

    def call(inputs):
        outputs = plain(inputs, training=False)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    sent = model if quantize.is_aware(model) else plain
    weights = {
        key: keras.ops.convert_to_numpy(variable)
        for key, variable in variables(sent).items()
    }
    path = given["path"]
    changes = {
        "representative_data": feeding.arrays, "metric": _here,
        "progress": _here,
    }
    report = companion.ask(function, **{
        name: changes[name](value) if name in changes else value
        for name, value in given.items()
    } | {
        "model": Model(sent, weights, companion.Here(call), notes),
        # The companion may have started in another directory.
        "path": pathlib.Path(path).absolute(),
    })
    report.path = str(path)
    return report


def _here(value):
    """Functions are called in this process; metrics and names are sent."""
    if callable(value) and not isinstance(value, keras.metrics.Metric):
        return companion.Here(value)
    return value
