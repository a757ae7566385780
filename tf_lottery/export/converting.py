"""The converter's part in the child process, which may crash in it.

`runner.call` loads this module by its path: nothing of the package is
imported there.
"""

import functools
import pathlib

import numpy as np

_MAX_SAMPLES = 500


def convert(
    graph, output, inputs, outputs, signatures, quantize, dtypes, samples,
    select_tf_ops, calibrate_only,
):
    """Writes the dense file of a frozen graph, or of a SavedModel."""
    import tensorflow as tf

    if signatures is None:
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [_function(tf, graph, inputs, outputs)]
        )
    else:
        converter = tf.lite.TFLiteConverter.from_saved_model(
            graph, signature_keys=signatures
        )
    if quantize != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        if samples is not None:
            converter.representative_dataset = functools.partial(
                _samples, samples
            )
        converter.inference_input_type = getattr(tf, dtypes[0])
        converter.inference_output_type = getattr(tf, dtypes[1])
    if select_tf_ops:
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.SELECT_TF_OPS,
        ]
    if calibrate_only:
        converter._experimental_calibrate_only = True
    pathlib.Path(output).write_bytes(converter.convert())


def quantize(calibrated, output, dtypes, nodes):
    """Quantises a file that `convert` has calibrated, but for some operators.

    The converter has no public way to do so but for debugging. `nodes` are
    the outputs of operators that stay float32.
    """
    import tensorflow as tf
    from tensorflow.lite.python import convert as steps
    from tensorflow.lite.python import util

    content = pathlib.Path(calibrated).read_bytes()
    content = steps.mlir_quantize(content, denylisted_nodes=set(nodes))
    pathlib.Path(output).write_bytes(util.modify_model_io_type(
        content, *(getattr(tf, name) for name in dtypes)
    ))


def shapes(model, samples):
    """Returns the shape that each tensor of a file has in a call."""
    import tensorflow as tf

    # A delegate would keep what is in between to itself.
    interpreter = tf.lite.Interpreter(
        model, experimental_op_resolver_type=(
            tf.lite.experimental.OpResolverType
            .BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    with np.load(samples) as content:
        arrays = [content[name] for name in content.files]
    inputs = interpreter.get_input_details()
    for detail, array in zip(inputs, arrays):
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in zip(inputs, arrays):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return {
        detail["index"]: [int(size) for size in detail["shape"]]
        for detail in interpreter.get_tensor_details()
    }


def _function(tf, graph, inputs, outputs):
    content = pathlib.Path(graph).read_bytes()
    found = tf.compat.v1.GraphDef.FromString(content)
    return tf.compat.v1.wrap_function(
        lambda: tf.graph_util.import_graph_def(found, name=""), []
    ).prune(inputs, outputs)


def _samples(path):
    """Yields single samples; TensorFlow asks for them several times."""
    with np.load(path) as content:
        arrays = [content[name] for name in content.files]
    for i in range(min(len(arrays[0]), _MAX_SAMPLES)):
        yield [array[i:i + 1] for array in arrays]
