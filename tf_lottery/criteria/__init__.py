"""Criteria: how much each weight is worth. Higher scores are kept."""

import inspect

from tf_lottery import weights as weights_lib
from tf_lottery.criteria.criterion import Criterion as Criterion
from tf_lottery.criteria.magnitude import Magnitude as Magnitude
from tf_lottery.criteria.random import Random as Random

ALL_CRITERIA = (Magnitude, Random)
_BY_NAME = {criterion.name: criterion for criterion in ALL_CRITERIA}


def get(identifier):
    """Returns a criterion.

    Args:
        identifier: Name of a criterion (`"magnitude"`, `"random"`), a
            `Criterion`, or a callable `f(model, variables)` that takes a dict
            from weight key to variable and returns a dict from weight key to
            an array of scores.

    Returns:
        A `Criterion` or the callable.

    Raises:
        ValueError: If the name is unknown; the message lists the valid ones.
    """
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    if inspect.isclass(identifier) and issubclass(identifier, Criterion):
        return identifier()
    if callable(identifier):
        return identifier
    raise ValueError(
        "Argument `criterion` must be one of "
        f"{sorted(_BY_NAME)}, a `Criterion` or a callable. "
        f"Received: criterion={identifier!r}"
    )


def score(model, criterion="magnitude", exclude=(), include=()):
    """Returns the score of every prunable weight of a model.

    Args:
        model: A built `keras.Model`.
        criterion: See `get`. Defaults to `"magnitude"`.
        exclude: Layer names or patterns to leave out. Defaults to none.
        include: Embeddings to take in. Defaults to none.

    Returns:
        Dict from weight key to array of the weight's shape, higher = keep.

    Example:

    >>> import keras, tf_lottery as tfl
    >>> model = keras.Sequential([
    ...     keras.Input((1,)),
    ...     keras.layers.Dense(2, name="fc", kernel_initializer="ones")])
    >>> tfl.criteria.score(model, "magnitude")["fc/kernel"].tolist()
    [[1.0, 1.0]]
    """
    variables = weights_lib.prunable(model, exclude, include)
    return get(criterion)(model, variables)
