"""Rewinding: what is set back between two rounds.

References: Frankle et al. 2019, https://arxiv.org/abs/1903.01611; Renda et
al. 2020, https://arxiv.org/abs/2003.02389.
"""

from tf_lottery import holding
from tf_lottery import optimizers


def rewind_weights(model, start, masks):
    """Sets everything back to the rewinding point, under new masks.

    Returns a `Snapshot` that the next round alone starts from, or `None`.
    """
    holding.rewind(model, start, masks)
    return None


def rewind_learning_rate(model, start, masks):
    """Sets the optimizer back, with fresh slots; see `rewind_weights`."""
    optimizers.rewind_schedule(model, start)
    return rewind_nothing(model, start, masks)


def rewind_nothing(model, start, masks):
    """Sets nothing back: fine-tuning; see `rewind_weights`."""
    holding.hold(model, masks)
    return holding.capture(model, start.step)


REWINDING = {
    "weights": rewind_weights,
    "learning_rate": rewind_learning_rate,
    "none": rewind_nothing,
}
