"""The wrapper layer that computes as its int8 operator will."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tf_lottery.layers import substituting
from tf_lottery.quantize import fake_quantize
from tf_lottery.quantize import kinds
from tf_lottery.utils import checks


@keras.saving.register_keras_serializable(package="tf_lottery")
class Quantized(substituting.Substituting):
    """Computes one layer as TFLite's int8 operator does, in training as well.

    The layer sees its kernel rounded to int8, and what it puts out is rounded
    in a range that is learnt. `tf_lottery.quantize.aware` puts it around the
    layers of a model. Biases, which are int32 in files, stay as they are.

    Args:
        layer: A `keras.layers.Layer`.
        kernel: Boolean, whether its kernel is rounded. Defaults to `False`.
        per: `"channel"` or `"layer"`, what one scale of the kernel spans.
            Defaults to `"channel"`.
        inputs: List of integers, which of its inputs are rounded, for nobody
            else does. Defaults to none.
        outputs: Boolean, whether its outputs are rounded: not where the next
            layer is part of the same operator. Defaults to `True`.
        momentum: Float, see `FakeQuantize`. Defaults to 0.99.
        name: String, defaults to the name of `layer`.

    Example:

    >>> layer = tfl.quantize.Quantized(keras.layers.Dense(2), kernel=True)
    >>> layer(np.ones((1, 3)), training=True).shape
    TensorShape([1, 2])
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        kernel: bool = False,
        per: str = "channel",
        inputs: Sequence[int] = (),
        outputs: bool = True,
        momentum: float = 0.99,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(layer, keras.layers.Layer) or isinstance(
            layer, substituting.Substituting
        ):
            checks.refuse("layer", layer, "a `keras.layers.Layer`, unwrapped")
        checks.flag("kernel", kernel)
        if kernel and not kinds.is_kernel(layer):
            checks.refuse("kernel", kernel, f"`False` for {layer}")
        checks.choice("per", per, ("channel", "layer"))
        checks.shape("inputs", inputs)
        checks.flag("outputs", outputs)
        fake_quantize.check_momentum(momentum)
        checks.optional(checks.text, "name", name)
        super().__init__(layer, name, **kwargs)
        self.kernel = kernel
        self.per = per
        self.inputs = list(inputs)
        self.outputs = outputs
        self.momentum = momentum
        # Else the activation is an operator of its own.
        self._is_joined = kinds.is_joined(layer) or not kinds.is_kernel(layer)
        # What converters are to see instead: functions by `id` of a weight,
        # and all that is left of a BatchNormalization.
        self.constants, self.shift = {}, None
        self._ranges = {
            place: fake_quantize.FakeQuantize(
                momentum, kinds.limits(layer) if place == "outputs" else None,
                name=place,
            )
            for place in self._places()
        }

    def _places(self):
        places = [f"input_{i}" for i in self.inputs]
        if not self._is_joined:
            places.append("sums")
        return [*places, "outputs"] if self.outputs else places

    def build(self, *args: Any, **kwargs: Any) -> None:
        if not self.layer.built:
            self.layer.build(*args, **kwargs)
        for layer in self._ranges.values():
            layer.build()

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Dict from place (`"outputs"`) to the range it has learnt."""
        return {place: layer.range for place, layer in self._ranges.items()}

    def value_of(self, variable: keras.Variable) -> Any:
        if id(variable) in self.constants:
            return ops.convert_to_tensor(self.constants[id(variable)]())
        if not self.kernel or variable is not kinds.kernel(self.layer):
            return super().value_of(variable)
        axes = (
            tuple(range(len(variable.shape))) if self.per == "layer"
            else kinds.axes(self.layer)
        )
        return fake_quantize.rounded_weight(variable, axes)

    def freeze_ranges(self, is_frozen: bool) -> None:
        """Has ranges as plain numbers, for converters, or not.

        Args:
            is_frozen: Boolean.
        """
        for layer in self._ranges.values():
            layer.frozen = layer.range if is_frozen else None

    def compute(self, *args: Any, **kwargs: Any) -> Any:
        if self.inputs:
            args = (self._round_inputs(args[0]), *args[1:])
        if self.shift is not None:
            outputs = args[0] + self.shift
        elif self._is_joined:
            outputs = super().compute(*args, **kwargs)
        else:
            outputs = self._round_sums(*args, **kwargs)
        return self._ranges["outputs"](outputs) if self.outputs else outputs

    def _round_inputs(self, inputs):
        flat = keras.tree.flatten(inputs)
        for i in self.inputs:
            flat[i] = self._ranges[f"input_{i}"](flat[i])
        return keras.tree.pack_sequence_as(inputs, flat)

    def _round_sums(self, *args, **kwargs):
        """Calls the layer, and its activation on what it sums, rounded."""
        activation = self.layer.activation
        self.layer.activation = keras.activations.linear
        try:
            sums = super().compute(*args, **kwargs)
        finally:
            self.layer.activation = activation
        return activation(self._ranges["sums"](sums))

    def get_config(self) -> dict[str, Any]:
        names = ("kernel", "per", "inputs", "outputs", "momentum")
        return super().get_config() | {n: getattr(self, n) for n in names}
