"""Does a file compute what it should? Asked in every installed runtime."""

import dataclasses
import math

import numpy as np

from tf_lottery.export import children

# Relative to the largest output: of float32 and float16 files against the
# Keras model; of dense quantised files against it, where the rounding of
# activations adds up with depth; of others against their dense file.
KERAS_TOLERANCE = {
    "float32": 1e-5,
    "float16": 1e-2,
    "dynamic": 0.5,
    "int8": 0.5,
}
DENSE_TOLERANCE = {
    "float32": 1e-5,
    "float16": 1e-3,
    "dynamic": 5e-2,
    "int8": 2e-2,
}


class VerificationError(RuntimeError):
    """A file did not load, run or compute what it should; none was written.

    Attributes:
        failures: List of `Outcome`, the checks that failed.
    """

    def __init__(self, message: str, failures: list["Outcome"]) -> None:
        super().__init__(message)
        self.failures = failures


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One check of one file in one runtime.

    Attributes:
        runtime: String, the runtime's name.
        what: String, what the outputs were compared with.
        error: Float, the largest difference of the outputs, relative to the
            largest value of the output; `inf` if the file did not run.
        limit: Float, the largest error that passes.
        reason: String, why it did not run, or `None`.
    """

    runtime: str
    what: str
    error: float
    limit: float
    reason: str | None = None

    @property
    def passed(self) -> bool:
        """Boolean, whether the check is passed."""
        return self.reason is None and self.error <= self.limit

    def __str__(self):
        if self.reason is not None:
            return f"{self.runtime}: does not run: {self.reason}"
        sign = "<=" if self.passed else ">"
        return (
            f"{self.runtime}: difference to {self.what} {self.error:.2g} "
            f"{sign} {self.limit:g}"
        )


def relative_error(outputs, reference):
    """Returns the largest difference, relative to the largest value.

    `inf` where anything is not finite that should be, or shapes differ.

    Example:

    >>> tfl.export.check.relative_error([np.array([1.0, 2.0])],
    ...                             [np.array([1.0, 4.0])])
    0.5
    >>> tfl.export.check.relative_error([np.array([np.nan])], [np.ones(1)])
    inf
    """
    if len(outputs) != len(reference):
        return math.inf
    return max(map(_error, outputs, reference), default=0.0)


def _error(output, reference):
    if output.shape != reference.shape:
        return math.inf
    if not output.size:
        return 0.0
    output, reference = output.astype("float64"), reference.astype("float64")
    with np.errstate(invalid="ignore"):
        difference = np.where(output == reference, 0.0, output - reference)
    worst, scale = np.abs(difference).max(), np.abs(reference).max()
    if worst == 0:
        return 0.0
    found = worst / scale if scale else math.inf
    return float(found) if math.isfinite(found) else math.inf


class Checker:
    """Checks files in runtimes, on the same samples.

    Attributes:
        crashed: Boolean, whether a process that had run other files before
            has crashed, for which one of those may be to blame.
    """

    def __init__(self, runtimes, samples, tolerance=None):
        self._runtimes = runtimes
        self._samples = samples
        self._tolerance = tolerance
        self._dense = {}
        self.crashed = False

    def check(self, content, quantize, dense, exact=False):
        """Returns the `Outcome` of a file in each runtime.

        With `dense` it is what others of its type are compared with from then
        on; with `exact` outputs must equal those bit for bit.
        """
        return [
            self._check(runtime, content, quantize, dense, exact)
            for runtime in self._runtimes
        ]

    def check_alone(self, content, quantize, dense, exact=False):
        """As `check`, in processes that have run nothing else."""
        for runtime in self._runtimes:
            runtime.restart()
        return self.check(content, quantize, dense, exact)

    def _check(self, runtime, content, quantize, dense, exact):
        what, limit = "the Keras model", self._tolerance
        reference = self._samples.expected(quantize)
        if limit is None:
            limit = KERAS_TOLERANCE[quantize]
        known = self._dense.get((runtime.name, quantize))
        if not dense and known is not None and (
            exact or quantize != "float32"
        ):
            what, reference = f"the dense {quantize} file", known
            limit = 0.0 if exact else DENSE_TOLERANCE[quantize]
        try:
            outputs = self._run(runtime, content)
        except children.RuntimeFailure as failure:
            return Outcome(runtime.name, what, math.inf, limit, str(failure))
        error = relative_error(outputs, reference)
        outcome = Outcome(runtime.name, what, error, limit)
        if dense and outcome.passed:
            self._dense[runtime.name, quantize] = outputs
        return outcome

    def _run(self, runtime, content):
        """Runs a file; a crash counts if it comes in a fresh process too."""
        fresh = runtime.ran == 0
        try:
            return self._samples.run(runtime, content)
        except children.RuntimeFailure as failure:
            if fresh or not failure.crashed:
                raise
        self.crashed = True
        return self._samples.run(runtime, content)
