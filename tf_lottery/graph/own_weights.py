"""Weights that a layer holds itself, next to layers inside it, as tensors."""

import contextlib
import functools
import weakref
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
        names = ("shape", "weight_name", "weight_dtype")
        return super().get_config() | {n: getattr(self, n) for n in names}


@register_rule(OwnWeight)
def _own_weight(call):
    """Every number is one unit, until numbers turn out to go together."""
    return call.own(call.layer.weight)


@keras.saving.register_keras_serializable("tf_lottery")
class AlongBatch(keras.layers.Layer):
    """Repeats what has a batch of one as often as another tensor has examples.

    Example:

    >>> tfl.layers.AlongBatch()(np.ones((1, 2)), np.ones((8, 4))).shape
    TensorShape([8, 2])
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, like: Any) -> Any:
        shape = (ops.shape(like)[0], *inputs.shape[1:])
        return ops.broadcast_to(inputs, shape)

    def compute_output_spec(self, inputs: Any, like: Any) -> Any:
        shape = (like.shape[0], *inputs.shape[1:])
        return keras.KerasTensor(shape, inputs.dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None


@register_rule(AlongBatch)
def _along_batch(call):
    """Units pass."""
    x = call.inputs[0]
    call.vanishes = x.vanishes
    return x.ids[0] if x.batch is None else x.ids


class Readers:
    """Layers that have the weights of another one."""

    def __init__(self, layer):
        self.layer = layer
        self._readers = {
            id(v): _reader(layer, v)
            for v in internals.layers.own_variables(layer)
        }

    @contextlib.contextmanager
    def opened(self, tensor):
        """A scope in which the layer holds symbolic tensors, in any's graph."""
        with contextlib.ExitStack() as stack:
            if self._readers:
                stack.enter_context(internals.graphs.symbolic_calls_replaced(
                    functools.partial(_repeated, tensor),
                    ("BroadcastTo", "Concatenate", "GetItem", "Repeat", "Tile"),
                ))
            for name, value in list(vars(self.layer).items()):
                new = value if name in _KERAS else self._read(value, tensor)
                if new is not value:
                    stack.enter_context(
                        internals.layers.replaced(self.layer, name, new)
                    )
            yield

    def hidden(self):
        """Returns the names of weights that no attribute leads to."""
        found = [
            value for name, value in vars(self.layer).items()
            if name not in _KERAS
        ]
        seen = set(map(id, _leaves(found)))
        return [
            reader.weight.name for place, reader in self._readers.items()
            if place not in seen
        ]

    def _read(self, value, tensor):
        if id(value) in self._readers:
            return self._readers[id(value)](tensor)
        if isinstance(value, dict):
            new = {key: self._read(x, tensor) for key, x in value.items()}
            if any(new[key] is not x for key, x in value.items()):
                return new
        if isinstance(value, (list, tuple)):
            new = [self._read(x, tensor) for x in value]
            if any(a is not b for a, b in zip(value, new)):
                return new
        return value


def _leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        return [value]
    return [leaf for part in value for leaf in _leaves(part)]


# What Keras notes of a layer.
_KERAS = vars(keras.layers.Layer()).keys()


def _repeated(like, original, operation, x, *key):
    """Calls an operation, with weights for every example of a tensor."""
    if key:
        # Keras knows no slice outside a tuple.
        is_slice = not isinstance(key[0], (int, list, tuple))
        return original(operation, x, key if is_slice else key[0])
    if isinstance(x, (list, tuple)):
        if not all(map(_is_of_weights, x)):
            x = [AlongBatch()(y, like) if _is_of_weights(y) else y for y in x]
        return original(operation, x)
    sizes = _FIRST[type(operation).__name__](operation)
    if sizes is None or sizes[0] is not None or not _is_of_weights(x):
        return original(operation, x)
    if any(n != 1 for n in sizes[1:]):
        x = original(type(operation)((1, *sizes[1:])), x)
    return AlongBatch()(x, like)


# How often what comes in is there, by axis.
_FIRST = {
    "BroadcastTo": lambda operation: operation.shape,
    "Repeat": lambda operation: (
        [operation.repeats] if operation.axis == 0 else None
    ),
    "Tile": lambda operation: operation.repeats,
}


def _is_of_weights(x):
    """Whether a symbolic tensor is made of weights alone."""
    if not isinstance(x, keras.KerasTensor):
        return False
    made = internals.graphs.maker(x)
    if isinstance(made, OwnWeight):
        return True
    before = internals.graphs.before(x)
    return bool(before) and all(map(_is_of_weights, before))


def _reader(layer, variable):
    """The layer that has a weight of one or several others."""
    place = id(variable), layer.dtype_policy.name, variable.trainable
    return _READERS.get(place) or _READERS.setdefault(
        place, _new_reader(layer, variable)
    )


# Readers keep their weights, so that no other one gets its id.
_READERS: Any = weakref.WeakValueDictionary()


def _new_reader(layer, variable):
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
