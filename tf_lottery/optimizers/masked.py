"""The optimizer that holds masks while a model trains."""

import contextlib

import keras
import numpy as np
from keras import ops

from tf_lottery import backends
from tf_lottery import constraints
from tf_lottery.optimizers import dense_gradients
from tf_lottery.optimizers import slots


# A weight of 0 with gradient 0 and slots 0 stays exactly 0 under these: each
# weight's update follows from its own gradient and slots alone.
_KEEP_ZERO = frozenset(
    getattr(keras.optimizers, name)
    for name in (
        "SGD", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adagrad",
        "Adadelta", "Lion", "Lamb", "Adafactor",
    )
)


@keras.saving.register_keras_serializable(
    package="tf_lottery", name="MaskedOptimizer"
)
class Masked(keras.optimizers.Optimizer):
    """Holds masks during training, around any Keras optimizer.

    The gradient of a pruned weight is set to zero before the inner optimizer
    sees it, so that it reaches neither momentum nor clipping, and the weight
    is set to exactly 0.0 after each step. Masks are variables of the
    optimizer: they are saved in `.keras` and `.weights.h5` files, one bit
    for a weight.

    `tf_lottery.hold` puts this wrapper on a compiled model; pass it to
    `model.compile` yourself where you want it from the start.

    Args:
        inner_optimizer: A `keras.optimizers.Optimizer`, or its name.
        masked: Indices of the trainable variables that have a mask. Used by
            loading; masks are set by `set_masks`. Defaults to none.
        name: String, name of the optimizer. Defaults to `"masked"`.

    Example:

    >>> import keras, numpy as np, tf_lottery as tfl
    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(2, name="fc")])
    >>> model.compile(tfl.optimizers.Masked("adam"), "mse")
    >>> tfl.hold(model, {"fc/kernel": np.eye(4, 2, dtype=bool)})
    >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    >>> int(np.count_nonzero(model.get_layer("fc").kernel))
    2
    """

    def __init__(self, inner_optimizer, masked=(), name="masked"):
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = keras.optimizers.get(inner_optimizer)
        self._masked = sorted(masked)
        self._masks = []
        self._dense_gradients = None

    def build(self, variables):
        if self.built:
            return
        # `LossScaleOptimizer` would make its variables a second time.
        if self.inner_optimizer.built:
            self._unshare(variables)
        else:
            self.inner_optimizer.build(variables)
        super().build(variables)
        self._masks = [None] * len(variables)
        for index in self._masked:
            self._add_mask(index)

    def _add_mask(self, index):
        variable = self._trainable_variables[index]
        mask = self.add_variable(
            shape=tuple(variable.shape),
            dtype=variable.dtype,
            initializer="ones",
            name=f"mask_{index}",
        )
        self._masks[index] = constraints.attach(variable, mask)

    def set_masks(self, masks):
        """Sets masks; pruned weights and their slots become zero at once.

        A slot that does not start at zero, such as Adagrad's accumulator,
        gets its initial value back.

        Args:
            masks: List of pairs of a trainable variable of the model and its
                mask, a boolean array of the variable's shape, `True` = kept.

        Returns:
            `True` if a variable got its first mask, so that functions traced
            before do not know it.
        """
        before = len(self._masked)
        for variable, mask in masks:
            index = self._get_variable_index(variable)
            if self._masks[index] is None:
                self._add_mask(index)
                self._masked = sorted((*self._masked, index))
            self._masks[index].mask.assign(np.asarray(mask))
        slots.project(self.inner_optimizer, [variable for variable, _ in masks])
        return len(self._masked) > before

    def record_gradients(self, variables, frequency):
        """Keeps the gradients of pruned weights too, every so many steps.

        Functions traced before do not know of it.

        Args:
            variables: List of variables with a mask.
            frequency: Integer, the number of steps from one to the next.
        """
        self._dense_gradients = dense_gradients.DenseGradients(
            self.inner_optimizer,
            {self._get_variable_index(v): v for v in variables},
            frequency,
        )

    def forget_gradients(self):
        """Ends `record_gradients` and frees its memory."""
        self._dense_gradients = None

    def dense_gradient(self, variable):
        """Returns the gradient kept last, as an array, pruned or not."""
        return self._dense_gradients[self._get_variable_index(variable)]

    def mask(self, index):
        """Returns the mask variable of the trainable variable `index`."""
        return self._masks[index].mask

    @property
    def variables(self):
        return self._variables + self.inner_optimizer.variables

    @property
    def iterations(self):
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self.inner_optimizer.learning_rate = value

    def scale_loss(self, loss):
        return self.inner_optimizer.scale_loss(loss)

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
        trainable_variables = list(trainable_variables)
        if not self.built:
            with keras.name_scope(self.name):
                self.build(trainable_variables)
        self._check_variables_are_known(trainable_variables)
        indices = [self._get_variable_index(v) for v in trainable_variables]
        if self._dense_gradients is not None:
            for index, gradient in zip(indices, grads):
                self._dense_gradients.record(index, gradient)
        keeps = [self._masks[index] for index in indices]
        grads = [
            g if k is None or g is None else constraints.masked(k.mask, g)
            for k, g in zip(keeps, grads)
        ]
        with self._spared():
            self.inner_optimizer.apply(grads, trainable_variables)
        # Optimizers that mix weights move pruned ones before they are
        # projected, and the average is taken in between.
        for average, mask in self._averages():
            average.assign(constraints.masked(mask, average))

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        own = len(self._variables)
        values = {
            id(v): x for v, x in zip(self._variables, optimizer_variables)
        }
        keeps = [keep for keep in self._masks if keep is not None]
        grads = [
            g if k is None or g is None
            else constraints.masked(values[id(k.mask)], g)
            for k, g in zip(self._masks, grads)
        ]
        for keep in keeps:
            keep.bind(values[id(keep.mask)])
        try:
            with self._spared():
                trainable, inner = self.inner_optimizer.stateless_apply(
                    optimizer_variables[own:], grads, trainable_variables
                )
        finally:
            for keep in keeps:
                keep.bind(None)
        positions = {
            id(v): i for i, v in enumerate(self.inner_optimizer.variables)
        }
        inner = list(inner)
        for average, mask in self._averages():
            position = positions[id(average)]
            inner[position] = constraints.masked(
                values[id(mask)], inner[position]
            )
        return trainable, [*optimizer_variables[:own], *inner]

    @contextlib.contextmanager
    def _spared(self):
        """Leaves out a projection that would find nothing to do.

        It is half of what holding costs. A constraint of the user's may
        revive weights, so theirs is followed by ours all the same.
        """
        keeps_zero = type(slots.innermost(self.inner_optimizer)) in _KEEP_ZERO
        spared = [
            (self._trainable_variables[index], self._masks[index])
            for index in self._masked
            if keeps_zero and self._masks[index].constraint is None
        ]
        for variable, _ in spared:
            variable.constraint = None
        try:
            yield
        finally:
            for variable, keep in spared:
                variable.constraint = keep

    def _averages(self):
        """Pairs of a moving average of a weight and the weight's mask."""
        optimizer = slots.innermost(self.inner_optimizer)
        if not optimizer.use_ema:
            return []
        return [
            (optimizer._model_variables_moving_average[i], self.mask(i))
            for i in self._masked
        ]

    def finalize_variable_values(self, var_list):
        if any(variable._value is None for variable in var_list):
            # A first step that fails under JAX leaves variables without
            # values, and its error is the one to see.
            return
        self.inner_optimizer.finalize_variable_values(var_list)
        # With EMA the averages were just written over the weights.
        for variable in var_list:
            constraints.project(variable)
        self._unshare(var_list)

    def _unshare(self, variables):
        """Gives weights arrays of their own after a `fit` with EMA.

        Weight and average are one array then under JAX, which the next `fit`
        would give away twice.
        """
        uses_ema = slots.innermost(self.inner_optimizer).use_ema
        if uses_ema and backends.name() == "jax":
            for variable in variables:
                variable.assign(ops.copy(variable))

    def save_own_variables(self, store):
        for index in self._masked:
            mask = np.asarray(ops.convert_to_numpy(self.mask(index)) != 0)
            store[f"mask_{index}"] = np.packbits(mask, bitorder="little")

    def load_own_variables(self, store):
        expected = [f"mask_{index}" for index in self._masked]
        if sorted(store.keys()) != sorted(expected):
            raise ValueError(
                f"Optimizer '{self.name}' cannot load these masks: the file "
                "and the model differ in which weights are masked. "
                f"Received: {sorted(store.keys())}. Expected: {expected}."
            )
        for index in self._masked:
            mask = self.mask(index)
            bits = np.asarray(store[f"mask_{index}"])
            size = int(np.prod(mask.shape))
            if bits.size != -(-size // 8):
                raise ValueError(
                    f"The mask of variable {index} in the file does not fit. "
                    f"Received: {bits.size} bytes. Expected: {-(-size // 8)} "
                    f"bytes for shape {tuple(mask.shape)}."
                )
            kept = np.unpackbits(bits, count=size, bitorder="little")
            mask.assign(kept.reshape(mask.shape))

    def get_config(self):
        return {
            "name": self.name,
            "masked": list(self._masked),
            "inner_optimizer": keras.saving.serialize_keras_object(
                self.inner_optimizer
            ),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["inner_optimizer"] = keras.saving.deserialize_keras_object(
            config["inner_optimizer"], custom_objects=custom_objects
        )
        return cls(**config)


def find(optimizer):
    """Returns the `Masked` in a chain of optimizer wrappers, or `None`."""
    while optimizer is not None and not isinstance(optimizer, Masked):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer
