"""Edits of a TFLite file: which constants are stored sparse, and how read.

Three forms, after the runtime's kernels (`densify.cc`, `fully_connected.cc`
in https://github.com/google-ai-edge/LiteRT):

- `"densify"`: sparse in the file, made dense once when the file is loaded;
- `"direct"`: FULLY_CONNECTED reads the sparse float32 constant itself;
- `"blocks"`: as `"direct"`, in 1x4 blocks (float32) or 1x16 blocks (int8).
"""

import numpy as np

from tf_lottery.export import editing
from tf_lottery.export import flatbuffer
from tf_lottery.export import sparse

# Of FULLY_CONNECTED: the first that may be sparse. Dense operators must not
# share its code, or no delegate takes them.
_SPARSE_VERSION = 8
BLOCK = {"FLOAT32": 4, "INT8": 16}
# An operator, a tensor, level metadata, vectors: measured at 200 to 350.
OVERHEAD = 400
FORMS = ("densify", "direct", "blocks")


def dense_values(model, weight):
    """Returns the weights of an operator as a dense array."""
    values = flatbuffer.stored(model, weight.tensor)
    if weight.tensor.sparsity is None:
        return values.reshape(weight.shape)
    return sparse.decode(values, weight.shape, weight.tensor.sparsity)


def encode(dense, form, dtype):
    """Returns the `sparse.Encoding` of weights for a form."""
    if form == "densify":
        return sparse.smallest(dense)
    block = BLOCK[dtype] if form == "blocks" else 1
    return sparse.encode(dense, block=block)


def apply(model, forms):
    """Stores constants sparse.

    Args:
        forms: Dict from (subgraph, tensor index) to one of `FORMS`.
    """
    for uses in flatbuffer.by_constant(model):
        form = forms.get((uses[0].graph, uses[0].index))
        if form is not None:
            _store(model, uses, form)


def _store(model, uses, form):
    weight = uses[0]
    tensor, graph = weight.tensor, model.subgraphs[weight.graph]
    encoding = encode(dense_values(model, weight), form, weight.dtype)
    if form == "densify":
        tensor = _split(model, graph, weight.index, "sparse", "Densify")
    else:
        for use in uses:
            use.operator.opcodeIndex = editing.add_code(
                model, "FULLY_CONNECTED", _SPARSE_VERSION
            )
    if editing.sharing(model, tensor.buffer) > 1:
        tensor.buffer = len(model.buffers)
        model.buffers.append(flatbuffer.schema().BufferT())
    model.buffers[tensor.buffer].data = np.frombuffer(
        encoding.values.tobytes(), np.uint8
    )
    tensor.sparsity = sparse.parameters(encoding)


def _split(model, graph, index, suffix, operation, version=1):
    """Puts an operator between a constant and what reads it; returns the new
    `TensorT` of the constant.
    """
    moved = editing.split_constant(graph, index, suffix)
    operator = editing.add_operator(
        model, graph, operation.upper(), [moved], index, version
    )
    names = flatbuffer.schema()
    options = f"{operation}Options"
    operator.builtinOptionsType = getattr(names.BuiltinOptions, options)
    operator.builtinOptions = getattr(names, f"{options}T")()
    return graph.tensors[moved]


def dequantize(model, weight):
    """Makes an int8 constant of a hybrid operator a float one.

    A dynamic-range FULLY_CONNECTED or CONV_2D computes with int8 weights and
    is refused by XNNPACK, or wrong, where they are sparse. With DEQUANTIZE
    behind the constant the operator is an ordinary float32 one. Returns where
    the constant is now.
    """
    graph, tensor = model.subgraphs[weight[0].graph], weight[0].tensor
    moved = _split(
        model, graph, weight[0].index, "int8", "Dequantize", version=2
    )
    moved.quantization, tensor.quantization = tensor.quantization, None
    tensor.type = flatbuffer.schema().TensorType.FLOAT32
    for use in weight:
        use.operator.opcodeIndex = editing.add_code(model, use.kind, 1)
        options = use.operator.builtinOptions
        if hasattr(options, "asymmetricQuantizeInputs"):
            options.asymmetricQuantizeInputs = False
    return weight[0].graph, len(graph.tensors) - 1
