"""The optimizer that a preset trains with."""

import keras

from tf_lottery.experiments import learning_rates


@keras.saving.register_keras_serializable("tf_lottery")
class L2SGD(keras.optimizers.SGD):
    """SGD whose gradients include those of an L2 penalty.

    The penalty's gradient, `penalty * variable`, passes through momentum, as
    with `weight_decay` of PyTorch's SGD and an L2 regularisation loss. Keras'
    own `weight_decay` is decoupled: with momentum 0.9 it is ten times weaker.
    See Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101.

    Args:
        learning_rate: Float or schedule. Defaults to 0.01.
        momentum: Float. Defaults to 0.0.
        nesterov: Boolean. Defaults to `False`.
        penalty: Float, the factor of the penalty. Defaults to 0.0.
        name: String. Defaults to `"L2SGD"`.
        **kwargs: Other arguments of `keras.optimizers.SGD`.
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
    """Returns a new optimizer for a preset.

    Args:
        preset: `tf_lottery.experiments.Preset`.
    """
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
    return learning_rates.WarmUpAndDecay(
        preset.learning_rate,
        preset.iterations,
        preset.decay,
        preset.drop_steps,
        preset.drop_by,
        preset.warmup_steps,
    )
