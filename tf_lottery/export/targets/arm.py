"""XNNPACK's sparse convolutions on Arm."""

from tf_lottery.export import xnnpack
from tf_lottery.export.targets import target


class Arm(target.Target):
    """A file with layers that run sparse on Arm, if there are any."""

    name = "arm"
    has_sparse_kernels = True

    def explain(self, model):
        return xnnpack.explain(model)

    def runs_sparse(self, uses, dense, known):
        if known is not None:
            return known
        return False, "runs dense: not a float convolution of XNNPACK's"

    def choose(self, found):
        return target.sparsest(found)
