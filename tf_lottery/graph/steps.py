"""Steps: the calls of a graph of layers, those of nested models among them."""

import dataclasses
import itertools
import math
from typing import Any

import keras

from tf_lottery import internals
from tf_lottery.graph import functional

# For an axis whose size is open.
_OPEN = 128
# What a layer makes of a batch takes so many bytes, or this part of what the
# weights take; but so many examples are run at once.
_BYTES, _SHARE, _LEAST = 2**21, 0.25, 4


@dataclasses.dataclass(frozen=True, eq=False)
class _Step:
    """One call.

    Attributes:
        operation: What is called.
        arguments: Its arguments, with symbolic tensors.
        reads: Dict from the id of each of these to its number.
        writes: List of integers, the numbers of what is returned.
    """

    operation: Any
    arguments: Any
    reads: dict[int, int]
    writes: list[int]


def examples(model, graph, most, numbers):
    """Returns a batch size, small where examples have many numbers.

    All of them where the model takes so many and no fewer.

    Args:
        graph: The graph of layers of `model`, or `None`.
        most: Integer.
    """
    if not is_open(graph):
        return most
    nbytes = max(_BYTES, _SHARE * 4 * model.count_params())
    return min(most, max(_LEAST, int(nbytes) // (4 * numbers)))


def is_open(graph):
    """Returns whether a graph, or `None`, takes batches of any size."""
    return graph is not None and all(
        tensor.shape[0] is None for tensor in graph.inputs
    )


class Steps:
    """The calls of a model in an order to run them in, and their tensors.

    Every tensor has a number, also where a model inside is called twice.

    Attributes:
        inputs: List of integers, the tensors that the model reads.
        outputs: List of integers, the tensors that it returns.
        sizes: List of integers, how many values of one example each has.
    """

    def __init__(self, graph):
        self._steps, self.sizes = [], []
        self.inputs = self._numbered(graph.inputs)
        self.outputs = self._read(graph, self.inputs)

    def __len__(self):
        return len(self._steps)

    def places(self):
        """Returns the first step that reads each variable, by its id."""
        return {
            id(variable): place
            for place, step in reversed(list(enumerate(self._steps)))
            for variable in getattr(step.operation, "variables", ())
        }

    def largest(self, start=0):
        """Returns how many values the largest tensor from a step on has."""
        return max(
            (self.sizes[n] for step in self._steps[start:]
             for n in (*step.reads.values(), *step.writes)),
            default=1,
        )

    def crossing(self):
        """Returns the tensors that later steps need, before each step."""
        made = dict.fromkeys(self.inputs, 0)
        last = dict.fromkeys(self.outputs, len(self))
        for place, step in enumerate(self._steps):
            made |= dict.fromkeys(step.writes, place + 1)
            for number in step.reads.values():
                last[number] = max(last.get(number, 0), place)
        return [
            [n for n, at in made.items() if at <= place <= last.get(n, -1)]
            for place in range(len(self))
        ]

    def run(self, start, stop, values):
        """Runs some of the steps, in inference mode.

        Args:
            values: Dict from number to tensor, those it begins with; takes
                those that are made.
        """
        for step in itertools.islice(self._steps, start, stop):
            args, kwargs = step.arguments.fill_in(
                {name: values[number] for name, number in step.reads.items()}
            )
            call = step.operation
            if isinstance(
                call, keras.layers.Layer
            ) and internals.layers.takes_training(call):
                kwargs["training"] = False
            found = keras.tree.flatten(call(*args, **kwargs))
            values |= zip(step.writes, found)

    def _numbered(self, tensors):
        first = len(self.sizes)
        self.sizes += [
            math.prod(_OPEN if n is None else n for n in tensor.shape[1:])
            for tensor in tensors
        ]
        return list(range(first, len(self.sizes)))

    def _read(self, graph, inputs):
        """Adds the steps of a graph; returns the numbers of its outputs."""
        numbers = dict(zip(map(id, graph.inputs), inputs))
        for node in internals.graphs.nodes(graph):
            inner = functional.own_graph(node.operation)
            if inner is None:
                writes = self._numbered(node.outputs)
                self._steps.append(_Step(
                    node.operation, node.arguments,
                    {id(t): numbers[id(t)] for t in node.input_tensors},
                    writes,
                ))
            else:
                given = functional.ordered(
                    inner, node.arguments.args, node.arguments.kwargs,
                    functional.is_symbolic,
                )
                writes = self._read(inner, [numbers[id(t)] for t in given])
            numbers |= zip(map(id, node.outputs), writes)
        return [numbers[id(t)] for t in graph.outputs]
