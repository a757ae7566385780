"""The sparse tensors of TFLite: dense array <-> values and index arrays.

A tensor is stored level by level in a *traversal order* of its axes; a level
is dense, or compressed like the rows of CSR (segment pointers and indices).
Reference: `tensorflow/lite/schema/schema.fbs`, `SparsityParameters`, after
the format of TACO, https://doi.org/10.1145/3133901.
"""

import dataclasses

import numpy as np

from tf_lottery.export import flatbuffer


@dataclasses.dataclass(frozen=True, eq=False)
class Encoding:
    """A sparse tensor: the last level compressed, or blocks behind it.

    The level of `axis` is compressed: `segments` say where the indices of each
    row begin and end, `indices` where on the axis values are, in blocks of
    length `block`; 1 is none.
    """

    values: np.ndarray
    shape: tuple
    axis: int
    block: int
    segments: np.ndarray
    indices: np.ndarray

    @property
    def nbytes(self):
        """Integer, the bytes of values, segments and indices."""
        return sum(a.nbytes for a in self.arrays)

    @property
    def arrays(self):
        """The three arrays in the types they are stored in."""
        return self.values, _narrow(self.segments), _narrow(self.indices)


def encode(dense, axis=-1, block=1):
    """Returns the `Encoding` of an array with one axis compressed.

    Example:

    >>> from tf_lottery.export import sparse
    >>> found = sparse.encode(np.array([[0, 5, 0], [7, 0, 8]], "float32"))
    >>> found.values, found.segments, found.indices
    (array([5., 7., 8.], dtype=float32), array([0, 1, 3]), array([1, 0, 2]))
    """
    axis %= dense.ndim
    rows = np.moveaxis(dense, axis, -1).reshape(-1, dense.shape[axis])
    blocks = rows.reshape(len(rows), -1, block)
    kept = (blocks != 0).any(-1)
    segments = np.concatenate([[0], np.cumsum(kept.sum(1))])
    return Encoding(
        blocks[kept].reshape(-1), dense.shape, axis, block, segments,
        np.nonzero(kept)[1],
    )


def smallest(dense):
    """Returns the encoding of the fewest bytes, over all axes.

    An axis of up to 256 has indices of one byte, and a short one makes many
    rows, each with a segment pointer.
    """
    return min(
        (encode(dense, axis) for axis in reversed(range(dense.ndim))),
        key=lambda encoding: encoding.nbytes,
    )


def parameters(encoding):
    """Returns the `SparsityParametersT` of an encoding."""
    names = flatbuffer.schema()
    rank = len(encoding.shape)
    order = [axis for axis in range(rank) if axis != encoding.axis]
    found = names.SparsityParametersT()
    found.traversalOrder = order + [encoding.axis]
    found.dimMetadata = [_dense(encoding.shape[axis]) for axis in order]
    _, segments, indices = encoding.arrays
    level = names.DimensionMetadataT()
    level.format = names.DimensionType.SPARSE_CSR
    level.arraySegmentsType, level.arraySegments = _vector(segments)
    level.arrayIndicesType, level.arrayIndices = _vector(indices)
    found.dimMetadata.append(level)
    if encoding.block > 1:
        found.traversalOrder.append(rank)
        found.blockMap = [encoding.axis]
        found.dimMetadata.append(_dense(encoding.block))
    return found


def decode(values, shape, sparsity):
    """Returns the dense array of a sparse tensor of any traversal order."""
    rank = len(shape)
    levels = []
    # One entry for each position reached so far, extended level by level.
    position = np.zeros(1, "int64")
    for level in sparsity.dimMetadata:
        position, counts, index = _descend(level, position)
        levels = [np.repeat(known, counts) for known in levels] + [index]
    order = [int(axis) for axis in sparsity.traversalOrder]
    coordinates = [None] * rank
    for axis, index in zip(order, levels):
        if axis < rank:
            coordinates[axis] = index
        else:
            inside = int(sparsity.blockMap[axis - rank])
            size = int(sparsity.dimMetadata[order.index(axis)].denseSize)
            coordinates[inside] = coordinates[inside] * size + index
    dense = np.zeros(shape, values.dtype)
    dense[tuple(coordinates)] = values[:len(position)]
    return dense


def _descend(level, position):
    names = flatbuffer.schema()
    if level.format == names.DimensionType.DENSE:
        size = int(level.denseSize)
        index = np.tile(np.arange(size), len(position))
        return np.repeat(position, size) * size + index, size, index
    segments = np.asarray(level.arraySegments.values, "int64")
    indices = np.asarray(level.arrayIndices.values, "int64")
    begin, counts = segments[position], np.diff(segments)[position]
    offset = np.arange(counts.sum()) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    found = np.repeat(begin, counts) + offset
    return found, counts, indices[found]


def _narrow(numbers):
    """As the smallest type the schema has for index arrays."""
    highest = int(numbers.max(initial=0))
    for dtype in ("uint8", "uint16"):
        if highest <= np.iinfo(dtype).max:
            return numbers.astype(dtype)
    return numbers.astype("int32")


def _vector(numbers):
    names = flatbuffer.schema()
    kind = {"uint8": "Uint8", "uint16": "Uint16", "int32": "Int32"}[
        numbers.dtype.name
    ]
    vector = getattr(names, f"{kind}VectorT")()
    vector.values = numbers
    return getattr(names.SparseIndexVector, f"{kind}Vector"), vector


def _dense(size):
    names = flatbuffer.schema()
    level = names.DimensionMetadataT()
    level.format = names.DimensionType.DENSE
    level.denseSize = size
    return level
