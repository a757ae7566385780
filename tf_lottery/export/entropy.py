"""Sizes of a file: compressed, and with zeros stored ideally."""

import gzip
import math

import numpy as np

from tf_lottery.export import encoding
from tf_lottery.export import flatbuffer


def gzipped(content):
    """Returns content compressed as servers and packages do, `gzip -9`."""
    return gzip.compress(content, 9, mtime=0)


def binary_entropy(p):
    """Returns the entropy of a coin in bits.

    Reference: Shannon 1948, https://doi.org/10.1002/j.1538-7305.1948.tb01338.x

    Example:

    >>> tfl.export.entropy.binary_entropy(0.5)
    1.0
    """
    if p in (0, 1):
        return 0.0
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p))


def bound(content):
    """Returns the entropy bound of a dense file in bytes.

    Of *n* weights of which a share *s* is zero, the positions of the zeros
    take *n* H(*s*) bits, and each nonzero its own bytes; all else stays as
    it is. Quantised values repeat, so that a compressed file may be smaller.
    """
    model = flatbuffer.read(content)
    saved, seen = 0.0, set()
    for weight in flatbuffer.weights(model):
        if weight.tensor.buffer in seen:
            continue
        seen.add(weight.tensor.buffer)
        values = encoding.dense_values(model, weight)
        kept = np.count_nonzero(values)
        bits = values.size * binary_entropy(kept / max(1, values.size))
        saved += max(0, values.nbytes - bits / 8 - kept * values.itemsize)
    return len(content) - int(saved)
