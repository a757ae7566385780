"""Checks and measures of every candidate in every runtime."""

import dataclasses

import numpy as np

from tf_lottery.export import check
from tf_lottery.export import children
from tf_lottery.export import latency
from tf_lottery.export import samples as samples_lib
from tf_lottery.export import sources

_CHECKED_SAMPLES = 8
_ACCURACY_BATCH = 256


@dataclasses.dataclass(eq=False)
class Job:
    """What is examined, and on what.

    Attributes:
        source: `sources.Source`.
        target: `targets.Target`.
        inputs: List of arrays on which outputs are compared.
        batch: Integer, samples in one call.
        labels: Array, or `None`: then there is no accuracy.
        evaluated: List of arrays that the labels belong to.
        seconds: Number, how long latency is measured.
        threads: Integer.
        tolerance: Float, or `None`.
        say: Function of a string, told of each step.
    """

    source: sources.Source
    target: object
    inputs: list
    batch: int
    labels: object = None
    evaluated: list | None = None
    seconds: float = 0.5
    threads: int = 1
    tolerance: float | None = None
    say: object = None


def job(source, target, data, example, labels, **options):
    """Returns the `Job` for data that was given, or for random inputs.

    Raises:
        ValueError: If there are fewer samples than one batch has.
    """
    fixed = sources.shape_of(source.specs[0])[0]
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
    return Job(source, target, checked, batch, labels, example, **options)


def _random(source, batch):
    rng = np.random.default_rng(0)
    number = batch * -(-_CHECKED_SAMPLES // batch)
    return [
        latency.random_array(
            rng, (number, *sources.shape_of(spec)[1:]), spec.dtype.name
        )
        for spec in source.specs
    ]


def examine(job, found, runtimes):
    """Fills in the rows of candidates.

    Args:
        job: `Job`.
        found: List of `candidates.Candidate`; what they are compared with
            comes before them.
        runtimes: List of `children.Runtime`.

    Returns:
        Float, the Keras model's accuracy, or `None`.
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
    passed = [c for c in found if c.row.passed]
    for c in passed:
        c.row.arena = job.target.arena(runtimes[0], c.content, _one(job))
    if job.seconds and passed and job.source.signatures is None:
        _measure(job, passed, runtimes[0])
    return _accuracies(job, passed, runtimes[0])


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


def _accuracies(job, passed, runtime):
    if job.labels is None or job.source.signatures is not None:
        return None
    job.say("comparing accuracies")
    fixed = sources.shape_of(job.source.specs[0])[0]
    batch = fixed or min(_ACCURACY_BATCH, len(job.labels))
    for c in passed:
        c.row.accuracy = check.accuracy(
            runtime, c.content, job.evaluated, job.labels, batch
        )
    return check.keras_accuracy(job.source, job.evaluated, job.labels, batch)


def runtimes(stack, target, select_tf_ops):
    """Starts the runtimes that check files, and closes them with `stack`."""
    names = ["tensorflow"] if select_tf_ops else target.runtimes()
    found = [stack.enter_context(children.Runtime(name)) for name in names]
    for runtime in found:
        runtime.start()
    return found
