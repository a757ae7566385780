"""Int8 in float: tensors rounded as a file will round them."""

from typing import Any

import keras
from keras import ops

from tf_lottery.utils import checks

# So that a channel of zeros has a scale.
_LEAST = 1e-20


def rounded_weight(weight: Any, axes: tuple[int, ...]) -> Any:
    """Returns a weight as symmetric int8 has it; its gradient passes through.

    The largest magnitude becomes 127, as in TFLite, so that zeros stay zero and
    a converter that quantises the result finds the same integers. Each slice
    along axes that are not summed over has a scale of its own.
    """
    weight = ops.convert_to_tensor(weight)
    value = ops.stop_gradient(ops.cast(weight, "float32"))
    largest = ops.max(ops.abs(value), axis=axes, keepdims=True)
    scale = ops.maximum(largest, _LEAST) / 127.0
    change = ops.cast(ops.round(value / scale) * scale - value, weight.dtype)
    return weight + ops.stop_gradient(change)


@keras.saving.register_keras_serializable(package="tf_lottery")
class FakeQuantize(keras.layers.Layer):
    """Rounds what passes as asymmetric int8 does, in a range it learns.

    In training the range is a moving average of the smallest and the largest
    value of each batch, which begins with that of the first one. Gradients
    pass where values lie in the range, and are zero outside. Before training
    has begun nothing is rounded.

    Args:
        momentum: Float in [0, 1), of the moving average. Defaults to 0.99.
        limits: Pair of floats, a range that is fixed, or `None`. Defaults to
            `None`.

    Reference: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.

    Example:

    >>> layer = tfl.quantize.FakeQuantize()
    >>> _ = layer(np.array([0.0, 2.55], "float32"), training=True)
    >>> layer(np.array([0.012, 9.0], "float32")).numpy()
    array([0.01, 2.55], dtype=float32)
    """

    def __init__(
        self,
        momentum: float = 0.99,
        limits: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        check_momentum(momentum)
        if limits is not None:
            _check_limits(limits)
        super().__init__(**{**kwargs, "autocast": False})
        self.momentum = momentum
        self.limits = None if limits is None else (limits[0], limits[1])
        # The range as plain numbers, while a converter traces the model.
        self.frozen: tuple[float, float] | None = None
        self.supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        if self.limits is None:
            self.lower, self.upper = (
                self.add_weight(
                    name=name, shape=(), initializer="zeros",
                    dtype="float32", trainable=False, autocast=False,
                )
                for name in ("lower", "upper")
            )

    @property
    def range(self) -> tuple[float, float]:
        """Pair of floats; two zeros before training has begun."""
        if self.limits is not None:
            return self.limits
        lower, upper = map(ops.convert_to_numpy, (self.lower, self.upper))
        return float(lower), float(upper)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if self.limits is not None or self.frozen is not None:
            return _rounded(inputs, *(self.limits or self.frozen))
        ends = [ops.convert_to_tensor(v) for v in (self.lower, self.upper)]
        has_begun = ops.less(*ends)
        if not training:
            return ops.where(has_begun, _rounded(inputs, *ends), inputs)
        values = ops.cast(ops.stop_gradient(inputs), "float32")
        # Zero is in every range of TFLite.
        seen = [
            ops.minimum(ops.min(values), 0.0),
            ops.maximum(ops.max(values), 0.0),
        ]
        keep = ops.where(has_begun, self.momentum, 0.0)
        ends = [now + keep * (old - now) for old, now in zip(ends, seen)]
        self.lower.assign(ends[0])
        self.upper.assign(ends[1])
        return _rounded(inputs, *ends)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"momentum": self.momentum, "limits": self.limits}
        return super().get_config() | own


def _rounded(inputs, lower, upper):
    return keras.quantizers.fake_quant_with_min_max_vars(inputs, lower, upper)


def check_momentum(momentum: float) -> None:
    """Refuses what is no momentum of a moving average."""
    checks.number(
        "momentum", momentum, "a number in [0, 1)", lambda v: 0 <= v < 1
    )


def _check_limits(limits):
    fits = (
        isinstance(limits, (list, tuple)) and len(limits) == 2
        and all(map(checks.is_number, limits)) and limits[0] < limits[1]
        and limits[0] <= 0 <= limits[1]
    )
    if not fits:
        checks.refuse(
            "limits", limits, "a pair of numbers around 0, the lower one first"
        )
