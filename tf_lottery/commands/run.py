"""`tf-lottery run`: find tickets by the protocol of a preset."""

import argparse
import dataclasses
import pathlib
import time

import rich.box
import rich.console
import rich.table

from tf_lottery import comparisons
from tf_lottery import experiments
from tf_lottery.commands import bars
from tf_lottery.commands import readers
from tf_lottery.experiments import budgets
from tf_lottery.experiments import durations
from tf_lottery.experiments import plans
from tf_lottery.experiments import progress
from tf_lottery.experiments import records


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    run = commands.add_parser(
        "run",
        help="find lottery tickets by the protocol of a preset",
        description="Finds lottery tickets by the protocol of a preset and "
        "measures them against random controls.",
        argument_default=None,
    )
    run.add_argument(
        "preset",
        metavar="PRESET",
        help=f"one of {', '.join(experiments.PRESETS)}",
    )
    run.add_argument(
        "--output-dir",
        help="directory for the results; a run of the preset that was "
        "interrupted there goes on (default: runs/PRESET)",
    )
    run.add_argument(
        "--overwrite",
        action="store_true",
        default=False,
        help="replace a run of the preset that is there",
    )
    run.add_argument(
        "--dry-run",
        action="store_true",
        default=False,
        help="measure for a few seconds, show the trainings and the time "
        "they would take, write nothing",
    )
    add_preset_flags(run)
    run.set_defaults(command=_run)


def add_preset_flags(parser, but=()):
    """Adds a flag for each value of a preset.

    Args:
        parser: `argparse.ArgumentParser`.
        but: Names of the values that get none. Defaults to none.
    """
    for field in _flags(but):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_reader(field),
            metavar=field.name.split("_")[-1].upper(),
            help=field.metadata["help"],
        )


def preset_changes(arguments, but=()):
    """Returns the values of the preset's flags; `None` for those not given.

    Args:
        arguments: What the parser has read.
        but: Names of the values without a flag. Defaults to none.
    """
    return {field.name: getattr(arguments, field.name) for field in _flags(but)}


def _run(arguments):
    preset = experiments.preset(arguments.preset, **preset_changes(arguments))
    directory = arguments.output_dir or pathlib.Path("runs", preset.name)
    console = rich.console.Console(highlight=False)
    if arguments.dry_run:
        _show_plan(console, preset)
        return
    make_deterministic()
    began = time.perf_counter()
    with _Shown(console) as shown:
        found = experiments.run(
            preset, directory, shown, arguments.overwrite
        )
    console.print(found.render())
    console.print(f"\n{time.perf_counter() - began:.0f} s. Files written:")
    for path in found.files:
        console.print(f"  {path}", soft_wrap=True)


def make_deterministic():
    """Makes a run repeatable on a GPU; on a CPU it is without this."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def _show_plan(console, preset):
    """Prints what would be trained, and how long it would take."""
    preset, cost = experiments.estimate(preset)
    table = rich.table.Table(box=rich.box.SIMPLE)
    for name in ("training", "number", "steps of each", "time"):
        justify = "left" if name == "training" else "right"
        table.add_column(name, justify=justify)
    for line in plans.plan(preset):
        seconds = line.count * line.epochs * cost.epoch(preset)
        table.add_row(
            line.what,
            str(line.count),
            str(line.epochs * preset.evaluate_every),
            durations.render(seconds),
        )
    console.print(table)
    console.print(
        f"{preset.name}: about {durations.render(cost.seconds(preset))}; "
        f"a step takes {1000 * cost.step:.2f} ms, an evaluation "
        f"{1000 * cost.evaluation:.0f} ms",
        soft_wrap=True,
    )
    if preset.shortened:
        console.print(budgets.describe(preset), soft_wrap=True)


class _Shown(progress.Progress):
    """Progress as a line for each round, and a bar on a terminal."""

    def __init__(self, console):
        self._console = console
        self._bar = bars.time_left(console)

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *exception):
        self._bar.stop()

    def begin(self, preset):
        self._preset, self._variant = preset, ""
        self._console.print(
            f"{preset.name}: {preset.model} on {preset.dataset}, "
            f"rounds of pruning: {preset.rounds}, steps in each: "
            f"{preset.iterations}"
        )
        if preset.shortened:
            self._console.print(budgets.describe(preset), soft_wrap=True)
        self._total = plans.total_epochs(preset)
        self._task = self._bar.add_task("dense", total=self._total)

    def skip(self, epochs):
        # Counting them as done would promise an end that is too early.
        self._total -= epochs
        self._bar.update(self._task, total=self._total)

    def variant_begin(self, trial, name):
        self._variant = f"{comparisons.label(name)}, "
        self._describe(comparisons.label(name))

    def epoch_end(self):
        self._bar.advance(self._task)

    def round_end(self, trial, result):
        metrics = result.metrics
        self._console.print(
            f"{self._name(trial, result.round)}: density "
            f"{100 * result.density:.1f} %, val. "
            f"{100 * metrics['val_accuracy']:.1f} %, test "
            f"{100 * metrics['test_accuracy']:.1f} %, early stop "
            f"{result.early_stop_step}, {result.seconds:.1f} s",
            soft_wrap=True,
        )
        if result.round < self._preset.rounds:
            self._describe(self._name(trial, result.round + 1))
        else:
            self._describe("comparisons")

    def controls_end(self, trial, round_):
        self._variant = ""
        found = ", ".join(
            f"{comparisons.label(name)} {records.percent(outcomes)} %"
            for name, outcomes in round_.controls.items()
        )
        self._console.print(
            f"{self._name(trial, round_.round)}: {found}", soft_wrap=True
        )

    def _describe(self, text):
        self._bar.update(self._task, description=text)

    def _name(self, trial, round_):
        prefix = f"trial {trial}, " if self._preset.trials > 1 else ""
        return f"{prefix}{self._variant}round {round_:2d}/{self._preset.rounds}"


def _flags(but=()):
    """Returns the fields of a preset that have a flag."""
    return [
        field for field in dataclasses.fields(experiments.Preset)
        if "help" in field.metadata and field.name not in but
    ]


def _rate(text):
    rate = readers.rate(text)
    return rate if isinstance(rate, dict) else {"*": rate}


def _names(text):
    return tuple(name for name in text.split(",") if name)


def _points(text):
    return tuple(rewind_to(point) for point in text.split(","))


def _reader(field):
    """Returns the function that reads the value of a flag."""
    by_name = {"drops": _points, "also_rewind_to": _points, "budget": _budget}
    return by_name.get(field.name) or _READERS.get(field.type, rewind_to)


def _budget(text):
    try:
        durations.parse(text, "budget")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def rewind_to(text):
    """Reads a rewinding point: a number, or what a preset reads itself."""
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text


_READERS = {int: int, float: float, str: str, dict: _rate, tuple: _names}
