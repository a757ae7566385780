"""A small model of the big one's own class, made from its configuration."""

import collections
import functools
import itertools

import keras
from keras import ops

from tf_lottery import copies
from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.copies import alike
from tf_lottery.copies import state
from tf_lottery.graph import renewing
from tf_lottery.structured import comparing
from tf_lottery.structured import costs
from tf_lottery.structured import inputs as inputs_lib

_TRIALS = 32
_TOLERANCE = 1e-5
# Words in the names of numbers that are no widths.
_OTHERS = {
    "blocks", "depth", "image", "kernel", "layers", "length", "patch",
    "repeats", "strides", "vocabulary",
}


def in_class(twin, graph, kept, inputs=None):
    """Returns the small model of a graph, of the big one's class if possible.

    A class with a configuration of its own says how wide layers are in its
    own words. Numbers in it that the big model's weights have as a width, or
    its layers as an epsilon, are replaced by those of the small model; the
    class is kept where that makes the same weights and computes the same.
    """
    model = graph.model
    if type(twin.model) is type(model):
        return twin
    with alike.known(internals.layers.flat(model)):
        changes = _widths(model, twin, graph.edits(kept))
        for numbers in itertools.islice(changes, _TRIALS):
            small = _remade(model, numbers)
            if small is None:
                continue
            variables = weights_lib.variables(small)
            # What weights are called no number changes.
            if variables.keys() != twin.variables.keys():
                break
            if _is_same(small, variables, twin, graph, inputs):
                return _in_class(small, model)
    return twin


def _widths(model, twin, edits):
    """Yields dicts from place in the model's configuration to number."""
    found = collections.defaultdict(set)
    for key, variable in weights_lib.variables(model).items():
        for big, small in zip(variable.shape, twin.variables[key].shape):
            found[big].add(small)
    for operation, entries in edits.items():
        for (*_, name), value in entries.items():
            if isinstance(value, float):
                found[getattr(operation, name)].add(value)
    try:
        numbers = list(_numbers(model.get_config(), ()))
    except NotImplementedError:
        return
    choices = [
        [(place, width) for width in (*sorted(found[n] - {n}), n)]
        for place, n in numbers
        if found.get(n, {n}) != {n} and not _is_no_width(place)
    ]
    yield from map(dict, itertools.product(*choices))


def _is_no_width(place):
    words = [word for name in place for word in str(name).split("_")]
    return not _OTHERS.isdisjoint(words)


def _numbers(config, place):
    """Yields the place and value of every number in a configuration."""
    pairs = config.items() if isinstance(config, dict) else enumerate(config)
    for name, value in pairs:
        if name == "build_config":
            continue
        if isinstance(value, (dict, list, tuple)):
            yield from _numbers(value, (*place, name))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (*place, name), value


def _remade(model, numbers):
    """A model made with other numbers, or `None` where they do not fit."""
    def edit(config):
        return renewing.without_build(_edited(config, numbers, ()))

    try:
        return alike.remade(model, edit)
    # Code of the user's, given numbers it may refuse in any way.
    except Exception:
        return None


def _edited(config, numbers, place):
    if isinstance(config, dict):
        return {
            name: _edited(value, numbers, (*place, name))
            for name, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(
            _edited(value, numbers, (*place, i))
            for i, value in enumerate(config)
        )
    return numbers.get(place, config)


def _is_same(small, variables, twin, graph, inputs):
    if {k: tuple(v.shape) for k, v in variables.items()} != {
        k: tuple(v.shape) for k, v in twin.variables.items()
    }:
        return False
    for key, variable in variables.items():
        variable.assign(ops.convert_to_numpy(twin.variables[key]))
    try:
        expected, inputs = _expected(twin, graph, inputs)
        found = _outputs(small, inputs)
    # Code of the user's, on inputs it may not be for: nothing was compared.
    except Exception:
        return False
    return comparing.difference(expected, found) <= _TOLERANCE


def _expected(twin, graph, inputs):
    """What a small model puts out for inputs, random unless given, and they."""
    if inputs is not None:
        return _outputs(twin.model, inputs), inputs
    pack = functools.partial(inputs_lib.packed, graph.view)
    arrays, expected = inputs_lib.fitting(
        graph.view,
        lambda arrays: _outputs(twin.model, pack(arrays)),
        costs.Costs(graph).count(graph.kept())["macs"],
    )
    return expected, pack(arrays)


def _outputs(model, inputs):
    outputs = model(inputs, training=False)
    return [ops.convert_to_numpy(x) for x in keras.tree.flatten(outputs)]


def _in_class(small, model):
    below = weights_lib.layers(small)
    for key, layer in weights_lib.layers(model).items():
        state.carry(layer, below[key], {id(model): small}, data=False)
    variables = weights_lib.variables(small)
    return copies.Twin(small, variables, {key: key for key in variables})
