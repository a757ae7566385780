"""`tf-lottery run`: find tickets by the protocol of a preset."""

import pathlib
import time

from tf_lottery import experiments
from tf_lottery.analysis import caveats
from tf_lottery.analysis import run_files
from tf_lottery.commands import console as console_lib
from tf_lottery.commands.parsers import preset as flags
from tf_lottery.experiments import budgets
from tf_lottery.experiments import durations
from tf_lottery.experiments import plans
from tf_lottery.experiments import progress
from tf_lottery.experiments import records
from tf_lottery.utils import tables
from tf_lottery.verdicts import comparisons


def main(arguments):
    """Runs a preset, or shows what it would take."""
    preset = experiments.preset(
        arguments.preset, arguments.protocol, **flags.changes(arguments)
    )
    directory = arguments.output_dir or pathlib.Path("runs", preset.name)
    console = console_lib.stdout()
    if arguments.dry_run:
        _show_plan(console, preset)
        return
    console_lib.make_repeatable(arguments.threads)
    began = time.perf_counter()
    with _Shown(console) as shown:
        found = experiments.run(
            preset, directory, shown, arguments.overwrite, arguments.jobs,
            arguments.scheduler,
        )
    console.print(found.render())
    run = run_files.read(directory)
    # What the page of the run says against its numbers.
    for caveat in caveats.of_run(run) if run.rows else ():
        console.print(f"- {caveat}")
    console.print(f"\n{time.perf_counter() - began:.0f} s. ", end="")
    console_lib.list_written(console, found.files)


def _show_plan(console, preset):
    preset, cost = experiments.estimate(preset)
    heads = "number", "steps of each", "time"
    table = tables.Table("training", numbers=heads)
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


class _Shown(console_lib.Bar, progress.Progress):
    """Progress as a line for each round, and a bar on a terminal."""

    def begin(self, preset):
        self._preset, self._variant = preset, ""
        self._console.print(
            f"{preset.name}: {preset.model} on {preset.dataset}, "
            f"rounds of pruning: {preset.rounds}, steps in each: "
            f"{preset.iterations}{_shorter(preset)}",
            soft_wrap=True,
        )
        if preset.shortened:
            self._console.print(budgets.describe(preset), soft_wrap=True)
        self._total = plans.total_epochs(preset)
        self._task = self._bar.add_task("dense", total=self._total)

    def skip(self, epochs):
        # Counting them as done would promise an end that is too early.
        self._total -= epochs
        self._bar.update(self._task, total=self._total)

    def trial_begin(self, trial):
        self._variant = ""
        self._describe("dense")

    def variant_begin(self, trial, name):
        self._variant = f"{comparisons.label(name)}, "
        self._describe(comparisons.label(name))

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
        found = ", ".join(
            f"{comparisons.label(name)} {records.percent(outcomes)} %"
            for name, outcomes in round_.controls.items()
        )
        self._console.print(
            f"{self._name(trial, round_.round)}: {found}", soft_wrap=True
        )

    def _name(self, trial, round_):
        prefix = f"trial {trial}, " if self._preset.trials > 1 else ""
        return f"{prefix}{self._variant}round {round_:2d}/{self._preset.rounds}"


def _shorter(preset):
    steps = min(preset.round_lengths) * preset.evaluate_every
    if steps == preset.iterations:
        return ""
    return f"; between the first and the last: {steps}"
