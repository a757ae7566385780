"""Checks and measures of every candidate in every runtime."""

import dataclasses

import numpy as np

from tf_lottery.export import arguments
from tf_lottery.export import check
from tf_lottery.export import children
from tf_lottery.export import compatibility
from tf_lottery.export import latency
from tf_lottery.export import metrics
from tf_lottery.export import samples as samples_lib
from tf_lottery.export import traced

_CHECKED_SAMPLES = 8
_EVALUATED_BATCH = 256


@dataclasses.dataclass(eq=False)
class Job:
    """What is examined, and on what.

    Attributes:
        inputs: List of arrays on which outputs are compared.
        batch: Integer, samples in one call.
        labels: Array or a structure of arrays, or `None`: then the metric
            has no value.
        evaluated: List of arrays that the labels belong to.
        reference: Float, the metric's value for the Keras model, or `None`.
        say: Function of a string, told of each step.
    """

    source: traced.Source
    target: object
    inputs: list
    batch: int
    metric: metrics.Metric
    labels: object = None
    evaluated: list | None = None
    reference: float | None = None
    seconds: float = 0.5
    threads: int = 1
    tolerance: float | None = None
    say: object = None

    def value(self, outputs):
        """Returns the metric's value for a list of outputs."""
        return self.metric(self.labels, self.source.structured(outputs))

    @property
    def evaluated_batch(self):
        """Integer, samples in one call where the metric is computed."""
        fixed = tuple(self.source.specs[0].shape)[0]
        return fixed or min(_EVALUATED_BATCH, len(self.evaluated[0]))


def job(source, target, data, example, labels, metric, **options):
    """Returns the `Job` for data that was given, or for random inputs.

    The Keras model is evaluated at once: a metric that does not fit is found
    before anything is converted.

    Raises:
        ValueError: If there are too few samples, or the metric does not fit.
    """
    fixed = tuple(source.specs[0].shape)[0]
    batch = fixed or 1
    inputs = example if example is not None else data
    if inputs is None:
        inputs = _random(source, batch)
    number = min(len(inputs[0]), max(batch, _CHECKED_SAMPLES))
    number -= number % batch
    if not number:
        raise ValueError(
            f"The model's batch size is {batch}; `compare_on` or "
            f"`representative_data` have fewer samples. Received: "
            f"{len(inputs[0])}"
        )
    checked = [array[:number] for array in inputs]
    made = Job(
        source, target, checked, batch, metric, labels, example, **options
    )
    if labels is not None and source.signatures is None:
        made.reference = made.value(samples_lib.keras_outputs(
            source, example, made.evaluated_batch
        ))
    return made


def _random(source, batch):
    rng = np.random.default_rng(0)
    number = batch * -(-_CHECKED_SAMPLES // batch)
    return [
        latency.random_array(
            rng, (number, *tuple(spec.shape)[1:]), spec.dtype.name
        )
        for spec in source.specs
    ]


def examine(job, found, runtimes, compiled=False):
    """Fills in the rows of candidates, each behind what it is compared with.

    With `compiled` Vela must take int8 files.
    """
    if job.source.signatures is None:
        samples = samples_lib.Samples.of(job.source, job.inputs, job.batch)
    else:
        samples = samples_lib.SignatureSamples.of(job.source)
    checker = check.Checker(runtimes, samples, job.tolerance)
    _check(job, checker.check, found)
    if checker.crashed:
        # Who wrote over whose memory is seen where each is alone.
        _check(job, checker.check_alone, found)
    for c in found if compiled else ():
        c.row.checks.append(compatibility.on_npu(c))
    passed = [c for c in found if c.row.passed]
    for c in passed:
        c.row.arena = job.target.arena(runtimes[0], c.content, _one(job))
    if job.seconds and passed and job.source.signatures is None:
        _measure(job, passed, runtimes[0])
    _evaluate(job, passed, runtimes[0])


def _check(job, check_file, found):
    for candidate in found:
        row = candidate.row
        job.say(f"checking {row.name}")
        row.checks = check_file(
            candidate.content,
            row.quantize,
            dense=row.name.endswith("dense"),
            exact=job.target.is_exact,
        )


def _one(job):
    return [array[:job.batch] for array in job.inputs]


def _measure(job, passed, runtime):
    job.say(f"measuring {len(passed)} files")
    measured = latency.measure(
        runtime, {c.row.name: c.content for c in passed}, _one(job),
        job.seconds, job.threads,
    )
    for c in passed:
        c.row.timing = measured.timings[c.row.name]
        c.row.speedup = measured.speedups[c.row.name]


def _evaluate(job, passed, runtime):
    if job.reference is None:
        return
    job.say(f"comparing {job.metric.name}")
    for c in passed:
        c.row.metric = job.value(samples_lib.outputs_of(
            runtime, c.content, job.evaluated, job.evaluated_batch
        ))


def start(stack, target, select_tf_ops, names=None):
    """Starts the runtimes that check files, and TensorFlow's, which converts.

    The latter may be one of the former. `names` are those asked for.
    """
    names = names or target.runtimes()
    if select_tf_ops:
        names = [children.TENSORFLOW]
    wanted = [name for name in names if name != arguments.VELA]
    found = {
        name: children.started(stack, name)
        for name in dict.fromkeys([*wanted, children.TENSORFLOW])
    }
    return [found[name] for name in wanted], found[children.TENSORFLOW]
