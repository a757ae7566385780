"""The optimizer that holds masks while a model trains."""

import collections
import contextlib

import keras
import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import snapshots


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

    def build(self, variables):
        if self.built:
            return
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
        project(self.inner_optimizer, [variable for variable, _ in masks])
        return len(self._masked) > before

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
        keeps = [
            self._masks[self._get_variable_index(v)]
            for v in trainable_variables
        ]
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
        keeps_zero = type(innermost(self.inner_optimizer)) in _KEEP_ZERO
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
        optimizer = innermost(self.inner_optimizer)
        if not optimizer.use_ema:
            return []
        return [
            (optimizer._model_variables_moving_average[i], self.mask(i))
            for i in self._masked
        ]

    def finalize_variable_values(self, var_list):
        self.inner_optimizer.finalize_variable_values(var_list)
        # With EMA the averages were just written over the weights.
        for variable in var_list:
            constraints.project(variable)

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


def attach(model):
    """Makes sure that a compiled model's optimizer can hold masks.

    The model's optimizer, with all it has learned, becomes the inner one.
    Masks that stayed on variables when `compile` replaced an older `Masked`
    are taken over.

    Args:
        model: A built and compiled `keras.Model`.

    Returns:
        The model's `Masked` optimizer, built.

    Raises:
        ValueError: If the model is not compiled.
    """
    check_compiled(model)
    masked = find(model.optimizer)
    if masked is None:
        masked = Masked(model.optimizer)
        _set_optimizer(model, masked)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    orphans = [
        (variable, constraints.mask_of(variable))
        for index, variable in enumerate(masked._trainable_variables)
        if (keep := constraints.keep_of(variable)) is not None
        and not keep.in_layer
        and masked._masks[index] is not keep
    ]
    set_masks(model, masked, orphans)
    return masked


def set_masks(model, masked, masks):
    """Sets masks; retraces the model's train step if it is new to a mask."""
    if masked.set_masks(masks) and model.train_function is not None:
        model.make_train_function(force=True)


def detach(model):
    """Takes the `Masked` optimizer off a model; its inner one comes back."""
    masked = find(model.optimizer)
    if masked is None:
        return
    if masked is model.optimizer:
        _set_optimizer(model, masked.inner_optimizer)
    else:
        outer = model.optimizer
        while outer.inner_optimizer is not masked:
            outer = outer.inner_optimizer
        outer.inner_optimizer = masked.inner_optimizer
        _set_optimizer(model, model.optimizer)


def project(optimizer, variables):
    """Sets pruned weights to zero and their slots to the initial value.

    Args:
        optimizer: A built optimizer, or `None` for the weights alone.
        variables: List of trainable variables with a mask, all known to the
            optimizer.
    """
    for variable in variables:
        constraints.project(variable)
    if optimizer is None or not optimizer.built:
        return
    optimizer = innermost(optimizer)
    initial = _initial_slots(optimizer)
    slots = _slots(optimizer, optimizer._trainable_variables)
    for variable in variables:
        mask = constraints.keep_of(variable).mask
        for name, slot in slots[optimizer._get_variable_index(variable)]:
            value = constraints.masked(mask, slot)
            if initial.get(name):
                start = ops.full(slot.shape, initial[name], slot.dtype)
                value = ops.where(ops.equal(mask, 0), start, value)
            slot.assign(value)


def state(optimizer):
    """Returns the variables that a rewind restores: all but the masks."""
    masked = find(optimizer)
    if masked is None:
        return list(optimizer.variables)
    if masked is optimizer:
        return list(masked.inner_optimizer.variables)
    masks = {id(v) for v in masked._variables}
    return [v for v in optimizer.variables if id(v) not in masks]


def name_of(optimizer):
    """Returns the class of an optimizer and of those around it, as a string.

    Whether one of them holds masks makes no difference.
    """
    names = []
    while optimizer is not None:
        if not isinstance(optimizer, Masked):
            names.append(keras.saving.get_registered_name(type(optimizer)))
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return "/".join(names)


def reset(optimizer, variables, step=0):
    """Sets an optimizer to the state of a new one that stands at a step.

    Args:
        optimizer: A built optimizer.
        variables: List of the trainable variables of its model.
        step: Integer, the number of training steps done. Defaults to 0.
    """
    masked = find(optimizer)
    inner = optimizer if masked is not optimizer else masked.inner_optimizer
    fresh = type(inner).from_config(inner.get_config())
    fresh.build(variables)
    snapshots.restore(state(optimizer), snapshots.capture(state(fresh)))
    innermost(optimizer)._iterations.assign(step)


def rewind_schedule(model, snapshot):
    """Sets step counter and learning rate back; slots start afresh.

    Args:
        model: A built and compiled `keras.Model`.
        snapshot: `Snapshot` of the rewinding point.
    """
    reset(model.optimizer, model.trainable_variables, snapshot.step)
    rate = innermost(model.optimizer)._learning_rate
    for variable, array in zip(state(model.optimizer), snapshot.optimizer):
        if variable is rate:
            variable.assign(array)


def innermost(optimizer):
    """Returns the optimizer inside all wrappers."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def check_compiled(model):
    """Raises a `ValueError` unless `model` is compiled with an optimizer."""
    if not model.compiled or getattr(model, "optimizer", None) is None:
        raise ValueError(
            f"Model '{model.name}' must be compiled before masks can be held: "
            "the optimizer holds them. Call `model.compile(optimizer, loss)` "
            "first, or use `tf_lottery.layers.wrap(model)` in a training loop "
            "without an optimizer of the model's own."
        )


def _set_optimizer(model, optimizer):
    """Replaces the optimizer of a compiled model and nothing else.

    `compile` would also drop metrics and their state. The compile
    configuration must know the new optimizer, or a saved file would be
    loaded with the old one; and `compile` on loading must not put a second
    `LossScaleOptimizer` around a chain that has one.
    """
    model.optimizer = optimizer
    config = model._compile_config.config
    config["optimizer"] = optimizer
    while optimizer is not None:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            config["auto_scale_loss"] = False
        optimizer = getattr(optimizer, "inner_optimizer", None)
    if model.train_function is not None:
        model.make_train_function(force=True)


def compile_like(copy, model):
    """Compiles a copy of a model as the model is, without masks.

    Args:
        copy: A built `keras.Model` with the trainable variables of `model`.
        model: A compiled `keras.Model`. Its optimizer's state is copied.
    """
    masked = find(model.optimizer)
    config = dict(model._compile_config.config)
    optimizer = config["optimizer"]
    if masked is not None:
        optimizer = masked.inner_optimizer
    optimizer = keras.optimizers.get(optimizer)
    config["optimizer"] = type(optimizer).from_config(optimizer.get_config())
    for kind in ("metrics", "weighted_metrics"):
        config[kind] = keras.tree.map_structure(_fresh_metric, config[kind])
    copy.compile(**config)
    copy.optimizer.build(copy.trainable_variables)
    if model.optimizer.built:
        snapshots.restore(
            copy.optimizer.variables,
            snapshots.capture(state(model.optimizer)),
        )


def _fresh_metric(metric):
    if isinstance(metric, keras.metrics.Metric):
        return type(metric).from_config(metric.get_config())
    return metric


def _slots(optimizer, variables):
    """Returns a list of (slot name, slot variable) for each variable.

    Keras names a slot by the path of its variable and the slot's own name.
    Paths may repeat in a subclassed model; slots are made in the order of
    the variables, which tells them apart.
    """
    paths = collections.defaultdict(list)
    for index, variable in enumerate(variables):
        paths[variable.path.replace("/", "_")].append(index)
    used, slots = collections.Counter(), [[] for _ in variables]
    for slot in optimizer.variables:
        path = slot.name
        while path and path not in paths:
            path = path.rpartition("_")[0]
        if not path:
            continue
        order = used[slot.name]
        used[slot.name] += 1
        if order < len(paths[path]):
            index = paths[path][order]
            if tuple(slot.shape) == tuple(variables[index].shape):
                slots[index].append((slot.name[len(path) + 1:], slot))
    return slots


def _initial_slots(optimizer):
    """Returns the value that each kind of slot starts with, by slot name."""
    probe = keras.Variable(np.zeros((1, 1), "float32"), name="probe")
    fresh = type(optimizer).from_config(optimizer.get_config())
    fresh.build([probe])
    return {
        name: float(ops.convert_to_numpy(slot).reshape(-1)[0])
        for name, slot in _slots(fresh, [probe])[0]
    }
