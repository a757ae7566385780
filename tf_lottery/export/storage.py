"""Storage of a file's constants: dense or sparse, and why."""

import dataclasses

import numpy as np

from tf_lottery.export import encoding
from tf_lottery.export import flatbuffer
from tf_lottery.export import sparse

# Cost of a kept weight in a sparse FULLY_CONNECTED, in weights of a dense
# one: 1024x1024 breaks even at 75 to 80 % zeros, 300x784 at 80 to 90 %; in
# 1x4 blocks at about 35 and 60 %. Measured on x86 with AVX-512.
_COST_DIRECT = 5.0
_COST_BLOCKS = 1.7
# Calling the sparse kernel costs more than it saves on a small layer.
_MIN_WEIGHTS = 4096


@dataclasses.dataclass(frozen=True)
class Layer:
    """How the weights of one operator are stored and computed with.

    Attributes:
        name: String, the constant's name in the file.
        kind: String, the operator's name.
        dtype: String, the type stored, such as `"FLOAT32"`.
        shape: Tuple of integers.
        zeros: Integer, weights that are zero.
        dead: Integer, outputs all of whose weights are zero.
        form: String: `"dense"`, one of `encoding.FORMS`, or `"bitmap"`.
        runs_sparse: Boolean, whether zeros are skipped when computing.
        reason: String, why so.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    zeros: int
    dead: int
    form: str
    runs_sparse: bool
    reason: str

    @property
    def size(self) -> int:
        """Integer, the number of weights."""
        return int(np.prod(self.shape))


def encode(content, quantize, target):
    """Stores the constants of a dense file as it suits a target.

    Returns the new content, the one given if nothing is stored sparse, and a
    list of `Layer`.
    """
    model = flatbuffer.read(content)
    known = target.explain(model)
    forms, layers = {}, []
    for uses in flatbuffer.by_constant(model):
        place = uses[0].graph, uses[0].index
        dense = encoding.dense_values(model, uses[0])
        form, runs, reason = _choose(
            model, uses, dense, quantize, target, known.get(place)
        )
        layers += [
            layer(use, dense, form, runs, reason) for use in uses
        ]
        if form != "dense":
            if quantize == "dynamic" and uses[0].dtype == "INT8":
                place = encoding.dequantize(model, uses)
            forms[place] = form
    if forms:
        encoding.apply(model, forms)
        content = flatbuffer.write(model)
    return content, layers


def layer(use, dense, form, runs_sparse, reason):
    """Returns the `Layer` of a `flatbuffer.Weight`."""
    outputs = np.moveaxis(dense, flatbuffer.WEIGHTED[use.kind], 0)
    dead = ~outputs.reshape(len(outputs), -1).any(1)
    return Layer(
        use.name, use.kind, use.dtype, use.shape,
        int(dense.size - np.count_nonzero(dense)), int(dead.sum()), form,
        runs_sparse, reason,
    )


def _choose(model, uses, dense, quantize, target, known):
    """Returns the form of a constant, whether it runs sparse, and why."""
    blocked = _refused(model, uses, dense, quantize)
    if blocked:
        return "dense", False, f"runs dense: {blocked}"
    if target.has_sparse_kernels:
        kernel = _kernel(uses, dense)
        if kernel is not None:
            return kernel
    smaller, size_reason = _saves(uses, dense, quantize, target)
    runs, reason = target.runs_sparse(uses, dense, known)
    if uses[0].kind == "FULLY_CONNECTED" and uses[0].dtype == "INT8" and (
        quantize == "int8"
    ):
        # Random int8 ones are refused by LiteRT's delegate.
        fits = smaller and _block_fits(uses, dense)
        form = "blocks" if fits else "dense"
        why = "runs sparse: 1x16 blocks" if fits else (
            "runs dense: int8 FULLY_CONNECTED is sparse in 1x16 blocks only"
        )
        return form, fits, why
    form = "densify" if smaller else "dense"
    return form, runs and smaller, f"{reason}; {size_reason}"


def _refused(model, uses, dense, quantize):
    kinds = {use.kind for use in uses}
    if "TRANSPOSE_CONV" in kinds and quantize in ("float16", "dynamic"):
        # Measured: wrong numbers in both runtimes, with XNNPACK.
        return "TRANSPOSE_CONV behind DENSIFY and DEQUANTIZE is miscomputed"
    readers = flatbuffer.consumers(
        model.subgraphs[uses[0].graph], uses[0].index
    )
    near = [use.via[-1] if use.via else use.operator for use in uses]
    others = [op for op in readers if not any(op is n for n in near)]
    if others:
        names = {flatbuffer.operator_name(model, op) for op in others}
        return f"its weights are also read by {', '.join(sorted(names))}"
    if dense.all():
        return "it has no zeros"
    return None


def _kernel(uses, dense):
    """Returns the choice where FULLY_CONNECTED has a faster sparse kernel."""
    for use in uses:
        if use.kind != "FULLY_CONNECTED" or use.dtype != "FLOAT32":
            return None
    zeros = 1 - np.count_nonzero(dense) / dense.size
    costs = {"dense": 1.0, "direct": _COST_DIRECT * (1 - zeros)}
    if dense.shape[1] % encoding.BLOCK["FLOAT32"] == 0:
        blocks = dense.reshape(-1, encoding.BLOCK["FLOAT32"]).any(-1).mean()
        costs["blocks"] = _COST_BLOCKS * blocks
    best = min(costs, key=costs.get)
    if best == "dense" or dense.size < _MIN_WEIGHTS:
        return None
    if best == "direct":
        return best, True, (
            f"runs sparse: {100 * zeros:.1f} % zeros, above the break-even of "
            f"{100 * (1 - 1 / _COST_DIRECT):.0f} %"
        )
    return best, True, (
        f"runs sparse: {100 * (1 - blocks):.1f} % of its 1x4 blocks are zero"
    )


def _saves(uses, dense, quantize, target):
    """Returns whether storing a constant sparse is smaller, and why."""
    encoded = sparse.smallest(dense)
    operators = 1 + (quantize == "dynamic" and uses[0].dtype == "INT8")
    have = target.nbytes([dense])
    want = target.nbytes(encoded.arrays, operators)
    unit = target.unit
    if want < have:
        return True, f"stored sparse: {want:,} instead of {have:,} {unit}"
    return False, f"stored dense: sparse takes {want:,}, not {have:,} {unit}"


def _block_fits(uses, dense):
    block = encoding.BLOCK[uses[0].dtype]
    if dense.shape[1] % block:
        return False
    encoded = sparse.encode(dense, block=block)
    return encoded.nbytes + encoding.OVERHEAD < dense.nbytes
