"""What callbacks that prune tell the callbacks beside them."""

import keras


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


def name_of(value):
    """Returns the name of a criterion, a function or an object."""
    if isinstance(value, str):
        return value
    name = getattr(value, "name", None) or getattr(
        value, "__qualname__", type(value).__qualname__
    )
    return str(name)
