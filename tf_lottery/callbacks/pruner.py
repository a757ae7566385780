"""What callbacks that prune tell the callbacks beside them."""

import weakref

import keras

# The callback that runs rounds on a model, or has done so before.
_RUNNING = weakref.WeakKeyDictionary()


class Pruner(keras.callbacks.Callback):
    """The base class of callbacks that prune while a model trains.

    Attributes:
        results: List of `tf_lottery.results.RoundResult`, or `None` where
            training has no rounds.
    """

    results = None

    def protocol(self):
        """Returns how it prunes: a dict from argument to plain value."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `protocol`."
        )


def check_is_alone(callback):
    """Raises a `ValueError` if another one runs rounds in the same `fit`.

    Args:
        callback: `Pruner` whose model is about to be trained.
    """
    other = _RUNNING.get(callback.model, lambda: None)()
    # One `fit` gives the same dict of parameters to all of its callbacks.
    if other not in (None, callback) and other.params is callback.params:
        raise ValueError(
            f"Two `{type(callback).__name__}` callbacks cannot prune in one "
            "`fit`: each would undo the other's rounds. Pass one of them."
        )
    _RUNNING[callback.model] = weakref.ref(callback)


def name_of(value):
    """Returns the name of a criterion, a function or an object."""
    if isinstance(value, str):
        return value
    name = getattr(value, "name", None) or getattr(
        value, "__qualname__", type(value).__qualname__
    )
    return str(name)
