"""Latency of a narrowed model where it is deployed: TFLite, one thread."""

import time
import warnings

import numpy as np
from keras import ops
from keras import tree

from tf_lottery import weights as weights_lib
from tf_lottery.structured import carrying
from tf_lottery.structured import inputs as inputs_lib
from tf_lottery.structured import rebuilding
from tf_lottery.structured import slices
from tf_lottery.utils.backends import tf

_RUNS = 30
_SECONDS = 2.0
# For axes of unknown size.
_OPEN = 64


def interpreter_of(graph, kept, inputs=None):
    """Returns a TFLite interpreter of the model that keeps some classes.

    It takes one sample, of size 64 along axes that the model leaves open
    unless `inputs` are given, has one thread, and random inputs set.
    """
    from tensorflow.python.framework import convert_to_constants

    twin = rebuilding.rebuild(graph, kept)
    cut = slices.Cut.of(graph, kept)
    carrying.weights(
        twin,
        graph.model,
        {
            key: cut.value(key, ops.convert_to_numpy(variable))
            for key, variable in weights_lib.variables(graph.model).items()
        },
    )
    # Not from the model: Keras would print all its variables. Left variables,
    # the weights would be missing from the file.
    try:
        function = tf.function(twin.model).get_concrete_function(
            _signature(graph, inputs)
        )
    # Sizes do not fit, which may be said in many ways.
    except Exception as error:
        raise ValueError(
            f"Model '{graph.model.name}' does not run on one sample"
            + (f" of size {_OPEN} along open axes" if inputs is None else "")
            + f". Received: {type(error).__name__}: {error}. Expected: "
            "`inputs`, a batch that it takes."
        ) from error
    frozen = convert_to_constants.convert_variables_to_constants_v2(function)
    content = tf.lite.TFLiteConverter.from_concrete_functions(
        [frozen]
    ).convert()
    with warnings.catch_warnings():
        # Deprecated in favour of LiteRT, which is an extra.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(
            model_content=content, num_threads=1
        )
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        shape, dtype = detail["shape"], detail["dtype"]
        value = generator.random(shape).astype(dtype)
        interpreter.set_tensor(detail["index"], value)
    return interpreter


def _signature(graph, inputs):
    symbols = graph.view.graph.inputs
    given = symbols if inputs is None else tree.flatten(inputs)
    tensors = [
        tf.TensorSpec([1, *(n or _OPEN for n in shape.shape[1:])], x.dtype)
        for x, shape in zip(symbols, given, strict=True)
    ]
    return inputs_lib.packed(graph.view, tensors)


def compare(interpreters, runs=_RUNS, seconds=_SECONDS):
    """Measures interpreters in turns; returns the least milliseconds of each.

    The CPU time of the calling thread, so that other processes disturb
    little; the minimum, so that they do not in the end. After `seconds` it
    stops earlier, but not before three runs.
    """
    least = [float("inf")] * len(interpreters)
    start = time.perf_counter()
    for run in range(runs):
        for index, interpreter in enumerate(interpreters):
            before = time.thread_time()
            interpreter.invoke()
            taken = 1e3 * (time.thread_time() - before)
            least[index] = min(least[index], taken)
        if run > 2 and time.perf_counter() - start > seconds:
            break
    return least
