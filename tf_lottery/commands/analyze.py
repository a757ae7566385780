"""`tf-lottery analyze`: what the papers measure, on an existing run."""

import dataclasses

from tf_lottery import experiments
from tf_lottery.commands import console as console_lib
from tf_lottery.experiments import durations
from tf_lottery.experiments.analyses import options as options_lib
from tf_lottery.experiments.analyses import session


def main(arguments):
    """Analyses a run and prints what was found."""
    options = {
        field.name: value for field in dataclasses.fields(options_lib.Options)
        if (value := getattr(arguments, field.name, None)) is not None
    }
    console = console_lib.stdout()
    console_lib.make_repeatable(arguments.threads)
    with _Shown(console) as shown:
        finding, paths = experiments.analyze(
            arguments.kind, arguments.directory, arguments.output_dir, shown,
            arguments.png, arguments.jobs, arguments.scheduler, **options,
        )
    show(console, finding)
    console.print()
    console_lib.list_written(console, paths)


def show(console, finding):
    """Prints a `tf_lottery.analysis.findings.Finding`."""
    console.print(finding.title, style="bold")
    for table in finding.tables():
        console.print(table.printed(keys=2))
        if table.caption:
            console.print(table.caption)
    console.print(finding.summary)
    for note in finding.notes:
        console.print(f"- {note}")


class _Shown(console_lib.Bar, session.Progress):
    """What it costs, a line for each training, and a bar on a terminal."""

    def __init__(self, console):
        super().__init__(console)
        self._slow = False

    def plan(self, plan):
        self._slow = plan.seconds > 1
        if plan.measured:
            self._console.print(f"measured earlier: {plan.measured} tickets")
        if plan.trainings:
            each = plan.steps // len(plan.trainings)
            self._console.print(
                f"to train: {len(plan.trainings)} networks of {each:,} steps, "
                f"at most {durations.render(plan.seconds)} by the pace of the "
                f"run; {plan.bytes / 1e6:.1f} MB are kept",
                soft_wrap=True,
            )
            self._task = self._bar.add_task("training", total=plan.epochs)
        elif self._slow:
            self._console.print(
                f"to measure: {len(plan.items)} tickets, about "
                f"{durations.render(plan.seconds)} by the pace of the run, and "
                "some seconds each to compile",
                soft_wrap=True,
            )

    def training_begin(self, training):
        self._console.print(f"training: {training}")

    def measured(self, item):
        if self._slow:
            trial, number = item
            self._console.print(f"measured: trial {trial}, round {number}")
