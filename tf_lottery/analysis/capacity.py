"""Capacity: how many random labels a ticket can learn by heart."""

import dataclasses
import statistics
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import overload

import keras
import numpy as np
from keras import ops

from tf_lottery import data as data_lib
from tf_lottery import internals
from tf_lottery.analysis import evaluating
from tf_lottery.analysis import preserving
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.utils import checks
from tf_lottery.utils import types


@dataclasses.dataclass(frozen=True)
class Capacity:
    """How well a ticket fits labels that nothing can be learned from.

    Attributes:
        density: Float, of the ticket.
        accuracies: Tuple of floats, the accuracy on the random labels after
            training on them, one for each seed.
        chance: Float, the accuracy of guessing: one in the number of classes.
    """

    density: float
    accuracies: tuple
    chance: float

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracies)


@overload
def capacity(
    tickets: ticket_lib.Ticket,
    model: keras.Model,
    x: types.Arrays,
    epochs: int = 20,
    batch_size: int = 60,
    seeds: Iterable[int] = (0, 1, 2),
    classes: int | None = None,
) -> Capacity: ...


@overload
def capacity(
    tickets: Sequence[ticket_lib.Ticket],
    model: keras.Model,
    x: types.Arrays,
    epochs: int = 20,
    batch_size: int = 60,
    seeds: Iterable[int] = (0, 1, 2),
    classes: int | None = None,
) -> list[Capacity]: ...


def capacity(
    tickets: Any,
    model: keras.Model,
    x: types.Arrays,
    epochs: int = 20,
    batch_size: int = 60,
    seeds: Iterable[int] = (0, 1, 2),
    classes: int | None = None,
) -> Any:
    """Trains tickets on random labels and measures what they memorise.

    A network that fits random labels has the capacity to memorise its data;
    what a sparse one still fits says how much of this was pruned away.
    Labels are uniform over the classes and the same for every ticket; so is
    the order of the data. Each training starts from the ticket with a fresh
    optimizer and keeps its masks.

    Reference: Zhang et al. 2017, "Understanding deep learning requires
    rethinking generalization", section 2, https://arxiv.org/abs/1611.03530.

    Args:
        tickets: `Ticket`, or a list of them.
        model: A built and compiled `keras.Model` of one output that
            classifies; it is left as it is, its optimizer included.
        x: Array of inputs, or a structure of arrays.
        epochs: Integer. Defaults to 20.
        batch_size: Integer. Defaults to 60.
        seeds: Iterable of integers, one for each training: seed of the
            labels and of the order. Defaults to `(0, 1, 2)`.
        classes: Integer. Defaults to the number of the model's outputs, 2
            for a single one.

    Returns:
        `Capacity`; a list of them for a list of tickets.

    Raises:
        ValueError: If a ticket does not fit the model, the model is not
            compiled, or an argument is invalid.

    Example:

    >>> import keras, numpy as np, tf_lottery as tfl
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(
    ...     from_logits=True))
    >>> ticket = tfl.Ticket.of(model, {"dense/kernel": np.eye(8, 2) > 0})
    >>> found = capacity(ticket, model, np.ones((6, 8)), epochs=1, seeds=[0])
    >>> found.density, found.chance, len(found.accuracies)
    (0.125, 0.5, 1)
    """
    one = isinstance(tickets, ticket_lib.Ticket)
    tickets = [tickets] if one else tickets
    _check(tickets, epochs, seeds)
    checks.whole("batch_size", batch_size)
    checks.optional(checks.whole, "classes", classes, 2)
    if x is None:
        checks.refuse("x", x, "an array of inputs")
    checks.data("x", x)
    for ticket in tickets:
        ticket.check_fits(model)
    found = []
    with preserving.trainable(model):
        units = _units(model, x)
        classes = classes or max(2, units)
        for ticket in tickets:
            accuracies = [
                _fit(ticket, model, x, _labels(model, x, classes, units, seed),
                     epochs, batch_size, seed)
                for seed in seeds
            ]
            found.append(
                Capacity(ticket.density, tuple(accuracies), 1 / classes)
            )
    return found[0] if one else found


def _check(tickets, epochs, seeds):
    if not isinstance(tickets, (list, tuple)) or not tickets or not all(
        isinstance(ticket, ticket_lib.Ticket) for ticket in tickets
    ):
        checks.refuse("tickets", tickets, "a `Ticket`, or a list of them")
    checks.whole("epochs", epochs)
    if not isinstance(seeds, (list, tuple, range)) or not seeds:
        checks.refuse("seeds", seeds, "a list of integers, not empty")
    for seed in seeds:
        checks.seed("seeds", seed)


def _units(model, x):
    first = keras.tree.map_structure(lambda array: array[:1], x)
    output = model(first, training=False)
    if not hasattr(output, "shape") or len(output.shape) != 2:
        raise ValueError(
            "Capacity is measured on a model that classifies examples, with "
            "one output of shape (batch, classes). Received: "
            f"{getattr(output, 'shape', type(output))}"
        )
    return int(output.shape[-1])


def _labels(model, x, classes, units, seed):
    """Random labels in the form that the model's loss takes."""
    number = len(keras.tree.flatten(x)[0])
    labels = np.random.default_rng(seed).integers(classes, size=number)
    if units == 1:
        return labels[:, None].astype("float32")
    loss = keras.losses.get(internals.models.compiled_loss(model)[0])
    name = getattr(loss, "__name__", type(loss).__name__)
    if name.lower().replace("_", "").startswith("sparse"):
        return labels.astype("int32")
    return ops.convert_to_numpy(ops.one_hot(labels, units))


def _fit(ticket, model, x, labels, epochs, batch_size, seed):
    ticket.apply(model)
    batches = data_lib.Replay(x, labels, batch_size, seed)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)
    evaluate = evaluating.Evaluator(model, batch_size=512, name="capacity")
    return evaluate((x, labels)).accuracy
