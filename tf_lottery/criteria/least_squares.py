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
# Columns are solved for so many numbers at a time.
_NUMBERS = 2**17


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


def centre(gram, means, number, lost):
    """Makes a Gram matrix that of rows without their means, in place.

    Args:
        number: Float, how many rows there are.
        lost: Float, what is added to the diagonal, in parts of it.
    """
    added = lost * np.diagonal(gram)
    # Row by row: a matrix of all products would be as large again.
    for index, row in enumerate(gram):
        change = -(number * (means[index] * means))
        change[index] += added[index]
        row += change


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
    return sum(
        float(np.vdot(part, gram @ part))
        for _, part in _parts(change, np.arange(change.shape[1]))
    )


@_alone
def refit(gram, weights, kept, found=None):
    """Returns the weights that stay, as near to all as they come, or 0.

    Weights and what is kept of them are `(inputs, outputs)`; `found` is an
    array of zeros to write into.
    """
    found = np.zeros(weights.shape) if found is None else found
    inverse = _worth_inverting(gram, kept)
    for rows, gone, columns in _alike(kept):
        solve = _solver(gram, inverse, rows, gone)
        for some, part in _parts(weights, columns):
            found[np.ix_(rows, some)] = solve(part)
    return found


@_alone
def costs(gram, weights, kept, found=None, unit=1.0):
    """Returns the squared error that removing one weight more would add.

    The optimal brain surgeon's w^2 / [H^-1]_ii, with the inverse of the part of
    the Gram matrix whose weights are kept, and w as `refit` gives it; in parts
    of `unit`.
    """
    found = np.zeros(weights.shape) if found is None else found
    whole = _worth_inverting(gram, kept)
    for rows, gone, columns in _alike(kept):
        if whole is not None and len(gone) < len(rows):
            solve = _solver(gram, whole, rows, gone)
            half = linalg.solve_triangular(
                linalg.cholesky(whole[np.ix_(gone, gone)], lower=True),
                whole[np.ix_(gone, rows)], lower=True, check_finite=False,
            )
            diagonal = np.diagonal(whole)[rows] - np.einsum(
                "ij,ij->j", half, half
            )
            del half
        else:
            inverse = _inverse(gram[np.ix_(rows, rows)])
            solve = _refilled(gram, rows, gone, inverse.__matmul__)
            diagonal = np.diagonal(inverse)
        for some, part in _parts(weights, columns):
            errors = np.square(solve(part)) / (unit * diagonal)[:, None]
            found[np.ix_(rows, some)] = errors
    return found


@_alone
def rounded(gram, weights, kept, steps, most):
    """Puts weights on a grid in place, later rows making up for earlier ones.

    Reference: GPTQ, Frantar et al. 2022, algorithm 1,
    https://arxiv.org/abs/2210.17323; with masks, SparseGPT, Frantar and
    Alistarh 2023, section 3.5, https://arxiv.org/abs/2301.00774.

    Args:
        weights: Array `(inputs, outputs)`, in the order of C.
        steps: Array `(outputs,)`, the distances of the grids.
        most: Integer, the largest multiple of a step.
    """
    factor = linalg.cholesky(
        _inverse(gram.copy()), overwrite_a=True, check_finite=False
    )
    for row, part in enumerate(factor):
        near = np.clip(np.round(weights[row] / steps), -most, most) * steps
        near = np.where(kept[row], near, 0)
        change = (weights[row] - near) / part[row]
        weights[row] = near
        if row + 1 < len(weights):
            linalg.blas.dger(
                -1.0, change, part[row + 1:], a=weights[row + 1:].T,
                overwrite_a=True,
            )
    return weights


def _solver(gram, inverse, rows, gone):
    """Returns a function from weights of columns alike to those that stay."""
    if inverse is None or len(rows) <= len(gone):
        factor = len(gone) and _factor(gram[np.ix_(rows, rows)])
        return _refilled(gram, rows, gone, lambda change: linalg.cho_solve(
            factor, change, check_finite=False
        ))
    factor = _factor(inverse[np.ix_(gone, gone)])
    across = inverse[np.ix_(rows, gone)]
    return lambda weights: weights[rows] - across @ linalg.cho_solve(
        factor, weights[gone], check_finite=False
    )


def _refilled(gram, rows, gone, solve):
    """Returns the same where `solve` divides by the rows that stay."""
    if not len(gone):
        return lambda weights: weights
    across = gram[np.ix_(rows, gone)]
    return lambda weights: weights[rows] + solve(across @ weights[gone])


def _factor(matrix):
    """Returns what `cho_solve` takes, in place of a symmetric matrix."""
    # Turned, it is in the order of LAPACK, which would copy it.
    return linalg.cho_factor(matrix.T, overwrite_a=True, check_finite=False)


def _parts(weights, columns):
    """Yields some of the columns, and these of weights in float64."""
    number = -(-len(columns) * len(weights) // _NUMBERS)
    for some in np.array_split(columns, number) if number > 1 else [columns]:
        yield some, weights[:, some].astype("float64")


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
    inverse = _inverse(gram.copy())
    condition = _norm(gram) * _norm(inverse)
    return inverse if condition < _CONDITION else None


def _norm(matrix):
    """The 1-norm of a symmetric matrix, without a second one."""
    return max(np.abs(row).sum() for row in matrix)


def _inverse(matrix):
    """Returns the inverse of a positive definite matrix, in its place."""
    factor, failed = linalg.lapack.dpotrf(
        matrix.T, lower=True, overwrite_a=True
    )
    if failed:
        raise np.linalg.LinAlgError("The matrix is not positive definite.")
    inverse, _ = linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
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
