"""Least squares for the weights that stay, given what a layer reads.

With the rows that a layer reads in X and its weights in W, one column for
each output, the columns are problems of their own: those of W that stay
become what brings X W' nearest to X W. Only the Gram matrix X^T X is needed.
All is computed in float64.
"""

import numpy as np
import scipy.linalg


def damped(gram, damp):
    """Returns a Gram matrix that can be inverted, in place.

    Args:
        gram: Array `(inputs, inputs)`.
        damp: Float, what is added to its diagonal, in means of that diagonal.
    """
    diagonal = np.einsum("ii->i", gram)
    mean = diagonal.mean()
    diagonal += damp * mean if mean > 0 else 1.0
    return gram


def error(gram, change):
    """Returns the squared error that a change of the weights makes.

    Args:
        gram: Array `(inputs, inputs)`.
        change: Array `(inputs, outputs)`.
    """
    return float(np.vdot(change, gram @ change))


def refit(gram, weights, kept):
    """Returns the weights that stay, as near to all as they come.

    Args:
        gram: Array `(inputs, inputs)`, positive definite.
        weights: Array `(inputs, outputs)`.
        kept: Boolean array of that shape.

    Returns:
        Array, zero where nothing is kept.
    """
    found = np.where(kept, weights, 0)
    for rows, columns in _alike(kept):
        if len(rows) < len(weights):
            found[np.ix_(rows, columns)] = scipy.linalg.solve(
                gram[np.ix_(rows, rows)], gram[rows] @ weights[:, columns],
                assume_a="pos",
            )
    return found


def costs(gram, weights, kept):
    """Returns the squared error that removing one weight more would add.

    The optimal brain surgeon's w^2 / [H^-1]_ii, with the inverse of the part
    of the Gram matrix whose weights are kept, and w as `refit` gives it.

    Returns:
        Array, zero where nothing is kept.
    """
    found = np.zeros(weights.shape)
    for rows, columns in _alike(kept):
        inverse = np.linalg.inv(gram[np.ix_(rows, rows)])
        values = inverse @ (gram[rows] @ weights[:, columns])
        found[np.ix_(rows, columns)] = (
            np.square(values) / np.diagonal(inverse)[:, None]
        )
    return found


def _alike(kept):
    """Yields the rows that columns keep, and the columns that keep them."""
    packed = np.packbits(kept, axis=0)
    _, groups = np.unique(packed, axis=1, return_inverse=True)
    groups = groups.ravel()
    order = np.argsort(groups, kind="stable")
    for columns in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        rows = np.flatnonzero(kept[:, columns[0]])
        if len(rows):
            yield rows, columns
