"""Weights that a layer holds itself, next to layers inside it, as tensors."""

import contextlib
from typing import Any

import keras
from keras import ops

from tf_lottery import internals
from tf_lottery.graph.registry import register_rule


@keras.saving.register_keras_serializable("tf_lottery")
class OwnWeight(keras.layers.Layer):
    """Puts out a weight, whatever it is called on.

    A layer that holds a weight next to layers (a table of relative positions,
    a class token) is read as a graph in which this layer has the weight; so
    is what `tf_lottery.structured` makes of such a layer.

    Args:
        shape: Tuple of integers.
        weight_name: String.
        weight_dtype: String, `None` for the one of the layer's policy.
            Defaults to `None`.

    Example:

    >>> table = tfl.layers.OwnWeight((3, 2), "table")
    >>> table(np.zeros((8, 4))).shape
    TensorShape([3, 2])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        weight_name: str = "weight",
        weight_dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shape, self.weight_name = tuple(shape), weight_name
        self.weight_dtype = weight_dtype
        self.supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        self.weight = self.add_weight(
            self.shape, dtype=self.weight_dtype, name=self.weight_name
        )

    def call(self, inputs: Any) -> Any:
        return ops.convert_to_tensor(self.weight)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "shape": self.shape,
            "weight_name": self.weight_name,
            "weight_dtype": self.weight_dtype,
        }


@register_rule(OwnWeight)
def _own_weight(call):
    """Every number is one unit, until numbers turn out to go together."""
    return call.own(call.layer.weight)


class Readers:
    """Layers that have the weights of another one.

    Args:
        layer: `keras.layers.Layer` with weights of its own.
    """

    def __init__(self, layer):
        self.layer = layer
        self._readers = {
            id(v): _reader(layer, v)
            for v in internals.layers.own_variables(layer)
        }

    @contextlib.contextmanager
    def opened(self, tensor):
        """A scope in which the layer holds symbolic tensors.

        Args:
            tensor: `keras.KerasTensor`, any in the graph.
        """
        with contextlib.ExitStack() as stack:
            for name, value in list(vars(self.layer).items()):
                if not name.startswith("_"):
                    new = self._read(value, tensor)
                    if new is not value:
                        stack.enter_context(
                            internals.layers.replaced(self.layer, name, new)
                        )
            yield

    def _read(self, value, tensor):
        if id(value) in self._readers:
            return self._readers[id(value)](tensor)
        if isinstance(value, (list, tuple)):
            new = [self._read(x, tensor) for x in value]
            if any(a is not b for a, b in zip(value, new)):
                return new
        return value


def _reader(layer, variable):
    """A layer that has a weight of another one."""
    dtype = internals.layers.dtype(variable)
    reader = OwnWeight(
        variable.shape,
        variable.name,
        None if keras.backend.is_float_dtype(dtype) else dtype,
        name=f"{layer.name}_{variable.name}",
        dtype=layer.dtype_policy,
        trainable=variable.trainable,
    )
    reader.weight, reader.built = variable, True
    return reader
