"""A file on Ethos-U beside the same net without zeros, layer by layer."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from tf_lottery.export import encoding
from tf_lottery.export import flatbuffer
from tf_lottery.export import vela

HEADS = ("on the NPU", "without zeros", "this file", "ratio")
OPERATOR_HEADS = (
    "operator", "kind", "cycles without zeros", "cycles", "ratio", "why"
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Vela's estimates for a file, and for it with its zeros filled.

    Attributes:
        file: `vela.Estimate` of the file written.
        dense: `vela.Estimate` of the same net without zeros, see `filled`.
    """

    file: vela.Estimate
    dense: vela.Estimate

    @property
    def speedup(self) -> float:
        """Float, the time without zeros over that of the file."""
        return self.dense.cycles / max(1, self.file.cycles)

    def __str__(self):
        made = self.file
        cpu = "".join(f" {o.kind} '{o.name}';" for o in made.on_cpu)
        return (
            f"{made.compiler} estimates, nothing was run: {made.accelerator}, "
            f"{made.system_config}, {made.memory_mode}; "
            f"{len(made.on_cpu)} of {len(made.operators)} operators on the "
            f"CPU{':' * bool(cpu)}{cpu.rstrip(';')}."
        )

    def cells(self) -> list[list[str]]:
        """Returns the table of sizes and times, as strings."""
        return [
            [
                name, f"{dense:,.{digits}f}", f"{found:,.{digits}f}",
                _ratio(found, dense),
            ]
            for name, found, dense, digits in self._figures()
            if found or dense
        ]

    def _figures(self) -> Iterator[tuple[str, float, float, int]]:
        for name, attribute, unit, digits in (
            ("flash, bytes", "flash", 1, 0),
            ("DRAM, bytes", "dram", 1, 0),
            ("SRAM, bytes", "sram", 1, 0),
            ("weights as coded, bytes", "encoded_weights", 1, 0),
            ("cycles", "cycles", 1, 0),
            ("time, us", "seconds", 1e6, 1),
        ):
            yield (
                name, unit * getattr(self.file, attribute),
                unit * getattr(self.dense, attribute), digits,
            )

    def operator_cells(self) -> list[list[str]]:
        """Returns the table of operators, as strings."""
        dense = {(o.name, o.kind): o.cycles for o in self.dense.operators}
        rows = []
        for found in self.file.operators:
            before = dense.get((found.name, found.kind))
            rows.append([
                found.name.split(";")[0], found.kind,
                "" if before is None else f"{before:,}", f"{found.cycles:,}",
                _ratio(found.cycles, before), found.reason,
            ])
        return rows


def _ratio(found, dense):
    return f"{found / dense:.2f}" if dense else ""


def filled(content, seed=0):
    """Returns an int8 file with its zeros filled, as if it was not pruned.

    What was removed is not known any more. Magnitude pruning removes small
    weights of both signs: those put in are spread evenly up to the median
    magnitude of the weights that are left.
    """
    model, rng = flatbuffer.read(content), np.random.default_rng(seed)
    for weight, *_ in flatbuffer.by_constant(model):
        values = encoding.dense_values(model, weight).copy()
        zeros, kept = values == 0, np.abs(values[values != 0].astype("int16"))
        if weight.dtype != "INT8" or not kept.size or not zeros.any():
            continue
        most = max(1, int(np.median(kept)))
        number = int(zeros.sum())
        values[zeros] = rng.integers(1, most, number, endpoint=True) * (
            rng.choice([-1, 1], number)
        )
        model.buffers[weight.tensor.buffer].data = np.frombuffer(
            values.tobytes(), np.uint8
        )
    return flatbuffer.write(model)
