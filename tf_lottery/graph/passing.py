"""Layers and operations without a rule, tried on fewer channels.

Where a layer made for some of the channels does to them what the whole one
does, each channel goes through on its own, with its part of the weights. Or
the layer reads them: it makes the same without the others as with the weights
at zero that read those.
"""

import itertools

import keras
import numpy as np
from keras import ops
from keras import tree

from tf_lottery import internals
from tf_lottery.graph import renewing
from tf_lottery.graph.call import Symbol

# In place of sizes that are not known.
_SIZE = 16
_ADVICE = "`structured.register_rule` can say what becomes of units in it"


class NotPassing(ValueError):
    """Units do not pass a layer one by one, or that cannot be tried."""


def passed(call):
    """Returns the ids of outputs of a call that no rule is for.

    Binds the weights of the layer that have a value for every channel.

    Raises:
        NotPassing: If units must stay; the message says why.
    """
    found = [(x, call.units.varying(x.ids)) for x in call.inputs]
    joined = {id(x): (x, axes[-1] + 1) for x, axes in found if axes}
    layer = call.operation
    if not joined or isinstance(layer, keras.layers.Layer) and any(
        inner.variables for inner in internals.layers.children(layer)
    ):
        raise NotPassing(f"no rule; {_ADVICE}")
    x, axis = next(iter(joined.values()))
    back, size = axis - len(x.shape), x.shape[axis]
    if {x.shape[a] for x, a in joined.values()} != {size} or size is None:
        raise NotPassing(f"inputs of unlike or unknown sizes; {_ADVICE}")
    trial = _tried(call, joined, back, size)
    ids = call.along(x, axis)
    for other, own in joined.values():
        call.units.union(ids, call.along(other, own))
    for entry in trial.entries:
        call.edit_count(entry, ids)
    for variable, cut in zip(trial.variables, trial.cuts):
        if cut is not None:
            call.bind(variable, cut, ids, "in" if trial.reads else "pass")
    if trial.reads:
        return call.opaque(f"{call.name} makes them; {_ADVICE}")
    call.vanishes = trial.vanishes and all(s.vanishes for s in call.inputs)
    return [call.place(ids, back, len(shape)) for shape in call.outputs]


def _tried(call, joined, back, size):
    """The first trial that works: with fewer numbers in the configuration."""
    reason, choices = None, list(_choices(call.operation, size))
    for reads, entries in itertools.product((False, True), choices):
        try:
            trial = _Trial(call, joined, back, size, entries, reads)
        # Code of the user's, on a number of channels it may not be for.
        except Exception as error:
            line = (str(error).strip().splitlines() or [""])[0]
            why = f"it takes no fewer channels ({type(error).__name__}: {line})"
            reason = reason or why
            continue
        if trial.is_same:
            return trial
        reason = "fewer channels change what it makes of the others"
    raise NotPassing(f"{reason}; {_ADVICE}")


def _choices(operation, size):
    """Entries of a configuration that may be the number of channels."""
    config = {}
    if isinstance(operation, keras.layers.Layer):
        config = renewing.config_of(operation)
    names = [
        name for name, value in config.items()
        if type(value) is int and value == size
    ]
    for count in range(len(names) + 1):
        yield from itertools.combinations(names, count)


class _Trial:
    """A layer next to one for about half of the channels, on random numbers.

    `entries` of the configuration are that number, and with `reads` the
    channels end in the layer. Variables have a value for every channel along
    an axis in `cuts`, or `None`. `is_same` says whether the kept channels are
    the same, `vanishes` whether zeros make zeros if the values are.
    """

    def __init__(self, call, joined, back, size, entries, reads):
        generator = np.random.default_rng(0)
        kept = np.zeros(size, bool)
        kept[generator.permutation(size)[: (size + 1) // 2]] = True
        self.entries, self.reads = entries, reads
        self._generator = generator
        operation = call.operation
        self.variables = list(getattr(operation, "variables", ()))
        inputs = {
            id(x): _random(generator.normal, 0, 1, [
                _SIZE if n is None else n for n in x.shape
            ], x.dtype)
            for x in call.inputs
        }
        few = inputs | {
            key: np.compress(kept, inputs[key], axis)
            for key, (_, axis) in joined.items()
        }
        edits = {(entry,): int(kept.sum()) for entry in entries}
        small = renewing.edited(operation, edits)
        _outputs(small, call, few)
        self.cuts = [
            _axis_of(a, b, size, int(kept.sum()))
            for a, b in zip(self.variables, small.variables, strict=True)
        ] if self.variables else []
        values = [self._value(v) for v in self.variables]
        found = _outputs(small, call, few, self._cut(values, kept))
        idle = self._zeroed(values, kept) if reads else values
        expected = _outputs(operation, call, inputs, idle)
        if not reads:
            expected = [np.compress(kept, a, back) for a in expected]
        nothing_reads = reads and all(cut is None for cut in self.cuts)
        self.is_same = not nothing_reads and (
            all(
                a.shape == b.shape and np.allclose(a, b, 1e-3, 1e-3)
                for a, b in zip(expected, found)
            )
        )
        zeros = {key: np.zeros_like(x) for key, x in inputs.items()}
        idle = self._zeroed(values, np.zeros(size, bool))
        self.vanishes = not any(
            map(np.any, _outputs(operation, call, zeros, idle))
        )

    def _cut(self, values, kept):
        return [
            value if cut is None else np.compress(kept, value, cut)
            for value, cut in zip(values, self.cuts)
        ]

    def _zeroed(self, values, kept):
        return [
            value if cut is None else np.moveaxis(
                np.moveaxis(value, cut, -1) * kept, -1, cut
            )
            for value, cut in zip(values, self.cuts)
        ]

    def _value(self, variable):
        if not keras.backend.is_float_dtype(variable.dtype):
            return ops.convert_to_numpy(variable)
        uniform = self._generator.uniform
        return _random(uniform, 0.5, 1.5, variable.shape, variable.dtype)


def _random(draw, low, high, shape, dtype):
    dtype = keras.backend.standardize_dtype(dtype)
    if not keras.backend.is_float_dtype(dtype):
        return np.ones(shape, dtype)
    return draw(low, high, shape).astype("float32")


def _axis_of(variable, small, size, count):
    """The axis along which a variable has fewer values."""
    pairs = list(zip(variable.shape, small.shape, strict=True))
    fewer = [axis for axis, (a, b) in enumerate(pairs) if a != b]
    if [pairs[axis] for axis in fewer] not in ([], [(size, count)]):
        raise NotPassing(f"weight '{variable.name}' changes in another way")
    return fewer[0] if fewer else None


def _outputs(operation, call, inputs, values=None):
    args, kwargs = tree.map_structure(
        lambda x: ops.convert_to_tensor(inputs[id(x)], x.dtype)
        if isinstance(x, Symbol) else x,
        (call.args, call.kwargs),
    )
    if not values:
        outputs = operation(*args, **kwargs)
    else:
        given = dict(zip((id(v) for v in operation.variables), values))
        trained = [given[id(v)] for v in operation.trainable_variables]
        others = [given[id(v)] for v in operation.non_trainable_variables]
        outputs, _ = operation.stateless_call(trained, others, *args, **kwargs)
    return [
        ops.convert_to_numpy(ops.cast(x, "float32"))
        for x in tree.flatten(outputs)
    ]
