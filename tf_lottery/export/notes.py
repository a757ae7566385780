"""What is said about the file that was chosen."""

import keras
import numpy as np

from tf_lottery import weights as weights_lib
from tf_lottery.export import inspection

_SHOWN = 8


def of(source, chosen):
    """Returns a list of strings."""
    found = _floats(chosen) if chosen.row.quantize == "int8" else []
    layers = chosen.row.layers
    zeros = sum(layer.zeros for layer in layers)
    if not zeros:
        return [
            *found,
            "The model has no zeros: sparse encoding brings nothing, the file "
            "is dense.",
        ]
    dead = [layer for layer in layers if layer.dead]
    if dead:
        found.append(
            f"{sum(layer.dead for layer in dead):,} outputs in {len(dead)} "
            "operators have no weights left; `structured.compact` removes "
            "units that are dead, which is faster everywhere."
        )
    had = sum(map(_zeros, weights_lib.inspect(source.model)))
    if zeros < had:
        found.append(
            f"{zeros:,} of the {had:,} zeros of the model are zero in weights "
            "of the file; the others are in weights it stores in another way."
        )
    if any(layer.form == "densify" for layer in layers):
        found.append(
            "Weights are stored sparse behind DENSIFY: microcontrollers and "
            "NPUs do not run the file, and ai-edge-quantizer does not "
            'quantise them. `encoding="dense"` makes a file for these.'
        )
    return found


def uncounted(work):
    """Returns a list of strings: what MACs of an `Inspection` leave out."""
    if not work.unknown:
        return []
    kinds = (f"{number} {kind}" for kind, number in work.unknown.items())
    return [
        f"MACs do not count what these operators multiply: {', '.join(kinds)}"
        "; of a loop (WHILE) one step is counted."
    ]


def _floats(chosen):
    floats = inspection.inspect(chosen.content).float_operators
    if not floats:
        return []
    return [
        "Operators of the int8 file that compute in float32: "
        f"{', '.join(floats[:_SHOWN])}{', ...' * (len(floats) > _SHOWN)}."
    ]


def _zeros(weight):
    if weight.reason is not None:
        return 0
    value = keras.ops.convert_to_numpy(weight.variable)
    return value.size - np.count_nonzero(value)
