"""Costs: what a model is made smaller in, for a target."""

import re

import numpy as np

from tf_lottery.export import latency
from tf_lottery.export import shares
from tf_lottery.export import sparse
from tf_lottery.export import targets
from tf_lottery.export import vela
from tf_lottery.utils import checks

TARGETS = ("macs", *targets.TARGETS, *vela.ACCELERATORS)
_UNITS = {"B": 1, "kB": 1000, "KiB": 1024, "MB": 10**6, "MiB": 2**20}
_BYTES = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})")
# An operator and a tensor more, in bytes.
_OVERHEAD = 100


class Cost:
    """What counts for a target: its name, its table, and how it is measured.

    Attributes:
        name: String, `"size"` (bytes after `gzip -9`), `"flash"` (bytes),
            `"macs"`, `"latency_ms"` or `"cycles"`.
        target: `export.targets.Target` that files are made for.
        zeros_pay: Boolean, whether single weights may be worth removing.
        round_to: Integer, a multiple of which channels are worth keeping.
    """

    def __init__(self, target, quantize, minimize=None, budget=None):
        if isinstance(target, str):
            checks.choice("target", target, TARGETS)
        counted = target if isinstance(target, str) else ""
        self.target = targets.get("flash" if counted == "macs" else target)
        self._on_npu = self.target.name.startswith("ethos")
        self._names = {
            "macs": ("macs",), "size": ("size",), "cpu": ("latency_ms",),
            "arm": ("latency_ms",), "auto": ("latency_ms",),
        }.get(counted if counted == "macs" else self.target.name, ("flash",))
        if self._on_npu:
            self._names += ("cycles", "latency_ms")
        checks.optional(checks.choice, "minimize", minimize, self._names)
        asked = budget if isinstance(budget, dict) else ()
        self.name = minimize or next(
            (name for name in self._names if name in asked), self._names[0]
        )
        self.zeros_pay = self._on_npu or self.name in ("size", "flash")
        # Ethos-U computes with 8 channels at once (Vela's `ofm_ublock`).
        self.round_to = 8 if self._on_npu and self.name != "flash" else 1
        self.quantize = quantize
        checks.optional(
            checks.choice, "quantize", quantize, ("float16", "dynamic", "int8")
        )
        if (quantize or "float32") not in self.target.dtypes:
            checks.refuse(
                "quantize", quantize, f"one of {self.target.dtypes} for "
                f"target '{self.target.name}'"
            )
        self.target.check()

    @property
    def widths(self):
        """List of widths in bits, whose fewer values a code makes use of."""
        coded = self.name == "size" or self.target.name.startswith("ethos")
        return (None, 6, 5, 4, 3) if coded else (None,)

    @property
    def is_priced(self):
        """Boolean, whether the search counts Vela's cycles by operator."""
        return self._on_npu and self.name in ("cycles", "latency_ms")

    @property
    def is_timed(self):
        """Boolean, whether files are timed."""
        return self.name == "latency_ms"

    def budget(self, budget):
        """Returns a budget as a number."""
        if not isinstance(budget, dict) or list(budget) != [self.name]:
            checks.refuse(
                "budget", budget, "a dict of one number or size, as "
                f"{{{self.name!r}: ...}}, which is what counts for this "
                f"target; one of {list(self._names)}"
            )
        value = budget[self.name]
        if isinstance(value, str) and self.name in ("size", "flash"):
            found = _BYTES.fullmatch(value)
            if not found:
                checks.refuse(
                    "budget", value, "a positive number, as a string with "
                    f"one of {list(_UNITS)}"
                )
            value = float(found[1]) * _UNITS[found[2]]
        checks.positive("budget", value)
        return float(value)

    def shares(self, candidate):
        """Returns what `Space.measure` takes, of a file's operators."""
        if not self.is_priced:
            return ()
        content = latency.read_bytes(candidate.file)
        return shares.of(content, self.target), candidate.cost

    def of(self, report):
        """Returns what the file of an `export.Report` costs."""
        if self.name == "cycles":
            return report.npu.file.cycles
        if self.is_timed:
            return 1e3 * (
                report.npu.file.seconds if self._on_npu
                else report.shipped.timing.median
            )
        if self.name == "size":
            return report.compressed
        if report.npu is not None:
            return report.npu.file.flash or report.npu.file.nbytes
        return report.nbytes

    def nbytes(self, matrix):
        """Returns about what a weight takes in a file.

        Args:
            matrix: Array of floats, outputs by inputs.
        """
        values = _stored(matrix, self.quantize)
        if self._on_npu:
            # Vela's code comes near the entropy.
            _, counts = np.unique(values, return_counts=True)
            shares = counts / values.size
            return float(-(shares * np.log2(shares)).sum() * values.size / 8)
        dense = self.target.nbytes([values])
        if self.target.name == "micro":
            kept = np.count_nonzero(values) * values.itemsize
            return min(dense, values.size / 8 + kept + _OVERHEAD)
        return min(dense, self.target.nbytes(sparse.smallest(values).arrays, 1))

    def left_alone(self, share):
        """Returns what no table has, a share of the whole file, in words."""
        return {"the rest of the file": (
            f"{share:.0%} of its {self.name} falls with no layer's "
            "multiplications"
        )} if self.is_priced else {}

    def text(self, value):
        """Returns a cost in words."""
        if self.is_timed:
            return f"{value:.3g} ms"
        unit = {
            "size": "bytes compressed", "macs": "MACs", "cycles": "cycles",
        }.get(self.name, "bytes")
        return f"{value:,.0f} {unit}"


def _stored(matrix, quantize):
    """The values of a weight as a file has them."""
    if quantize in ("int8", "dynamic"):
        scale = np.abs(matrix).max(1, keepdims=True) / 127
        return np.round(matrix / np.where(scale > 0, scale, 1)).astype("int8")
    return matrix.astype("float16" if quantize == "float16" else "float32")
