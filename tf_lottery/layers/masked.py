"""The wrapper layer that holds masks in the forward pass."""

from collections.abc import Mapping
from collections.abc import MutableMapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import internals
from tf_lottery import masks as masks_lib
from tf_lottery import weights
from tf_lottery.layers import substituting
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils import types


@keras.saving.register_keras_serializable(
    package="tf_lottery", name="MaskedLayer"
)
class Masked(substituting.Substituting):
    """Holds the masks of one layer, whatever trains it.

    The wrapped layer computes with masked weights, so that the gradient of a
    pruned weight is exactly zero in any training loop, and every Keras
    optimizer sets the weight itself to 0.0. Masks, and the snapshot if asked
    for, are saved with the model.

    The wrapper is called and built as `layer` is. Weight keys say nothing of
    it: masks and tickets carry over between a model and its wrapped twin.

    Args:
        layer: The `keras.layers.Layer` to hold masks for, with at least one
            prunable weight.
        exclude: Names or patterns of parts of `layer` that get no mask.
            Defaults to none.
        include: Names or patterns of embeddings that get one, as
            `"embeddings"` for a `keras.layers.Embedding`. Defaults to none.
        snapshot: Boolean, whether to keep a copy of the layer's weights to
            rewind to, taken when the layer is built. Defaults to `False`.
        name: String, defaults to the name of `layer`.

    Raises:
        ValueError: If the layer has no prunable weight.

    Example:

    >>> layer = tfl.layers.Masked(keras.layers.Dense(2), snapshot=True)
    >>> layer.build((None, 3))
    >>> layer.set_masks({"kernel": np.eye(3, 2, dtype=bool)})
    >>> int(np.count_nonzero(layer.layer.kernel))
    2
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        exclude: types.Names = (),
        include: types.Names = (),
        snapshot: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                "Argument `layer` must be a `keras.layers.Layer`. "
                f"Received: layer={layer!r} (of type {type(layer)})"
            )
        if isinstance(layer, Masked):
            raise ValueError(
                "Argument `layer` already is a `Masked` layer. "
                f"Received: layer={layer}"
            )
        checks.names("exclude", exclude)
        checks.names("include", include)
        checks.flag("snapshot", snapshot)
        checks.optional(checks.text, "name", name)
        super().__init__(layer, name, **kwargs)
        self.exclude = _as_list(exclude)
        self.include = _as_list(include)
        self.snapshot = snapshot
        self._copies = []
        self._file_names = {}

    def build(self, *args: Any, **kwargs: Any) -> None:
        if not self.layer.built:
            self.layer.build(*args, **kwargs)
        prunable = weights.prunable(self.layer, self.exclude, self.include)
        for key, variable in prunable.items():
            mask = self._add_like(variable, f"{key}_mask", "ones")
            constraints.attach(variable, mask, in_layer=True)
        for key, variable in self._rewound().items():
            copy = self._add_like(variable, f"{key}_snapshot", _Copy(variable))
            self._copies.append(copy)

    def _add_like(self, variable, name, initializer):
        in_file = name.replace("/", ".")
        # Torch takes no dots in the names of parameters.
        is_torch = backends.name() == "torch"
        name = in_file.replace(".", "-") if is_torch else in_file
        self._file_names[name] = in_file
        return self.add_weight(
            name=name,
            shape=variable.shape,
            # Without the underscore: the precision that is computed in.
            dtype=internals.layers.dtype(variable),
            initializer=initializer,
            trainable=False,
        )

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Dict from weight name to mask, a boolean array, `True` = kept."""
        return {
            key: constraints.mask_of(variable)
            for key, variable in self._held().items()
        }

    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Sets masks; pruned weights become zero at once.

        Args:
            masks: Dict from weight name (`"kernel"`) to boolean array.

        Raises:
            ValueError: If the layer is not built, or a name, a shape or a
                dtype does not fit.
        """
        weights.check_built(self)
        held = self._held()
        for key, mask in masks.items():
            mask = np.asarray(mask)
            if (
                key not in held
                or mask.shape != tuple(held[key].shape)
                or mask.dtype != bool
            ):
                shapes = {k: tuple(v.shape) for k, v in held.items()}
                raise ValueError(
                    f"Layer '{self.name}' holds no such mask. Received: "
                    f"'{key}', {mask.dtype} of shape {mask.shape}. Expected "
                    f"boolean arrays of these names and shapes: {shapes}"
                )
        for key, mask in masks.items():
            constraints.keep_of(held[key]).assign(mask)
            constraints.project(held[key])

    def take_snapshot(self) -> None:
        """Copies the layer's weights as they are now, to rewind to."""
        self._check_snapshot()
        for copy, variable in zip(self._copies, self._rewound().values()):
            # Two variables of one array: JAX would give it away twice.
            copy.assign(ops.copy(variable))

    def rewind(self) -> None:
        """Sets the layer's surviving weights back to the snapshot."""
        self._check_snapshot()
        for copy, variable in zip(self._copies, self._rewound().values()):
            variable.assign(ops.copy(copy))
            constraints.project(variable)

    def value_of(self, variable: keras.Variable) -> Any:
        keep = constraints.keep_of(variable)
        if keep is None:
            return super().value_of(variable)
        mask = ops.convert_to_tensor(keep.mask)
        if keep.in_layer and backends.name() == "jax":
            # In the same trace the optimizer projects, without the variables
            # of layers that are not trained, as this mask is one.
            keep.bind(mask)
        return constraints.masked(mask, variable)

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        for variable in self._own_variables():
            value = ops.convert_to_numpy(variable)
            if variable.name.endswith("_mask"):
                value = np.frombuffer(masks_lib.pack(value != 0), "uint8")
            store[self._file_names[variable.name]] = value

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        own = self._own_variables()
        expected = sorted(self._file_names[v.name] for v in own)
        if sorted(store.keys()) != expected:
            raise ValueError(
                f"Layer '{self.name}' cannot load these masks: the file and "
                "the layer differ in which weights are masked or in "
                f"`snapshot`. Received: {sorted(store.keys())}. "
                f"Expected: {expected}."
            )
        for variable in own:
            value = np.asarray(store[self._file_names[variable.name]])
            if variable.name.endswith("_mask"):
                value = masks_lib.unpack(value.tobytes(), variable.shape)
            variable.assign(value)

    def get_config(self) -> dict[str, Any]:
        # What Keras makes of a list that is an attribute cannot be pickled.
        return super().get_config() | {
            "exclude": [*self.exclude], "include": [*self.include],
            "snapshot": self.snapshot,
        }

    def _held(self):
        return {
            key: variable
            for key, variable in weights.variables(self.layer).items()
            if (keep := constraints.keep_of(variable)) and keep.in_layer
        }

    def _rewound(self):
        return weights.variables(self.layer) if self.snapshot else {}

    def _own_variables(self):
        inner = {id(v) for v in self.layer.variables}
        return [v for v in self.variables if id(v) not in inner]

    def _check_snapshot(self):
        weights.check_built(self)
        if not self.snapshot:
            raise ValueError(
                f"Layer '{self.name}' keeps no snapshot. Construct it with "
                "`Masked(layer, snapshot=True)`."
            )


class _Copy(keras.initializers.Initializer):
    """The value of a variable that may not have got one yet.

    Keras builds a subclassed model symbolically and fills its variables
    afterwards, in the order they were made.
    """

    def __init__(self, variable):
        self.variable = variable

    def __call__(self, shape, dtype=None):
        value = internals.layers.value(self.variable)
        return ops.copy(self.variable if value is None else value)


def _as_list(patterns):
    return [patterns] if isinstance(patterns, str) else list(patterns)
