"""Layers and operations made anew, with some of their configuration edited."""

import inspect

import keras

from tf_lottery import internals


def edited(operation, edits=None):
    """Returns a new layer or operation with some of its configuration edited.

    An operation without weights yet; a function that calls one where an edit,
    see `Graph.edits`, is in the arguments of the call.

    Example:

    >>> from tf_lottery.graph import renewing
    >>> layer = keras.layers.Dense(8, name="fc")
    >>> renewing.edited(layer, {("units",): 5}).units
    5
    """
    edits = dict(edits or {})
    arguments = {e[1]: edits.pop(e) for e in list(edits) if e[0] == "call"}
    new = _reconfigured(operation, edits)
    if not arguments:
        return new

    def call(*args, **kwargs):
        args = [arguments.get(i, value) for i, value in enumerate(args)]
        return new(*args, **kwargs)

    return call


def _reconfigured(operation, edits):
    if not edits and not isinstance(operation, keras.layers.Layer):
        # Not every operation has a configuration, and none has a state.
        return internals.graphs.unlinked(operation)
    if isinstance(operation, keras.layers.Lambda):
        # Its function is not always found again by its configuration.
        return internals.graphs.same_lambda(operation)
    config = without_build(config_of(operation))
    for entry, value in edits.items():
        below = config
        for name in entry[:-1]:
            below = below[name]
        below[entry[-1]] = value
    return _made(type(operation), config)


def config_of(operation):
    """Returns the configuration of a layer or operation.

    A class that has none is taken to keep its arguments under their names.
    """
    try:
        return operation.get_config()
    # Code of the user's, which may fail in any way.
    except Exception:
        names = _arguments(type(operation))
        config = {
            name: getattr(operation, name)
            for name in names if hasattr(operation, name)
        }
    if isinstance(operation, keras.layers.Layer):
        config["dtype"] = operation.dtype_policy.name
        config["trainable"] = operation.trainable
    return config


def _made(kind, config):
    names = {*_arguments(kind), "name", "trainable", "dtype"}
    try:
        layer = kind.from_config(config)
    except TypeError:
        # Some tell in it what their constructor does not take.
        known = {k: v for k, v in config.items() if k in names}
        if known == config:
            raise
        config, layer = known, kind.from_config(known)
    if not kind.__module__.startswith("keras.src"):
        _tell_only(layer, config.keys() | names)
    return layer


def _tell_only(layer, names):
    """Leaves out what no constructor takes, so that files can be loaded."""
    tell = layer.get_config
    try:
        more = tell().keys() - names
    # Not every layer has a configuration.
    except Exception:
        return
    if more:
        layer.get_config = lambda: {
            k: v for k, v in tell().items() if k not in more
        }


def _arguments(kind):
    """The names of what the constructor of a class takes, with its bases'."""
    found = set()
    for base in kind.__mro__[:-1]:
        if base.__module__.startswith("keras.src"):
            break
        found |= inspect.signature(base.__init__).parameters.keys()
    return found - {"self", "args", "kwargs"} | {"name"}


def without_build(config):
    """Returns a copy without the shapes that layers were built with."""
    return walked(config, lambda each: {
        key: value for key, value in each.items() if key != "build_config"
    })


def walked(config, change):
    """Returns a copy with every dict in it changed, from the outside in."""
    if isinstance(config, (list, tuple)):
        return type(config)(walked(each, change) for each in config)
    if not isinstance(config, dict):
        return config
    return {k: walked(v, change) for k, v in change(config).items()}
