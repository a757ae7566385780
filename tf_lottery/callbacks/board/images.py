"""Pictures of masks: what of a layer is kept, channel by channel."""

import io

import numpy as np
from PIL import Image

# The largest number of cells; a cell of a larger layer is a block of it.
_CELLS = 2**18
# A picture of few cells is enlarged to about this many pixels a side.
_SIDE = 128
_GAP = 255
# From nothing kept to all kept, with equal steps of lightness in between.
_ANCHORS = (
    (68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37),
)


def pictures(mask, layout):
    """Returns what `png` draws of a mask: `"channels"`, and single weights.

    Those are the `"masks"`, where they are not too many.
    """
    if layout.sizes(mask.shape)[0] == 1:
        return {"masks": channels(mask, layout)}
    tiles = kernels(mask, layout)
    found = {} if tiles is None else {"masks": tiles}
    return found | {"channels": channels(mask, layout)}


def channels(mask, layout):
    """Returns the density of each pair of channels, `(outputs, inputs)`.

    Where there are very many, it is that of blocks of channels.
    """
    matrix = layout.to_matrix(np.asarray(mask, "float32"))
    return _shrunk(matrix.mean(axis=0).T)


def kernels(mask, layout):
    """Returns the kernels, a row for each output, a column for each input.

    They are of 0.0 and 1.0, with NaN between two; `None` where kernels are
    single weights, have more than two dimensions, or are too many.
    """
    order = layout.order(mask.ndim)
    positions, inputs, outputs = layout.sizes(mask.shape)
    ndim = mask.ndim - len(layout.inputs) - len(layout.outputs)
    if positions == 1 or ndim > 2:
        return None
    shape = [mask.shape[axis] for axis in order[:ndim]]
    height, width = [1] * (2 - ndim) + shape
    if outputs * (height + 1) * inputs * (width + 1) > _CELLS:
        return None
    tiles = np.full((outputs, height + 1, inputs, width + 1), np.nan, "float32")
    matrix = layout.to_matrix(mask).reshape(height, width, inputs, outputs)
    tiles[:, :height, :, :width] = matrix.transpose(3, 0, 2, 1)
    rows = tiles.reshape(outputs * (height + 1), inputs * (width + 1))
    return rows[:-1, :-1]


def png(densities):
    """Draws densities, dark to bright; returns (width, height) and the bytes.

    NaN is drawn white.
    """
    gaps = np.isnan(densities)
    levels = np.round(np.where(gaps, 0, densities) * (_GAP - 1))
    pixels = np.where(gaps, _GAP, levels).astype("uint8")
    factor = max(1, -(-_SIDE // max(pixels.shape)))
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    picture, file = Image.fromarray(pixels), io.BytesIO()
    picture.putpalette(_palette())
    picture.save(file, "png")
    return picture.size, file.getvalue()


def _shrunk(matrix):
    """Means of the smallest square blocks of which there are few enough."""
    factor = 1
    while np.prod([-(-side // factor) for side in matrix.shape]) > _CELLS:
        factor += 1
    for axis in (0, 1):
        starts = np.arange(0, matrix.shape[axis], factor)
        sums = np.add.reduceat(matrix, starts, axis=axis)
        sizes = np.diff(np.append(starts, matrix.shape[axis]))
        matrix = sums / np.expand_dims(sizes, 1 - axis)
    return matrix


def _palette():
    places = np.linspace(0, _GAP - 1, len(_ANCHORS))
    colours = [
        np.interp(np.arange(_GAP), places, channel)
        for channel in np.transpose(_ANCHORS)
    ]
    white = np.full((1, 3), 255)
    return np.vstack([np.stack(colours, 1), white]).astype("uint8").tobytes()
