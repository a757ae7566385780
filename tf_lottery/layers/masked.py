"""The wrapper layer that holds masks in the forward pass."""

import keras
import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import masks as masks_lib
from tf_lottery import weights


@keras.saving.register_keras_serializable(
    package="tf_lottery", name="MaskedLayer"
)
class Masked(keras.layers.Wrapper):
    """Holds the masks of one layer, whatever trains it.

    The wrapped layer computes with masked weights, so that the gradient of a
    pruned weight is exactly zero in any training loop, and every Keras
    optimizer sets the weight itself to 0.0. Masks, and the snapshot if asked
    for, are saved with the model.

    Args:
        layer: The `keras.layers.Layer` to hold masks for, with at least one
            prunable weight.
        snapshot: Boolean, whether to keep a copy of the layer's weights to
            rewind to, taken when the layer is built. Defaults to `False`.
        name: String, defaults to the name of `layer`.

    Raises:
        ValueError: If the layer has no prunable weight.

    Example:

    >>> import keras, numpy as np, tf_lottery as tfl
    >>> layer = tfl.layers.Masked(keras.layers.Dense(2), snapshot=True)
    >>> layer.build((None, 3))
    >>> layer.set_masks({"kernel": np.eye(3, 2, dtype=bool)})
    >>> int(np.count_nonzero(layer.layer.kernel))
    2
    """

    # A weight key says nothing of the wrapper: masks and tickets carry over
    # between a model and its wrapped twin.
    transparent = True

    def __init__(self, layer, snapshot=False, name=None, **kwargs):
        if isinstance(layer, Masked):
            raise ValueError(
                "Argument `layer` already is a `Masked` layer. "
                f"Received: layer={layer}"
            )
        super().__init__(layer, name=name or getattr(layer, "name", None),
                         **kwargs)
        self.snapshot = snapshot
        self._copies = []

    def build(self, input_shape=None):
        super().build(input_shape)
        prunable = weights.prunable(self.layer)
        for key, variable in prunable.items():
            mask = self.add_weight(
                name=f"{key.replace('/', '_')}_mask",
                shape=variable.shape,
                dtype=variable.dtype,
                initializer="ones",
                trainable=False,
            )
            constraints.attach(variable, mask, in_layer=True)
        if self.snapshot:
            for key, variable in weights.variables(self.layer).items():
                self._copies.append(
                    self.add_weight(
                        name=f"{key.replace('/', '_')}_snapshot",
                        shape=variable.shape,
                        dtype=variable.dtype,
                        initializer="zeros",
                        trainable=False,
                    )
                )
            self.take_snapshot()

    @property
    def masks(self):
        """Dict from weight name to mask, a boolean array, `True` = kept."""
        return {
            key: constraints.mask_of(variable)
            for key, variable in self._held().items()
        }

    def set_masks(self, masks):
        """Sets masks; pruned weights become zero at once.

        Args:
            masks: Dict from weight name (`"kernel"`) to boolean array.

        Raises:
            ValueError: If a name or a shape does not fit.
        """
        held = self._held()
        for key, mask in masks.items():
            if key not in held or np.shape(mask) != tuple(held[key].shape):
                raise ValueError(
                    f"Layer '{self.name}' holds no such mask. Received: "
                    f"'{key}' of shape {np.shape(mask)}. Expected one of: "
                    f"{ {k: tuple(v.shape) for k, v in held.items()} }"
                )
            constraints.keep_of(held[key]).mask.assign(np.asarray(mask))
            constraints.project(held[key])

    def take_snapshot(self):
        """Copies the layer's weights as they are now, to rewind to."""
        self._check_snapshot()
        variables = weights.variables(self.layer).values()
        for copy, variable in zip(self._copies, variables):
            copy.assign(variable)

    def rewind(self):
        """Sets the layer's surviving weights back to the snapshot."""
        self._check_snapshot()
        variables = weights.variables(self.layer).values()
        for copy, variable in zip(self._copies, variables):
            variable.assign(copy)
            constraints.project(variable)

    def call(self, *args, **kwargs):
        # The scope hides an outer one (JAX traces in one), so it must know
        # every variable of the layer, not only the masked ones.
        values = {}
        for variable in self.layer.variables:
            keep = constraints.keep_of(variable)
            value = ops.convert_to_tensor(variable)
            if keep is not None:
                value = constraints.masked(keep.mask, value)
            values[id(variable)] = (variable, value)
        with keras.StatelessScope(state_mapping=values.values()) as scope:
            outputs = self.layer(*args, **kwargs)
        for variable in self.layer.non_trainable_variables:
            new = scope.get_current_value(variable)
            if new is not None and new is not values[id(variable)][1]:
                variable.assign(new)
        return outputs

    def compute_output_shape(self, *args, **kwargs):
        return self.layer.compute_output_shape(*args, **kwargs)

    def save_own_variables(self, store):
        for variable in self._own_variables():
            value = ops.convert_to_numpy(variable)
            if variable.name.endswith("_mask"):
                value = np.frombuffer(masks_lib.pack(value != 0), "uint8")
            store[variable.name] = value

    def load_own_variables(self, store):
        for variable in self._own_variables():
            if variable.name not in store.keys():
                raise ValueError(
                    f"Layer '{self.name}' finds no '{variable.name}' in the "
                    f"file. Received: {sorted(store.keys())}"
                )
            value = np.asarray(store[variable.name])
            if variable.name.endswith("_mask"):
                value = masks_lib.unpack(value.tobytes(), variable.shape)
            variable.assign(value)

    def get_config(self):
        return {**super().get_config(), "snapshot": self.snapshot}

    def _held(self):
        return {
            key: variable
            for key, variable in weights.variables(self.layer).items()
            if constraints.keep_of(variable) is not None
        }

    def _own_variables(self):
        inner = {id(v) for v in self.layer.variables}
        return [v for v in self.variables if id(v) not in inner]

    def _check_snapshot(self):
        if not self.snapshot:
            raise ValueError(
                f"Layer '{self.name}' keeps no snapshot. Construct it with "
                "`Masked(layer, snapshot=True)`."
            )
