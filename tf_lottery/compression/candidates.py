"""Candidates: models of one size each, as files that were verified."""

import dataclasses
import hashlib
import math

import keras
import numpy as np
import scipy
from keras import ops

from tf_lottery import export
from tf_lottery import files
from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.export import metrics
from tf_lottery.search import allocation

# What a candidate costs of what the one before it does.
STEP = 0.95
_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One file that may be taken, and what was measured of it.

    Attributes:
        number: Integer; it was made to cost `0.95 ** number` of the whole.
        cost: Float, what counts for the target.
        metric: Float, of the file on the validation examples.
        low: Float, the lower end of the 95 % interval that these examples
            leave, or `None` where the metric is no share of them.
        high: Float, the upper end.
        drop: Float, by how much it is worse than the model was.
        nbytes: Integer, bytes of the file.
        compressed: Integer, bytes after `gzip -9`.
        macs: Integer, multiplications of one call, as the file tells; for
            target `"macs"`, all of one example.
        latency_ms: Float, measured here, or `None`.
        cycles: Integer, Vela's estimate, or `None`.
        weights: Integer, how many weights of the model are not zero.
        file: String, the path.
        removed: Dict from group of channels, or weight key, to the fraction
            of it that is gone.
        bits: Dict from weight key to what it is rounded to, in bits, on the
            way to the data type of the file.
    """

    number: int
    cost: float
    metric: float
    low: float | None
    high: float | None
    drop: float
    nbytes: int
    compressed: int
    macs: int
    latency_ms: float | None
    cycles: int | None
    weights: int
    file: str
    removed: dict[str, float]
    bits: dict[str, int]


class Candidates:
    """Makes candidates, each once, and keeps them in a directory.

    Args:
        place: `places.Place`.
        space: `space.Space`.
        tables: Function that returns what `space.measure` does, called with
            the candidate of the model as it was.
        recover: `recovery.Recovery`.
        ranges: Array or a structure of arrays, to quantise with.
        validation: Pair of inputs and labels.

    Attributes:
        found: Dict from number to `Candidate`.
        failed: Dict from number to why its file fails its checks.
        reference: Float, the metric of the model as it was.
        rest: Float, what a file costs besides what is pruned.
    """

    def __init__(
        self, place, space, tables, cost, recover, ranges, validation,
        metric, say,
    ):
        self._place, self._space, self._cost = place, space, cost
        self._recover, self._ranges, self._say = recover, ranges, say
        self._validation, self._metric = validation, metric
        self.found, self.failed = {}, {}
        self.reference, self.rest = None, 0.0
        # What no file can be made of is not measured first.
        dense = self[0]
        space.use(*tables(dense))
        self._allocator = allocation.Allocator(space.errors, space.cost)
        self.rest = max(0.0, float(dense.cost - self._allocator.whole))

    @property
    def last(self):
        """Integer, the number of the smallest candidate there can be."""
        least = (self.rest + self._allocator.least) / self._whole
        return max(1, math.ceil(math.log(least) / math.log(STEP)))

    def number_for(self, cost):
        """Returns the number of the candidate that is to cost so much."""
        share = min(1.0, cost / self[0].cost)
        return max(1, min(
            self.last, math.ceil(math.log(share) / math.log(STEP))
        ))

    def levels(self, number):
        """Returns the level of every part in a candidate."""
        if not number:
            return [0] * len(self._space.names)
        return self._allocator.within(
            self._whole * STEP**number - self.rest
        )

    def model(self, number):
        """Returns the model of a candidate that was made."""
        arrays, _ = self._place.read(self._path(number))
        model = self._space.empty_at(self.levels(number))
        for key, variable in weights_lib.variables(model).items():
            variable.assign(arrays[key])
        return model

    def drop(self, number):
        """Returns what a candidate loses; all, if its file fails its checks.

        In int8 a network that is ruined may be far off.
        """
        return self[number].drop if self._passes(number) else math.inf

    def cost(self, number):
        """Returns what a candidate takes, or was to take."""
        if self._passes(number):
            return self[number].cost
        return self[0].cost * STEP**number

    def _passes(self, number):
        if number not in self.failed:
            try:
                self[number]
            except export.VerificationError as error:
                self.failed[number] = str(error).splitlines()[-1].strip()
        return number not in self.failed

    def __getitem__(self, number):
        if number not in self.found:
            path = self._path(number)
            file = path.with_suffix(".tflite")
            if not (path.exists() and file.exists()):
                self._make(number, path)
            _, fields = self._place.read(path)
            if fields.pop("sha256") != _digest(file):
                raise files.damaged(file, "it is not the one verified")
            self.reference = fields.pop("reference")
            self.found[number] = Candidate(file=str(file), **fields)
        return self.found[number]

    @property
    def _whole(self):
        return self.rest + self._allocator.whole

    def _path(self, number):
        return self._place.path / f"{number:03}.safetensors"

    def _make(self, number, path):
        """Writes the file, and then what says that it is finished."""
        levels = self.levels(number)
        self._say(f"candidate {number}: pruning")
        model = self._space.model_at(levels)
        if number:
            self._recover(model)
            if self._space.round(model, levels):
                self._recover.recalibrate(model)
        report = export.tflite(
            model, path.with_suffix(".tflite"), self._cost.target,
            self._cost.quantize, self._ranges, self._validation,
            metric=self._metric,
            seconds=_SECONDS if self._cost.is_timed else 0,
            # Loops over time take a number there.
            batch_size=1 if any(
                isinstance(layer, keras.layers.RNN)
                for layer in internals.layers.flat(model)
            ) else None,
            progress=lambda text: self._say(f"candidate {number}: {text}"),
        )
        reference = self.reference if number else report.metric
        self._place.write(path, {
            key: ops.convert_to_numpy(variable)
            for key, variable in weights_lib.variables(model).items()
        }, {
            "number": number, "reference": reference,
            "sha256": _digest(path.with_suffix(".tflite")),
            "removed": self._space.removed(levels),
            "bits": self._space.bits(levels),
            "weights": _nonzero(model), **self._measured(report, reference),
            **self._counted(report, levels),
        })

    def _counted(self, report, levels):
        if self._cost.name != "macs":
            return {"cost": self._cost.of(report), "macs": report.macs}
        # A file does not tell of all: loops, activations times activations.
        macs = self._space.macs(levels)
        return {"cost": macs, "macs": macs}

    def _measured(self, report, reference):
        metric, timing = report.shipped.metric, report.shipped.timing
        low = high = None
        if report.metric_name == "accuracy":
            low, high = _interval(
                metric, len(keras.tree.flatten(self._validation)[0])
            )
        return {
            "metric": metric, "low": low, "high": high,
            # Seven of 350 are 0.02, which the difference is not quite.
            "drop": round(
                metrics.Metric(self._metric).drop(metric, reference), 12
            ),
            "nbytes": report.nbytes, "compressed": report.compressed,
            "latency_ms": timing and 1e3 * timing.median,
            "cycles": report.npu and report.npu.file.cycles,
        }


def _digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _nonzero(model):
    return sum(
        int(np.count_nonzero(ops.convert_to_numpy(v)))
        for v in model.trainable_variables
    )


def _interval(share, number):
    """Returns Wilson's 95 % interval of a share of examples."""
    found = scipy.stats.binomtest(round(share * number), number)
    low, high = found.proportion_ci(method="wilson")
    return float(low), float(high)
