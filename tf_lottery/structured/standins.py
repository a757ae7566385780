"""Smaller models that train in the place of masked ones, weight for weight."""

import functools

import keras
import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import copies
from tf_lottery import holding
from tf_lottery import internals
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.structured import carrying
from tf_lottery.structured import rebuilding
from tf_lottery.structured import slices

# What stands for the weights themselves among the names of slots.
_WEIGHTS = ""
# To leave out fewer of its inputs costs a dense layer more than it saves.
_GATHERED = 0.75


class StandIn:
    """A model without the idle units of another one, which trains for it.

    It trains as the whole model would: weights, masks and the slots of the
    optimizer are slices of the whole ones. Weights that are kept in what was
    cut out have no gradient, yet momentum and penalties move them: they
    train along as one vector, so that the next masks see the values they
    would have. Statistics of idle units stay what they were. The `model`
    counts in the metrics of the whole one.
    """

    def __init__(self, model, masks, vacancies):
        self._cut = cut = vacancies.cut
        twin = rebuilding.rebuild(vacancies.graph, vacancies.kept, others={
            layer: functools.partial(_Sparse, mask=mask)
            for layer, mask in vacancies.sparse.items()
        })
        self.model = twin.model
        self._whole, own = _by_name(model, weights_lib.variables(model))
        carrying.weights(twin, model, {
            key: cut.array(key, ops.convert_to_numpy(variable))
            for key, variable in self._whole[_WEIGHTS].items()
        })
        copies.compile_like(self.model, model, with_state=False)
        internals.models.share_metrics(self.model, model)
        holding.place(self.model, {
            twin.keys[key]: cut.array(key, mask)
            for key, mask in masks.items() if key not in cut.weights
        })
        self._parts, small = _by_name(self.model, twin.variables)
        self._own = list(zip(own, small, strict=True))
        self._left = _left(model, masks, cut)
        self._rests = {}
        self._take()
        if self._left:
            self._train_rests(optimizers.innermost(model.optimizer), own)

    def give(self):
        """Gives the whole model what was trained, in its own coordinates."""
        for name, variables in self._whole.items():
            rest = iter(())
            if name in self._rests:
                values = ops.convert_to_numpy(self._rests[name])
                ends = np.cumsum([n.sum() for n in self._left.values()])
                rest = iter(np.split(values, ends[:-1]))
            for key, variable in variables.items():
                part = self._parts[name][key]
                if not self._cut.cuts(key):
                    variable.assign(part)
                    continue
                value = np.array(ops.convert_to_numpy(variable))
                self._cut.put(key, value, ops.convert_to_numpy(part))
                if key in self._left and name in self._rests:
                    value[self._left[key]] = next(rest)
                variable.assign(value)
        for whole, part in self._own:
            whole.assign(part)

    def _take(self):
        """Takes the state of the whole model's optimizer."""
        for name, variables in self._whole.items():
            for key, variable in variables.items():
                value = self._cut.array(key, ops.convert_to_numpy(variable))
                self._parts[name][key].assign(value)
        for whole, part in self._own:
            part.assign(whole)

    def _train_rests(self, optimizer, own):
        """Steps what was cut out, without a gradient, next to the model."""
        vector = keras.Variable(self._rest(_WEIGHTS), name="rest")
        fresh = type(optimizer).from_config(optimizer.get_config())
        fresh.build([vector])
        slots = dict(optimizers.slots_of(fresh, [vector])[0])
        for name, slot in slots.items():
            slot.assign(self._rest(name))
        taken = {id(slot) for slot in slots.values()}
        others = [v for v in fresh.variables if id(v) not in taken]
        for whole, variable in zip(own, others, strict=True):
            variable.assign(whole)
        self._rests = {_WEIGHTS: vector, **slots}
        step = self.model.train_step

        def train_step(data):
            logs = step(data)
            fresh.apply([ops.zeros_like(vector)], [vector])
            return logs

        self.model.train_step = train_step

    def _rest(self, name):
        """What was cut out of all weights, or of one kind of slot."""
        variables = self._whole[name]
        return np.concatenate([
            ops.convert_to_numpy(variables[key])[left]
            for key, left in self._left.items()
        ])


class _Sparse(keras.layers.Layer):
    """A dense layer that has the weights alone which a mask keeps."""

    def __init__(self, layer, mask):
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self._activation, self._has_bias = layer.activation, layer.use_bias
        read = mask.any(axis=1)
        if read.mean() > _GATHERED:
            read[:] = True
        self._read = None if read.all() else np.flatnonzero(read)
        self._shape = mask[read].shape
        self._places = np.flatnonzero(mask[read])[:, None].astype("int32")

    def build(self, input_shape):
        self._kernel = self.add_weight(
            shape=(len(self._places),), name="kernel"
        )
        if self._has_bias:
            self._bias = self.add_weight(shape=self._shape[1:], name="bias")

    def call(self, inputs):
        if self._read is not None:
            inputs = ops.take(inputs, self._read, axis=-1)
        size = (self._shape[0] * self._shape[1],)
        kernel = ops.scatter(self._places, self._kernel, size)
        outputs = ops.matmul(inputs, ops.reshape(kernel, self._shape))
        if self._has_bias:
            outputs = ops.add(outputs, self._bias)
        return self._activation(outputs)


def reason(model, cut=None):
    """Returns why no smaller model, or none by a cut, trains as a model does.
    """
    for key, variable in weights_lib.variables(model).items():
        if weights_lib.is_seed(variable):
            layer = key.rpartition("/")[0]
            return f"'{layer}' draws numbers for all of its units"
    for layer in internals.layers.flat(model):
        if getattr(layer, "activity_regularizer", None) is not None:
            return f"'{layer.name}' penalises its activations"
    for key, variable in _trained(model).items():
        keep = constraints.keep_of(variable)
        own = variable.constraint if keep is None else keep.constraint
        if own is not None:
            return f"'{key}' has a constraint, which may look at all of it"
        if getattr(variable, "regularizer", None) is not None:
            return f"'{key}' has a penalty in the loss"
    if getattr(model.optimizer, "use_ema", False):
        return "the optimizer averages weights"
    cut = slices.Cut({}, {}, {}) if cut is None else cut
    return "; ".join(carrying.trajectory(model, cut)) or None


def _trained(model):
    trained = {id(variable) for variable in model.trainable_variables}
    return {
        key: variable
        for key, variable in weights_lib.variables(model).items()
        if id(variable) in trained
    }


def _left(model, masks, cut):
    """Dict from weight key to where it is kept, and cut out all the same."""
    found = {}
    for key, variable in _trained(model).items():
        if not cut.cuts(key):
            continue
        left = np.ones(tuple(variable.shape), bool)
        cut.put(key, left, False)
        left &= masks.get(key, True)
        if left.any():
            found[key] = left
    return found


def _by_name(model, variables):
    """Sorts the weights and slots of a model by name, then by weight key.

    Returns them, and the optimizer's variables that belong to no weight.
    """
    found, own = {_WEIGHTS: dict(variables)}, []
    labels = copies.labels(model, variables)
    for label, variable in zip(labels, optimizers.state(model.optimizer)):
        if label is None:
            own.append(variable)
        else:
            key, name = label[:2]
            found.setdefault(name, {})[key] = variable
    return found, own
