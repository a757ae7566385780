"""Child of `gradual`: tf_lottery and dense Keras. Argument: repetitions."""

import sys

import tf_lottery as tfl
from tests.benchmarks import fits
from tf_lottery.sparsity_schedules import PolynomialDecay


def pruned():
    model = fits.compiled()
    schedule = PolynomialDecay(0.0, 0.9, end_step=fits.steps(3), frequency=100)
    fits.fit(model, [tfl.callbacks.GradualPruning(schedule)])
    return model


fits.main({"GradualPruning": pruned}, int(sys.argv[1]))
