"""The optimizer that a preset trains with, and its learning rate."""

import keras
import numpy as np
from keras import ops

from tf_lottery.experiments import presets
from tf_lottery.utils import checks
from tf_lottery.utils import configurations


@keras.saving.register_keras_serializable("tf_lottery")
class L2SGD(keras.optimizers.SGD):
    """SGD whose gradients include those of an L2 penalty.

    `penalty * variable` passes through momentum, as with `weight_decay` of
    PyTorch's SGD; Keras' is decoupled, with momentum 0.9 ten times weaker. See
    Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101.
    """

    def __init__(
        self, learning_rate=0.01, momentum=0.0, nesterov=False, penalty=0.0,
        name="L2SGD", **kwargs,
    ):
        super().__init__(
            learning_rate, momentum, nesterov, name=name, **kwargs
        )
        self.penalty = penalty

    def update_step(self, gradient, variable, learning_rate):
        gradient = gradient + self.penalty * keras.ops.cast(
            variable, gradient.dtype
        )
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "penalty": self.penalty}


def of(preset):
    """Returns a new optimizer for a preset."""
    rate = _learning_rate(preset)
    if preset.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    if preset.weight_decay:
        return L2SGD(rate, preset.momentum, penalty=preset.weight_decay)
    return keras.optimizers.SGD(rate, preset.momentum)


def _learning_rate(preset):
    constant = preset.decay == "steps" and not preset.drops
    if constant and not preset.warmup_steps:
        return preset.learning_rate
    return WarmUpAndDecay(
        preset.learning_rate,
        preset.iterations,
        preset.decay,
        preset.drop_steps,
        preset.drop_by,
        preset.warmup_steps,
    )


@keras.saving.register_keras_serializable("tf_lottery")
class WarmUpAndDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up, then a constant rate with drops, or a decay to 0.

    During the warm-up step `t` (from 0) has `(t + 1) / warmup` of the rate.
    From each step of `drops` on it is multiplied by `drop_by`; decays
    `"linear"` and `"cosine"` reach 0 after `steps`. Reference for the warm-up
    in lottery tickets: Frankle and Carbin 2019, section 4,
    https://arxiv.org/abs/1803.03635.
    """

    def __init__(
        self, learning_rate=0.1, steps=1, decay="steps", drops=(),
        drop_by=0.1, warmup=0,
    ):
        checks.choice("decay", decay, presets.DECAYS)
        self.learning_rate = learning_rate
        self.steps = steps
        self.decay = decay
        self.drops = list(drops)
        self.drop_by = drop_by
        self.warmup = warmup

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = self.learning_rate * self._decayed(step)
        for drop in self.drops:
            rate = rate * ops.where(step >= drop, self.drop_by, 1.0)
        if self.warmup:
            rate = rate * ops.minimum(1.0, (step + 1) / self.warmup)
        return rate

    def _decayed(self, step):
        if self.decay == "steps":
            return ops.ones_like(step)
        left = 1 - ops.minimum(step / self.steps, 1.0)
        if self.decay == "linear":
            return left
        return (1 - ops.cos(np.pi * left)) / 2

    def get_config(self):
        return configurations.of_arguments(self)
