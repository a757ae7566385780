"""The fastest file, where convolutions do not run sparse."""

import numpy as np

from tf_lottery.export.targets import smallest
from tf_lottery.export.targets import target

# A file this much slower than the fastest one may win by its size.
_AS_FAST = 1.1


class CPU(target.Target):
    """The fastest file, with sparse fully connected layers where they pay."""

    name = "cpu"
    stored = "sparse kernels"
    has_sparse_kernels = True

    def runs_sparse(self, uses, dense, known):
        if uses[0].kind != "FULLY_CONNECTED":
            return False, "runs dense: x86 has no sparse convolutions"
        if uses[0].dtype != "FLOAT32":
            return False, "runs dense: the sparse kernel is float32 only"
        zeros = 100 * (1 - np.count_nonzero(dense) / dense.size)
        return False, f"runs dense: {zeros:.1f} % zeros do not pay"

    def choose(self, found):
        return fastest(found)


class Auto(target.Target):
    """The fastest of the files for `"flash"` and `"cpu"`."""

    name = "auto"

    def encode(self, content, quantize):
        return [
            *smallest.Flash().encode(content, quantize),
            *CPU().encode(content, quantize),
        ]

    def choose(self, found):
        return fastest(found)


def fastest(found):
    """Returns the fastest candidate; of those within 10 %, the smallest."""
    timed = [c for c in found if c.row.timing is not None]
    if not timed:
        # Not measured here: what the kernels are chosen for.
        return target.sparsest(found)
    best = max(c.row.speedup for c in timed)
    return target.smallest_compressed(
        [c for c in timed if c.row.speedup * _AS_FAST >= best]
    )
