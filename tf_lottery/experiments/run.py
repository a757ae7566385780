"""Runs a preset: tickets, controls, report."""

import dataclasses

from tf_lottery import weights as weights_lib
from tf_lottery.experiments import bench as bench_lib
from tf_lottery.experiments import budgets
from tf_lottery.experiments import collecting
from tf_lottery.experiments import compacting
from tf_lottery.experiments import compared_tickets
from tf_lottery.experiments import datasets
from tf_lottery.experiments import feeds
from tf_lottery.experiments import models
from tf_lottery.experiments import outputs
from tf_lottery.experiments import plans
from tf_lottery.experiments import presets
from tf_lottery.experiments import progress as progress_lib
from tf_lottery.experiments import report as report_lib
from tf_lottery.experiments import trials
from tf_lottery.jobs import engines
from tf_lottery.jobs import scheduling
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils import types
from tf_lottery.verdicts import rules


def run(
    preset: presets.Preset,
    output_dir: types.Path,
    progress: progress_lib.Progress | None = None,
    overwrite: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
) -> report_lib.Report:
    """Finds tickets by the protocol of a preset and measures them.

    Each trial is one `fit` with `IterativeMagnitudePruning`. After it, every
    chosen ticket's masks are trained again from random weights, and its
    weights with random masks, in the same number of steps on the same
    batches. Reference: Frankle and Carbin 2019, section 2,
    https://arxiv.org/abs/1803.03635.

    The preset may also compare with one-shot pruning, with fine-tuning and
    with learning-rate rewinding (Renda et al. 2020,
    https://arxiv.org/abs/2003.02389); these resume from the same dense round.

    A run that was interrupted, even killed, resumes where it was when it is
    started again in the same directory, and ends with the same results.

    Trainings that need nothing of each other may be done side by side, by
    several processes or on several machines, and come to the same results
    bit for bit: `docs/several_machines.md`.

    Args:
        preset: `Preset`.
        output_dir: Path of a directory for the results. An existing run of the
            preset resumes; it may have had fewer rounds, and other
            trials and comparisons.
        progress: `progress.Progress` that is told what happens. Defaults to
            silence.
        overwrite: Boolean, whether an existing run of the preset is
            replaced instead. Defaults to `False`.
        jobs: Integer, the processes that train side by side. Defaults to
            `None`: this process alone, or all workers of the scheduler.
        scheduler: String, the address of a Dask scheduler whose workers
            share the directory, such as `"tcp://host:8786"`. Defaults to
            `None`, this machine.

    Raises:
        ValueError: If the directory holds anything else, or under another
            backend than TensorFlow.
        OSError: If it cannot be written.
        RuntimeError: If another process is writing to it.
        DatasetUnavailableError: If the data cannot be had.
        TasksFailedError: If a training failed three times in other
            processes; all others are done.
        ConnectionError: If the scheduler does not answer.

    Example:

    >>> import tempfile
    >>> preset = tfl.experiments.preset(
    ...     "lenet-digits", iterations=20, rounds=1, trials=1,
    ...     control_trials=0)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     report = tfl.experiments.run(preset, directory)
    >>> [round(row["density"], 3) for row in report.rows()]
    [1.0, 0.802]
    """
    _check(preset)
    checks.path("output_dir", output_dir)
    checks.flag("overwrite", overwrite)
    engines.check(jobs, scheduler)
    if progress is None:
        progress = progress_lib.Progress()
    checks.kind(
        "progress", progress, progress_lib.Progress, "a `progress.Progress`"
    )
    directory = outputs.OutputDirectory(output_dir)
    preset, data = _prepare(preset, directory, overwrite)
    _check_layers(preset, data)
    compared_tickets.check(preset, data)
    trials.pruning(preset)
    with directory.create(preset, overwrite), trials.kept(preset, data):
        progress.begin(preset)
        report = report_lib.Report(preset, [], rules.Rules.of(
            preset.to_dict(), images=data.test_images, classes=data.classes
        ))
        collector = collecting.Collector(report, directory, progress)
        with engines.opened(
            jobs, scheduler, directory.path / "jobs", progress,
            progress_lib.Report,
        ) as engine:
            scheduling.run(collector.tasks(), engine, collector)
        return dataclasses.replace(report, files=directory.list())


def _check(preset):
    # Others read batches before a round is rewound, which then come late.
    backends.check_tensorflow("Presets read each batch at its step, in")
    checks.kind(
        "preset", preset, presets.Preset, "a `tf_lottery.experiments.Preset`"
    )


def _check_layers(preset, data):
    """Raises if `rate` or `exclude` names no layer, before files are made."""
    build = models.get(preset.model)
    model = build(data.image_shape, data.classes, preset.seed)
    weights_lib.prunable(model, preset.exclude)
    found = weights_lib.inspect(model, preset.exclude)
    weights_lib.resolve(found, preset.rate, "rate")
    if preset.compact:
        compacting.warn_if_left_alone(preset, model)


def estimate(
    preset: presets.Preset, data: datasets.Data | None = None
) -> tuple[presets.Preset, plans.Cost]:
    """Measures for a few seconds what a preset would take here.

    Args:
        preset: `Preset`.
        data: Its data, if it is loaded already. Defaults to `None`.

    Returns:
        Tuple of the preset, shortened to its budget, and its `plans.Cost`.
    """
    _check(preset)
    checks.optional(
        checks.kind, "data", data, datasets.Data,
        "a `tf_lottery.experiments.Data`",
    )
    data = data or feeds.load(preset)
    cost = plans.measure(bench_lib.Bench(preset, data))
    return budgets.shorten(preset, cost), cost


def _prepare(preset, directory, overwrite):
    """Returns the preset, shortened if it has a budget, and the data."""
    directory.check_name(preset)
    data = feeds.load(preset)
    earlier = None if overwrite else directory.earlier(preset)
    if earlier is None and preset.budget:
        preset, _ = estimate(preset, data)
    return earlier or preset, data
