"""`tf-lottery sweep`: search around a preset."""

import pathlib

from tf_lottery import experiments
from tf_lottery.commands import console as console_lib
from tf_lottery.commands.parsers import of_runs as parser
from tf_lottery.commands.parsers import preset as flags
from tf_lottery.tuner import reports
from tf_lottery.tuner import sweeps


def main(arguments):
    """Searches, or resumes a search."""
    changes = flags.changes(arguments, parser.UNUSED)
    preset = experiments.preset(arguments.preset, **changes)
    if arguments.tune is None:
        tune = {
            name: values
            for name, values in sweeps.default_space(preset).items()
            if changes.get(name) is None
        }
    else:
        tune = dict(arguments.tune)
    directory = arguments.output_dir or pathlib.Path(
        "runs", f"{preset.name}-sweep"
    )
    console = console_lib.stdout()
    tuner = sweeps.search(
        preset, directory, arguments.trials, arguments.tuner,
        arguments.objective, tune, arguments.hyperband_budget,
        arguments.overwrite,
        on_trial_end=lambda trial: _show(console, arguments.objective, trial),
        chief_timeout=arguments.chief_timeout,
        worker_timeout=arguments.worker_timeout,
    )
    console.print(_begin(preset, tuner, directory), soft_wrap=True)
    console_lib.make_repeatable()
    tuner.search()
    if tuner.role.is_worker:
        return
    report = tuner.report()
    console.print(report.render())
    console_lib.list_written(console, report.save(directory))


def _begin(preset, tuner, directory):
    role = tuner.role
    if role.is_worker:
        return f"{role.name}: asks {role.address} for trials"
    done = len(tuner.oracle.end_order)
    text = f"{preset.name}: {preset.model} on {preset.dataset}"
    if done:
        text += f"; resumes after {done} trials in {directory}"
    return text + (f"; workers may ask {role.address}" * role.is_chief)


def _show(console, objective, trial):
    values = reports.values_of(trial.hyperparameters.values)
    shown = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float)
        else f"{name} {value}"
        for name, value in values.items()
    )
    score = trial.status.lower()
    if trial.status == "COMPLETED":
        score = f"{objective} {trial.score:.4g}"
    console.print(
        f"trial {trial.trial_id}: {shown}: {score}", soft_wrap=True
    )
