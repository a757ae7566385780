"""A wrapper layer that computes with other values than its layer has."""

import functools
from typing import Any

import keras
from keras import ops

from tf_lottery import internals


class Substituting(keras.layers.Wrapper):
    """The base class of wrappers that change the weights a layer sees.

    The wrapper is called and built as the layer is, and leaves the precision to
    it; weight keys say nothing of it. Subclasses implement `value_of`.
    """

    transparent = True

    def __init__(
        self,
        layer: keras.layers.Layer,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        # Keras reads from the signature which arguments are tensors, and
        # whether the layer takes masks and the training flag.
        self.call = functools.wraps(layer.call)(
            lambda *args, **kwargs: self.compute(*args, **kwargs)
        )
        # Without a precision of its own, so that weights are never rounded
        # on the way to the layer.
        kwargs |= {"dtype": layer.variable_dtype, "autocast": False}
        super().__init__(layer, name=name or layer.name, **kwargs)
        self.supports_masking = layer.supports_masking

    def value_of(self, variable: keras.Variable) -> Any:
        """Returns the tensor that the layer sees in place of a variable."""
        return ops.convert_to_tensor(variable)

    def compute(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer with those values; the wrapper's own `call`."""
        # The scope hides an outer one (JAX traces in one), so it must know
        # every variable of the layer, not only the changed ones.
        variables = [*self.layer.variables, *self.layer.metrics_variables]
        values = map(self.value_of, variables)
        with _Scope(zip(variables, values), collect_losses=True) as scope:
            outputs = self.layer(*args, **kwargs)
        for variable in scope.updated.values():
            variable.assign(scope.get_current_value(variable))
        scope.pass_losses(self)
        return outputs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.built:
            # Keras takes a layer without a `build` of its own for built after
            # loading, although its parts are not.
            parts = internals.layers.flat(self.layer)
            if not all(part.built for part in parts):
                # A layer may find its shapes by being called only.
                symbols = keras.tree.map_structure(_symbol, (args, kwargs))
                self.layer(*symbols[0], **symbols[1])
            self.build()
        return super().__call__(*args, **kwargs)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        # A model asks the layer inside as well, and would list them twice.
        return []

    def get_build_config(self) -> None:
        # Keras would take the wrapper for built where `layer` finds its
        # shapes by being called.
        return None

    def compute_mask(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_mask(*args, **kwargs)

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_shape(*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_spec(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dtype"]
        return config


class _Scope(keras.StatelessScope):
    """Remembers which variables were assigned, to do it outside as well."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.updated = {}

    def add_update(self, update):
        self.updated[id(update[0])] = update[0]
        super().add_update(update)

    def pass_losses(self, layer):
        """Adds what layers inside have added, by a wrapper around them."""
        add = layer.add_loss
        if self.original_scope is not None:
            # The layers inside are known there by what they add: as the
            # wrapper's, too, it would count twice.
            add = self.original_scope.add_loss
        for loss in self.losses:
            add(loss)


def _symbol(value):
    """Stands for a tensor while a layer is built."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return value
    return keras.KerasTensor(
        value.shape, keras.backend.standardize_dtype(value.dtype)
    )
