"""A weight cut into blocks: pool over them, and spread over them."""

import numpy as np

# Pieces that stay in the processor's cache; also bounds temporaries.
_PIECE = 1 << 17


class Grid:
    """Blocks of `inputs` x `outputs` entries of one weight.

    Blocks at the far edges hold what is left over. They are numbered in the
    order position, input, output.

    Args:
        inputs: Integer, or `None` for all inputs at all positions.
    """

    def __init__(self, shape, layout, inputs, outputs):
        self._shape, self._layout = tuple(shape), layout
        positions, rows, columns = layout.sizes(shape)
        if inputs is None:
            self._heights = _cut(positions * rows, positions * rows)
        else:
            self._heights = np.tile(_cut(rows, inputs), positions)
        self._widths = _cut(columns, outputs)

    def __len__(self):
        return len(self._heights) * len(self._widths)

    def count(self, mask):
        """Returns the number of survivors in each block."""
        pieces = (
            (start, alive.astype(np.int32))
            for start, alive in self._pieces(mask)
        )
        return self._reduce(np.add, pieces, np.zeros(len(self), np.int32))

    def total(self, score, mask, square=False):
        """Returns the sum of the survivors' scores, or of their squares."""

        def survivors():
            for (start, values), (_, alive) in zip(
                self._pieces(score), self._pieces(mask)
            ):
                values = np.where(alive, values.astype(np.float64), 0.0)
                yield start, values * values if square else values

        return self._reduce(np.add, survivors(), np.zeros(len(self)))

    def highest(self, score, mask):
        """Returns the survivors' highest score, -inf where there is none."""
        pieces = (
            (start, np.where(alive, values.astype(np.float64), -np.inf))
            for (start, values), (_, alive) in zip(
                self._pieces(score), self._pieces(mask)
            )
        )
        return self._reduce(np.maximum, pieces, np.full(len(self), -np.inf))

    def spread(self, chosen):
        """Returns the mask of whole weights that keeps the chosen blocks."""
        chosen = chosen.reshape(len(self._heights), len(self._widths))
        if (self._widths != 1).any():
            chosen = np.repeat(chosen, self._widths, axis=1)
        if (self._heights != 1).any():
            chosen = np.repeat(chosen, self._heights, axis=0)
        return self._layout.from_matrix(chosen, self._shape)

    def _pieces(self, array):
        """Yields (first row, rows) of the weight as a matrix."""
        matrix = self._layout.to_matrix(array)
        rows = matrix.reshape(-1, matrix.shape[-1]) if matrix.size else ()
        step = max(_PIECE // max(matrix.shape[-1], 1), 1)
        for start in range(0, len(rows), step):
            yield start, rows[start : start + step]

    def _reduce(self, ufunc, pieces, result):
        table = result.reshape(len(self._heights), len(self._widths))
        tops, lefts = _starts(self._heights), _starts(self._widths)
        for start, rows in pieces:
            first = np.searchsorted(tops, start, side="right") - 1
            last = np.searchsorted(tops, start + len(rows))
            within = np.maximum(tops[first:last] - start, 0)
            part = ufunc.reduceat(rows, within, axis=0)
            if len(lefts) < part.shape[1]:
                part = ufunc.reduceat(part, lefts, axis=1)
            table[first:last] = ufunc(table[first:last], part)
        return result


def _cut(number, step):
    """Sizes of the pieces of `number` entries, the last may be smaller."""
    if not number:
        return np.zeros(0, np.int64)
    step = min(step, number)
    rest = number % step
    return np.array([step] * (number // step) + [rest] * bool(rest), np.int64)


def _starts(sizes):
    return np.cumsum(sizes) - sizes
