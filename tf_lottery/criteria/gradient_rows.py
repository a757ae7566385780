"""Many gradients in bounded memory, such that their Fisher blocks are kept."""

import numpy as np

from tf_lottery.criteria import fisher_blocks


# How many numbers of several blocks are worked on at a time: 32 MiB.
_STACK_NUMBERS = 2**22


class GradientRows:
    """The gradients of one weight, or fewer rows with equal Fisher blocks.

    Up to one and a half times as many rows as a block has weights are kept
    as they are. Beyond that, the rows R of each block are replaced by the
    Cholesky factor of R^T R, which rounds less than to store R^T R would.

    Args:
        size: Integer, the number of weights.
        block_size: Integer, weights per block.
        dtype: String, of the rows. Defaults to `"float32"`.
    """

    def __init__(self, size, block_size, dtype="float32"):
        self.block_size = min(block_size, size)
        self.limit = self.block_size + -(-self.block_size // 2)
        self.count = 0
        self.rows = np.empty((0, size), dtype)

    def append(self, gradients):
        """Adds gradients `(number, size)`."""
        start = 0
        while start < len(gradients):
            if self.count == self.limit:
                self._compress()
            part = gradients[start : start + self.limit - self.count]
            stop = self.count + len(part)
            if stop > len(self.rows):
                # In place, as no copy of them all would fit.
                self.rows.resize((stop, self.rows.shape[1]), refcheck=False)
            self.rows[self.count : stop] = part
            self.count = stop
            start += len(part)

    def blocks(self):
        """Yields (slice of the weights, rows of the block)."""
        size = self.rows.shape[1]
        for start in range(0, size, self.block_size):
            block = slice(start, min(start + self.block_size, size))
            yield block, self.rows[: self.count, block]

    def stacks(self):
        """Yields (slice of the weights, rows of several blocks in it).

        The rows come in float64 as `(blocks, rows, weights)`.
        """
        width, size = self.block_size, self.rows.shape[1]
        step = width * max(1, _STACK_NUMBERS // (width * self.limit))
        whole = size - size % width
        starts = [*range(0, whole, step), *([whole] if whole < size else [])]
        for start, stop in zip(starts, [*starts[1:], size]):
            part = slice(start, stop)
            rows = self.rows[: self.count, part].astype("float64")
            rows = rows.reshape(self.count, -1, min(width, rows.shape[1]))
            yield part, rows.transpose(1, 0, 2)

    def _compress(self):
        for part, rows in self.stacks():
            fewer = fisher_blocks.compressed(rows).transpose(1, 0, 2)
            number, width = len(fewer), part.stop - part.start
            self.rows[:number, part] = fewer.reshape(number, width)
            self.rows[number:, part] = 0
        self.count = self.block_size
