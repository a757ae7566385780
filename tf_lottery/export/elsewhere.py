"""Export under another backend of Keras, by a process under TensorFlow.

The model is made again there, converted and checked as ever; what its files
are compared with are the outputs of the model here.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import keras

from tf_lottery import quantize
from tf_lottery import weights as weights_lib
from tf_lottery.export import feeding
from tf_lottery.structured import rebuilding
from tf_lottery.utils import companion


@dataclasses.dataclass(eq=False)
class Model:
    """A model of another process.

    Attributes:
        model: `keras.Model` of its configuration.
        weights: Dict from weight key to array.
        call: Function of inputs that returns its outputs there as arrays.
        notes: List of strings, what was changed.
    """

    model: keras.Model
    weights: dict
    call: Callable
    notes: list

    def filled(self):
        """Returns the model with its weights."""
        for key, variable in weights_lib.variables(self.model).items():
            variable.assign(self.weights[key])
        rebuilding.finalize(self.model)
        return self.model


def ask(function, model, plain, notes, given):
    """Has a file written by the companion.

    Args:
        function: `tf_lottery.export.tflite`.
        model: A built `keras.Model`.
        plain: `keras.Model`, the same without masks and in full precision.
        notes: List of strings, what is different in it.
        given: Dict of the other arguments.

    Returns:
        What it returns.
    """
    if given["signatures"] is not None:
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
        for key, variable in weights_lib.variables(sent).items()
    }
    path = given["path"]
    data = feeding.arrays(given["representative_data"])
    metric, progress = given["metric"], given["progress"]
    if callable(metric) and not isinstance(metric, keras.metrics.Metric):
        metric = companion.Here(metric)
    if progress is not None:
        progress = companion.Here(progress)
    report = companion.ask(function, **given | {
        "model": Model(sent, weights, companion.Here(call), notes),
        # The companion may have started in another directory.
        "path": pathlib.Path(path).absolute(),
        "representative_data": data,
        "metric": metric,
        "progress": progress,
    })
    report.path = str(path)
    return report
