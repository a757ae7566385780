"""Blocks of the empirical Fisher matrix, from gradients in bounded memory.

With the N gradients of a block as the rows of G, the matrix is
F = damp I + (1/N) G^T G. All is computed in float64.
"""

import numpy as np

# How many numbers of several blocks are worked on at a time: 32 MiB.
_STACK_NUMBERS = 2**22


class InverseFisher:
    """F^-1 of a block, applied to vectors.

    By the Woodbury identity where gradients are fewer than weights, so that no
    matrix of weights by weights is made; directly where they are more. `rows`
    has rows^T rows = G^T G of `number` gradients; a stack of such, `(blocks,
    rows, weights)`, has a stack of diagonals.
    """

    def __init__(self, rows, number, damp):
        self.damp = damp
        self.rows = np.asarray(rows, "float64")
        self.matrix = None
        columns = np.swapaxes(self.rows, -1, -2)
        if self.rows.shape[-2] < self.rows.shape[-1]:
            kernel = self.rows @ columns
            _diagonal(kernel)[...] += number * damp
            self.solved = self._checked(np.linalg.solve, kernel, self.rows)
        else:
            fisher = columns @ self.rows / number
            _diagonal(fisher)[...] += damp
            self.matrix = self._checked(np.linalg.inv, fisher)
        if not (self.diagonal() > 0).all():
            raise self._singular()

    def diagonal(self):
        """Returns the diagonal of F^-1."""
        if self.matrix is not None:
            return _diagonal(self.matrix)
        return (1 - (self.rows * self.solved).sum(-2)) / self.damp

    def times(self, vector):
        """Returns F^-1 times a vector."""
        if self.matrix is not None:
            return self.matrix @ vector
        return (vector - self.rows.T @ (self.solved @ vector)) / self.damp

    def part(self, where):
        """Returns the rows and columns of F^-1 at a boolean array."""
        if self.matrix is not None:
            return self.matrix[np.ix_(where, where)]
        product = self.rows[:, where].T @ self.solved[:, where]
        return (np.eye(len(product)) - product) / self.damp

    def _checked(self, function, *arrays):
        try:
            return function(*arrays)
        except np.linalg.LinAlgError:
            raise self._singular() from None

    def _singular(self):
        return ValueError(
            "The Fisher matrix cannot be inverted: argument `damp` is too "
            f"small next to gradients this large. Received: damp={self.damp!r}"
        )


def separate_update(inverse, weights, pruned):
    """The sum of what is best for the rest when each weight goes alone.

    -w_q F^-1 e_q / [F^-1]_qq, summed over the pruned, as the authors' code
    does. Pruned weights themselves do not end at 0 by it.
    """
    return inverse.times(-np.where(pruned, weights, 0) / inverse.diagonal())


def joint_update(inverse, weights, pruned):
    """What is best for the rest when all pruned weights go together.

    -F^-1 E (E^T F^-1 E)^-1 w_pruned with E the columns of the identity at the
    pruned.
    """
    shares = np.zeros_like(weights)
    shares[pruned] = np.linalg.solve(inverse.part(pruned), weights[pruned])
    return inverse.times(-shares)


def compressed(rows):
    """As many rows as columns, with the same rows^T rows, for each block."""
    gram = np.swapaxes(rows, -1, -2) @ rows
    diagonal = _diagonal(gram)
    largest = diagonal.max(-1, keepdims=True)
    # Rounding may leave it short of positive definite by about this much.
    diagonal += np.where(largest > 0, 1e-14 * gram.shape[-1] * largest, 1.0)
    factor = np.swapaxes(np.linalg.cholesky(gram), -1, -2)
    return np.where(largest[..., None] > 0, factor, 0)


def _diagonal(matrices):
    """The diagonals of a stack of matrices, which can be written to."""
    return np.einsum("...ii->...i", matrices)


class GradientRows:
    """The gradients of one weight, or fewer rows with equal Fisher blocks.

    Up to one and a half times as many rows as a block has weights are kept
    as they are. Beyond that, the rows R of each block are replaced by the
    Cholesky factor of R^T R, which rounds less than to store R^T R would.
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
        """Yields slices of weights, `(blocks, rows, weights)` in float64."""
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
            fewer = compressed(rows).transpose(1, 0, 2)
            number, width = len(fewer), part.stop - part.start
            self.rows[:number, part] = fewer.reshape(number, width)
            self.rows[number:, part] = 0
        self.count = self.block_size
