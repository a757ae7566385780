"""The optimizer that enforces masks while a model trains."""

import weakref
from collections.abc import Mapping
from collections.abc import MutableMapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import internals
from tf_lottery.optimizers import dense_gradients
from tf_lottery.optimizers import enforcing
from tf_lottery.optimizers import legacy
from tf_lottery.optimizers import slots
from tf_lottery.utils import backends
from tf_lottery.utils import checks

# All else that is read or set is the inner optimizer's.
_OWN = (
    "inner_optimizer", "model", "expected", "legacy_masks", "_dense_gradients",
)
# Made by a loader of Keras, which loads masks next.
_awaiting = weakref.WeakSet()


@keras.saving.register_keras_serializable(
    package="tf_lottery", name="MaskedOptimizer"
)
class Masked(keras.optimizers.Optimizer):
    """Enforces masks during training, around any Keras optimizer.

    The gradient of a pruned weight is set to zero before the inner optimizer
    sees it, so that it reaches neither momentum nor clipping, and the weight
    is exactly 0.0 after each step. The masks themselves stand on the weights
    and are saved with the model, see `tf_lottery.hold`; the optimizer has
    none of its own.

    It is transparent: every attribute (`learning_rate`, `use_ema`,
    `clipnorm`, `beta_1`) reads and acts through it, and its state in a file
    is that of the inner optimizer.

    `tf_lottery.hold` puts it on a compiled model, and `compile` on a model
    that holds masks. Use it yourself in training loops of your own, or where
    a model has several optimizers.

    Args:
        inner_optimizer: A `keras.optimizers.Optimizer`, or its name.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(2, name="fc")])
    >>> model.compile(tfl.optimizers.Masked("adam"), "mse")
    >>> tfl.hold(model, {"fc/kernel": np.eye(4, 2, dtype=bool)})
    >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    >>> int(np.count_nonzero(model.get_layer("fc").kernel))
    2
    """

    # Keras asks for it, as a sign that its own constructor was called.
    _lock = False

    def __init__(
        self, inner_optimizer: keras.optimizers.Optimizer | str
    ) -> None:
        # Without the constructor of `Optimizer`: it would make variables and
        # settings next to those of the inner optimizer.
        internals.models.install()
        self.inner_optimizer = _optimizer(inner_optimizer)
        # Weak reference to the model it was put on.
        self.model: weakref.ref | None = None
        # How many masks the optimizer had that this one was copied from.
        self.expected = 0
        # What a file of the first release has, until it is known to fit.
        self.legacy_masks = None
        self._dense_gradients: dense_gradients.DenseGradients | None = None

    def __getattr__(self, name):
        if name in _OWN or name.startswith(("__", "_self_")):
            raise AttributeError(
                f"'{type(self).__name__}' object has no attribute '{name}'"
            )
        return getattr(self.inner_optimizer, name)

    def __setattr__(self, name, value):
        if name == "inner_optimizer" or name.startswith("_self_"):
            super().__setattr__(name, value)
        elif name in _OWN:
            # Keras would track variables inside as the inner optimizer's.
            object.__setattr__(self, name, value)
        else:
            setattr(self.inner_optimizer, name, value)

    def __dir__(self):
        # Keras saves what it finds here. The inner optimizer is saved in the
        # place of this one.
        inner = dir(self.inner_optimizer)
        hidden = {"inner_optimizer"} if self.legacy_masks is None else set()
        return sorted({*dir(type(self)), *inner, "inner_optimizer"} - hidden)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        # `LossScaleOptimizer` would make its variables a second time.
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)

    def set_masks(
        self, masks: Sequence[tuple[keras.Variable, np.ndarray]]
    ) -> bool:
        """Sets masks; pruned weights and their slots become zero at once.

        A slot that does not start at zero, such as Adagrad's accumulator,
        gets its initial value back.

        Args:
            masks: List of pairs of a variable and its mask, a boolean array
                of the variable's shape, `True` = kept.

        Returns:
            `True` if a variable got its first mask, so that functions traced
            before do not know it.
        """
        new = [v for v, _ in masks if constraints.keep_of(v) is None]
        for variable in new:
            constraints.attach(variable)
        for variable, mask in masks:
            constraints.keep_of(variable).assign(mask)
        slots.project(self.inner_optimizer, [variable for variable, _ in masks])
        return bool(new)

    def has_arrived(self) -> None:
        """Ends waiting for the masks of a file."""
        self.expected, self.legacy_masks = 0, None
        _awaiting.discard(self)

    def record_gradients(
        self, variables: Sequence[keras.Variable], frequency: int
    ) -> None:
        """Keeps the gradients of pruned weights too, every so many steps.

        Functions traced before do not know of it.
        """
        self._dense_gradients = dense_gradients.DenseGradients(
            self.inner_optimizer,
            {self._get_variable_index(v): v for v in variables},
            frequency,
        )

    def dense_gradient(self, variable: keras.Variable) -> np.ndarray:
        """Returns the gradient kept last, as an array, pruned or not."""
        return self._dense_gradients[self._get_variable_index(variable)]

    @property
    def variables(self) -> list[keras.Variable]:
        return [*self.inner_optimizer.variables, *self.added()]

    def added(self) -> list[keras.Variable]:
        """Those of `variables` that are not the inner optimizer's.

        Masks, and gradients that are kept: none of them is state to restore.
        """
        # JAX passes what a step reads and writes as arguments.
        if backends.name() != "jax":
            return []
        return [keep.mask for _, keep in self.held()] + self._gradients()

    def _gradients(self):
        if self._dense_gradients is None:
            return []
        return self._dense_gradients.variables

    def held(
        self, variables: Sequence[keras.Variable] | None = None
    ) -> list[tuple[keras.Variable, constraints.Keep]]:
        """Returns pairs of a variable and its `Keep`, where it has one.

        Args:
            variables: List of variables. Defaults to all that are trained.
        """
        if variables is None:
            variables = self._trainable_variables
        return [
            (variable, keep) for variable in variables
            if (keep := constraints.keep_of(variable)) and not keep.in_layer
        ]

    @property
    def iterations(self) -> keras.Variable:
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    def scale_loss(self, loss: Any) -> Any:
        return self.inner_optimizer.scale_loss(loss)

    def exclude_from_weight_decay(
        self, var_list: Any = None, var_names: Any = None
    ) -> None:
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        self.inner_optimizer.set_weights(weights)
        self._project()

    def apply(
        self,
        grads: Sequence[Any],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        if not self.built:
            with keras.name_scope(self.name):
                self.build(list(trainable_variables))
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
        variables = list(trainable_variables)
        self._check_variables_are_known(variables)
        self._record(grads, variables)
        masked = list(map(enforcing.masked_gradient, grads, variables))
        inner = self.inner_optimizer
        with enforcing.enforcing(inner, self.held(variables)):
            inner.apply([*masked, *grads[len(variables):]], variables)
        for average, mask in enforcing.averages(inner):
            average.assign(constraints.masked(mask, average))

    def _record(self, grads, variables):
        if self._dense_gradients is not None:
            for variable, gradient in zip(variables, grads):
                index = self._get_variable_index(variable)
                self._dense_gradients.record(index, gradient)

    def stateless_apply(
        self,
        optimizer_variables: Sequence[Any],
        grads: Sequence[Any],
        trainable_variables: Sequence[Any],
    ) -> tuple[list[Any], list[Any]]:
        held = self.held()
        inner = optimizer_variables[:-len(self.added()) or None]
        values = optimizer_variables[len(inner):][:len(held)]
        values = list(map(ops.convert_to_tensor, values))
        mapping = zip(self.variables, optimizer_variables)
        with keras.StatelessScope(list(mapping)) as scope:
            self._record(grads, self._trainable_variables)
        recorded = map(scope.get_current_value, self._gradients())
        for (_, keep), value in zip(held, values):
            keep.bind(value)
        grads = list(
            map(enforcing.masked_gradient, grads, self._trainable_variables)
        )
        try:
            with enforcing.enforcing(self.inner_optimizer, held):
                trainable, state = self.inner_optimizer.stateless_apply(
                    inner, grads, trainable_variables
                )
            state = enforcing.masked_averages(self.inner_optimizer, state)
            return trainable, [*state, *values, *recorded]
        finally:
            for _, keep in held:
                keep.bind(None)

    def finalize_variable_values(
        self, var_list: Sequence[keras.Variable]
    ) -> None:
        if any(internals.layers.value(v) is None for v in var_list):
            # A first step that fails under JAX leaves variables without
            # values, and its error is the one to see.
            return
        # With EMA the averages are written over the weights.
        self.inner_optimizer.finalize_variable_values(var_list)
        for variable in var_list:
            constraints.project(variable)
        self.unshare(var_list)

    def unshare(self, variables: Sequence[keras.Variable]) -> None:
        """Gives weights arrays of their own after a `fit` with EMA.

        Weight and average are one array then under JAX, which the next `fit`
        would give away twice.
        """
        uses_ema = any(
            leaf.use_ema for leaf in slots.leaves(self.inner_optimizer)
        )
        if uses_ema and backends.name() == "jax":
            for variable in variables:
                variable.assign(ops.copy(variable))

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        self.inner_optimizer.save_own_variables(store)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        if legacy.is_legacy(store):
            # Keras finds the inner optimizer's state by itself.
            self.legacy_masks = legacy.read(store, self._trainable_variables)
        else:
            self.inner_optimizer.load_own_variables(store)
            self._project()

    def _project(self):
        """Clears slots that were filled elsewhere, by a plain optimizer."""
        slots.project(self.inner_optimizer, [v for v, _ in self.held()])

    def get_config(self) -> dict[str, Any]:
        model = None if self.model is None else self.model()
        variables = None if model is None else model.variables
        return {
            "inner_optimizer": keras.saving.serialize_keras_object(
                self.inner_optimizer
            ),
            "masks": len(self.held(variables)),
        }

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        custom_objects: Mapping[str, Any] | None = None,
    ) -> "Masked":
        masked = cls(
            keras.saving.deserialize_keras_object(
                config["inner_optimizer"], custom_objects=custom_objects
            )
        )
        # The first release named the positions of the variables.
        masked.expected = config.get("masks") or len(config.get("masked", ()))
        if internals.models.is_loading():
            _awaiting.add(masked)
        return masked


def awaits_masks() -> bool:
    """Whether Keras is loading a model whose optimizer had masks."""
    return bool(_awaiting)


def find(optimizer: Any) -> Masked | None:
    """Returns the `Masked` in a chain of optimizer wrappers, or `None`."""
    found = (x for x in slots.chain(optimizer) if isinstance(x, Masked))
    return next(found, None)


def _optimizer(identifier):
    try:
        found = keras.optimizers.get(identifier)
    except (KeyError, TypeError, ValueError):
        found = None
    if not isinstance(found, keras.optimizers.Optimizer):
        checks.refuse(
            "inner_optimizer", identifier, "an optimizer of Keras or its name"
        )
    return found
