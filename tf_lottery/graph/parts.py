"""The parts of a graph: what its units bind, and what goes with them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Binding:
    """One axis of one weight whose slices belong to channel units.

    Attributes:
        key: String, the weight key as in `tf_lottery.weights.variables`.
        layer: The `keras.layers.Layer` that owns the weight, never a wrapper
            around it.
        index: Integer, position of the weight in `layer.weights`.
        variable: `keras.Variable`, the weight.
        axis: Integer, 0 or more, the axis of the weight.
        ids: Integer array of length `variable.shape[axis]`: the class of
            every slice, 0 where it is frozen.
        kind: String. `"in"`: the weight reads the unit. `"out"`: it makes the
            unit. `"pass"`: one value per unit on its way (normalisation,
            depthwise). `"zero"`: as `"out"`, and zeroing the slice is the
            same as removing the unit (key dimensions of a query).
    """

    key: str
    layer: keras.layers.Layer
    index: int
    variable: keras.Variable
    axis: int
    ids: np.ndarray
    kind: str


@dataclasses.dataclass(frozen=True, eq=False)
class ConfigEdit:
    """What changes in the configuration of an operation.

    Attributes:
        operation: The layer or `keras.Operation` in the graph; of a wrapper
            (`TimeDistributed`, `Masked`) the wrapper.
        entry: Tuple of strings, the way through the configuration, such as
            `("filters",)` or `("layer", "config", "units")`. A way that
            starts with `"call"` names an argument that the operation is
            called with, by position.
        ids: Integer array of the ids it depends on.
        value: Function from boolean array over ids (`True` = kept) to the
            new value.
    """

    operation: Any
    entry: tuple
    ids: np.ndarray
    value: Callable


@dataclasses.dataclass(frozen=True, eq=False)
class Scale:
    """A factor that makes removal exact where a layer divides by a size.

    Attributes:
        key: String, the weight key.
        ids: Integer array of the ids it depends on.
        factor: Function from boolean array over ids to a float.
        shift: Float that the layer adds to the weight before it uses it.
    """

    key: str
    ids: np.ndarray
    factor: Callable
    shift: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Producer:
    """A vector of units that one layer makes.

    At least one unit of every producer must be kept.

    Attributes:
        path: String, path of the layer in the model.
        role: String, `"units"`, or `"heads"`, `"key_dim"`, `"value_dim"`; or
            `"part"`, units of the layer that are cut out further on; or
            `"copies"` that an operation makes of what has no units.
        layer: The `keras.layers.Layer`.
        ids: Integer array, the class of every unit, 0 where it is frozen.
    """

    path: str
    role: str
    layer: keras.layers.Layer
    ids: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Classes that are connected through a common producer.

    Attributes:
        name: String, path of the first producer, with its role unless that
            is `"units"`.
        classes: Integer array of class ids, in the order of the units.
        producers: List of `Producer`.
    """

    name: str
    classes: np.ndarray
    producers: list[Producer]

    def __len__(self) -> int:
        return len(self.classes)


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Units of a producer that cannot be removed.

    Attributes:
        path: String, path of the layer.
        role: String, see `Producer`.
        units: Integer, how many.
        reason: String.
    """

    path: str
    role: str
    units: int
    reason: str
