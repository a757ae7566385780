"""Shares: what part of a file's cycles each of its weights takes."""

import dataclasses

import numpy as np

from tf_lottery.export import flatbuffer
from tf_lottery.utils import backends
from tf_lottery.utils import companion


@dataclasses.dataclass(frozen=True)
class Share:
    """What an operator with weights takes of one call of a file.

    Attributes:
        weights: Integer, how many it has.
        computes: Float, the fraction of the cycles of the whole file that
            it takes to multiply.
        reads: Float, the fraction that it takes to read its weights, where
            it waits for them; else 0.
    """

    weights: int
    computes: float
    reads: float = 0.0


def of(content, target):
    """Returns the `Share`s of a file, of the cycles that Vela estimates.

    Args:
        content: Bytes of the file.
        target: `targets.Target`, an Ethos-U.
    """
    if not backends.is_tensorflow():
        return companion.ask(of, content, target)
    _, compiled = target.compile(content)
    estimate = compiled.file
    model = flatbuffer.read(content)
    sizes = {
        flatbuffer.output_name(model, weight.graph, weight.operator):
        int(np.prod(weight.shape))
        for weight in flatbuffer.weights(model)
    }
    found = []
    for operator in estimate.operators:
        if operator.name in sizes:
            waits = operator.reason.startswith("memory-bound: zeros")
            found.append(Share(
                sizes[operator.name],
                (operator.mac_cycles if waits else operator.cycles)
                / estimate.cycles,
                operator.memory_cycles / estimate.cycles if waits else 0.0,
            ))
    return found
