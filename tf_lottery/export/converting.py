"""The converter's part in the child process, which may crash in it.

`runner.call` loads this module by its path: nothing of the package is
imported there.
"""

import os
import pathlib

import numpy as np

_MAX_SAMPLES = 500


def convert(
    graph, output, inputs, outputs, signatures, quantize, dtypes, samples,
    select_tf_ops,
):
    """Writes the dense file of a frozen graph, or of a SavedModel.

    Args:
        graph: Path of a `GraphDef` without variables; with `signatures` that
            of a SavedModel.
        output: Path of the file to write.
        inputs: List of strings, the tensors of the graph that are fed.
        outputs: List of strings, the tensors that are fetched.
        signatures: List of strings, or `None`.
        quantize: String, one of `convert.QUANTIZATIONS`.
        dtypes: List of two strings, of inputs and outputs: `"float32"` or
            `"int8"`.
        samples: Path of an `.npz` file with an array for each input, or
            `None` for a graph that tells the ranges itself.
        select_tf_ops: Boolean, see `convert.Converter`.
    """
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
            converter.representative_dataset = _samples(samples)
        converter.inference_input_type = getattr(tf, dtypes[0])
        converter.inference_output_type = getattr(tf, dtypes[1])
    if select_tf_ops:
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.SELECT_TF_OPS,
        ]
    before = os.fstat(2).st_size
    try:
        content = converter.convert()
    # The converter raises its own errors, ValueErrors and others; C++ names
    # operators on stderr, which is a file here.
    except Exception as error:
        size = os.fstat(2).st_size - before
        said = os.pread(2, size, before).decode(errors="replace")
        raise ValueError(f"{error}\n{said}") from error
    pathlib.Path(output).write_bytes(content)


def shapes(model, samples):
    """Returns the shape that each tensor of a file has in a call.

    Args:
        model: Path of the file.
        samples: Path of an `.npz` file with an array for each input.
    """
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
    def generate():
        with np.load(path) as content:
            arrays = [content[name] for name in content.files]
        for i in range(min(len(arrays[0]), _MAX_SAMPLES)):
            yield [array[i:i + 1] for array in arrays]

    return generate
