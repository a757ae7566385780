"""Least squares for the weights that stay, given what a layer reads.

With the rows that a layer reads in X and its weights in W, one column for
each output, the columns are problems of their own: those of W that stay
become what brings X W' nearest to X W. Only the Gram matrix X^T X is needed.
All is computed in float64.
"""

import functools

import numpy as np
import threadpoolctl
from scipy import linalg

# Above it, digits of an inverse are lost that are needed.
_CONDITION = 1e10


def _alone(function):
    """Returns a function that computes in one thread.

    Threads of BLAS wait for each other longer than columns take.
    """
    @functools.wraps(function)
    def alone(*args):
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*args)

    return alone


@functools.cache
def _libraries():
    return threadpoolctl.ThreadpoolController()


def damped(gram, damp):
    """Returns a Gram matrix that can be inverted, in place.

    To its diagonal `damp` means of that diagonal are added.
    """
    diagonal = np.einsum("ii->i", gram)
    mean = diagonal.mean()
    diagonal += damp * mean if mean > 0 else 1.0
    return gram


def error(gram, change):
    """Returns the squared error that a change `(inputs, outputs)` makes."""
    return float(np.vdot(change, gram @ change))


@_alone
def refit(gram, weights, kept):
    """Returns the weights that stay, as near to all as they come, or 0.

    Weights and what is kept of them are `(inputs, outputs)`.
    """
    found = np.where(kept, weights, 0)
    inverse = _worth_inverting(gram, kept)
    for rows, gone, columns in _alike(kept):
        if len(gone):
            found[np.ix_(rows, columns)] = _solution(
                gram, inverse, weights[:, columns], rows, gone
            )
    return found


@_alone
def costs(gram, weights, kept):
    """Returns the squared error that removing one weight more would add.

    The optimal brain surgeon's w^2 / [H^-1]_ii, with the inverse of the part of
    the Gram matrix whose weights are kept, and w as `refit` gives it.
    """
    found = np.zeros(weights.shape)
    whole = _worth_inverting(gram, kept)
    for rows, gone, columns in _alike(kept):
        part = weights[:, columns]
        if whole is not None and len(gone) < len(rows):
            values = _solution(gram, whole, part, rows, gone)
            diagonal = np.diagonal(whole)[rows] - np.square(
                linalg.solve_triangular(
                    linalg.cholesky(whole[np.ix_(gone, gone)], lower=True),
                    whole[np.ix_(gone, rows)], lower=True, check_finite=False,
                )
            ).sum(0)
        else:
            inverse = _inverse(gram[np.ix_(rows, rows)])
            values = inverse @ (gram[rows] @ part)
            diagonal = np.diagonal(inverse)
        found[np.ix_(rows, columns)] = np.square(values) / diagonal[:, None]
    return found


@_alone
def rounded(gram, weights, kept, steps, most):
    """Returns weights on a grid, later rows making up for earlier ones.

    Reference: GPTQ, Frantar et al. 2022, algorithm 1,
    https://arxiv.org/abs/2210.17323; with masks, SparseGPT, Frantar and
    Alistarh 2023, section 3.5, https://arxiv.org/abs/2301.00774.

    Args:
        steps: Array `(outputs,)`, the distances of the grids.
        most: Integer, the largest multiple of a step.
    """
    factor = linalg.cholesky(_inverse(gram), check_finite=False)
    now, found = weights.copy(), np.zeros(weights.shape)
    for row, part in enumerate(factor):
        near = np.clip(np.round(now[row] / steps), -most, most) * steps
        found[row] = np.where(kept[row], near, 0)
        change = (now[row] - found[row]) / part[row]
        now[row + 1:] -= np.outer(part[row + 1:], change)
    return found


def _solution(gram, inverse, weights, rows, gone):
    """Returns rows of weights with others gone: of all columns alike."""
    if inverse is None or len(rows) <= len(gone):
        factor = linalg.cho_factor(
            gram[np.ix_(rows, rows)], overwrite_a=True, check_finite=False
        )
        return linalg.cho_solve(
            factor, gram[rows] @ weights, check_finite=False
        )
    factor = linalg.cho_factor(
        inverse[np.ix_(gone, gone)], overwrite_a=True, check_finite=False
    )
    change = linalg.cho_solve(factor, weights[gone], check_finite=False)
    return weights[rows] - inverse[np.ix_(rows, gone)] @ change


def _worth_inverting(gram, kept):
    """Returns the inverse of a Gram matrix if it makes up for its time.

    With it, where few weights go, equations of those that go are solved in
    place of those that stay: the block inversion of Frantar and Alistarh 2022,
    section 4, for all at once.
    """
    work = sum(
        float(len(rows)) ** 3 / 3 for rows, gone, _ in _alike(kept)
        if 0 < len(gone) < len(rows)
    )
    if work < float(len(gram)) ** 3:
        return None
    inverse = _inverse(gram)
    condition = np.linalg.norm(gram, 1) * np.linalg.norm(inverse, 1)
    return inverse if condition < _CONDITION else None


def _inverse(matrix):
    """Returns the inverse of a positive definite matrix."""
    factor, failed = linalg.lapack.dpotrf(matrix, lower=True)
    if failed:
        raise np.linalg.LinAlgError("The matrix is not positive definite.")
    inverse, _ = linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
    # In place, for it is large.
    for i in range(len(inverse)):
        inverse[i, i + 1:] = inverse[i + 1:, i]
    return inverse


def _alike(kept):
    """Yields rows that columns keep, others, and the columns that do."""
    packed = np.packbits(kept, axis=0)
    _, groups = np.unique(packed, axis=1, return_inverse=True)
    groups = groups.ravel()
    order = np.argsort(groups, kind="stable")
    for columns in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        mask = kept[:, columns[0]]
        if mask.any():
            yield np.flatnonzero(mask), np.flatnonzero(~mask), columns
