"""`tf-lottery run`: find tickets by the protocol of a preset."""

import dataclasses
import pathlib
import time

import rich.console
import rich.progress

from tf_lottery import experiments
from tf_lottery.commands import readers
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
        help="directory for the results; an earlier run of the preset in it "
        "is replaced (default: runs/PRESET)",
    )
    for field in _flags():
        run.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_READERS.get(field.type, _rewind_to),
            metavar=field.name.split("_")[-1].upper(),
            help=field.metadata["help"],
        )
    run.set_defaults(command=_run)


def _run(arguments):
    fields = [field.name for field in _flags()]
    preset = experiments.preset(
        arguments.preset, **{name: getattr(arguments, name) for name in fields}
    )
    directory = arguments.output_dir or pathlib.Path("runs", preset.name)
    console = rich.console.Console(highlight=False)
    began = time.perf_counter()
    with _Shown(console) as shown:
        found = experiments.run(preset, directory, shown)
    console.print(found.render())
    console.print(f"\n{time.perf_counter() - began:.0f} s. Files written:")
    for path in found.files:
        console.print(f"  {path}", soft_wrap=True)


class _Shown(progress.Progress):
    """Progress as a line for each round, and a bar on a terminal."""

    def __init__(self, console):
        self._console = console
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TextColumn("time left"),
            rich.progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *exception):
        self._bar.stop()

    def begin(self, preset):
        self._preset = preset
        self._console.print(
            f"{preset.name}: {preset.model} on {preset.dataset}, "
            f"rounds of pruning: {preset.rounds}, steps in each: "
            f"{preset.iterations}"
        )
        self._task = self._bar.add_task("dense", total=preset.total_epochs)

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
        elif self._preset.control_trials:
            self._describe("controls")

    def controls_end(self, trial, round_):
        found = ", ".join(
            f"{records.CONTROLS[name]} {records.percent(outcomes)} %"
            for name, outcomes in round_.controls.items()
        )
        self._console.print(
            f"{self._name(trial, round_.round)}: {found}", soft_wrap=True
        )

    def _describe(self, text):
        self._bar.update(self._task, description=text)

    def _name(self, trial, round_):
        prefix = f"trial {trial}, " if self._preset.trials > 1 else ""
        return f"{prefix}round {round_:2d}/{self._preset.rounds}"


def _flags():
    """Returns the fields of a preset that have a flag."""
    fields = dataclasses.fields(experiments.Preset)
    return [field for field in fields if "help" in field.metadata]


def _rate(text):
    rate = readers.rate(text)
    return rate if isinstance(rate, dict) else {"*": rate}


def _rewind_to(text):
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text


_READERS = {int: int, float: float, str: str, dict: _rate}
