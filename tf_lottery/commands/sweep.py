"""`tf-lottery sweep`: search around a preset."""

import argparse
import pathlib

import rich.console

from tf_lottery import experiments
from tf_lottery.commands import readers
from tf_lottery.commands import run

# What of a preset a search has no use for: it trains tickets alone.
_UNUSED = {
    "trials", "compare", "control_trials", "control_every", "also_rewind_to",
    "budget", "save_freq",
}
_OBJECTIVES = (
    "'density', the smallest of a winning ticket; 'accuracy@0.1', at that "
    "density; 'bytes@0.97' or 'latency@0.97', of the exported file with that "
    "accuracy"
)
_TUNABLE = (
    "rate", "rounds", "rewind_to", "criterion", "pattern", "learning_rate",
    "seed",
)


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "sweep",
        help="search for the best way to prune a preset's network",
        description="Searches with keras-tuner. With KERASTUNER_TUNER_ID, "
        "KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT set, and a "
        "directory that all machines share, it is the chief or a worker of a "
        "search on several machines.",
    )
    parser.add_argument(
        "preset",
        metavar="PRESET",
        help=f"one of {', '.join(experiments.PRESETS)}",
    )
    parser.add_argument(
        "--trials", type=int, default=20, metavar="N",
        help="at most so many trials (default: 20)",
    )
    parser.add_argument(
        "--tuner", default="random", metavar="NAME",
        help="random, hyperband or bayesian (default: random)",
    )
    parser.add_argument(
        "--objective", default="density", metavar="NAME",
        help=f"{_OBJECTIVES} (default: density)",
    )
    parser.add_argument(
        "--tune", action="append", type=_tunable, metavar="NAME=VALUES",
        help=f"what to tune, of {', '.join(_TUNABLE)}: values as "
        "'rate=0.1:0.5' or 'criterion=magnitude,lamp'; may be repeated "
        "(default: rate, rewinding point and learning rate, but for those "
        "that a flag fixes)",
    )
    parser.add_argument(
        "--hyperband-budget", default="rounds", metavar="WHAT",
        help="what hyperband gives good trials more of: rounds, or epochs of "
        "each round (default: rounds)",
    )
    parser.add_argument(
        "--output-dir", metavar="DIR",
        help="directory for the results; the same search that is there goes "
        "on (default: runs/PRESET-sweep)",
    )
    parser.add_argument(
        "--overwrite", action="store_true",
        help="replace a search that is there",
    )
    parser.add_argument(
        "--chief-timeout", type=float, default=60, metavar="SECONDS",
        help="how long a worker waits for the chief; the chief waits ten "
        "times as long for workers (default: 60)",
    )
    parser.add_argument(
        "--worker-timeout", type=float, default=60, metavar="SECONDS",
        help="after how long a silent worker is taken as dead, and its trial "
        "given to another (default: 60)",
    )
    run.add_preset_flags(parser, _UNUSED)
    parser.set_defaults(command=_sweep)


def _sweep(arguments):
    changes = run.preset_changes(arguments, _UNUSED)
    preset = experiments.preset(arguments.preset, **changes)
    # So that `--help` and the other commands need not wait for keras-tuner.
    from tf_lottery.tuner import sweeps

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
    console = rich.console.Console(highlight=False)
    tuner = sweeps.search(
        preset, directory, arguments.trials, arguments.tuner,
        arguments.objective, tune, arguments.hyperband_budget,
        arguments.overwrite,
        on_trial_end=lambda trial: _show(console, arguments.objective, trial),
        chief_timeout=arguments.chief_timeout,
        worker_timeout=arguments.worker_timeout,
    )
    console.print(_begin(preset, tuner, directory), soft_wrap=True)
    run.make_deterministic()
    tuner.search()
    if tuner.role.is_worker:
        return
    report = tuner.report()
    console.print(report.render())
    console.print("Files written:")
    for path in report.save(directory):
        console.print(f"  {path}", soft_wrap=True)


def _begin(preset, tuner, directory):
    role = tuner.role
    if role.is_worker:
        return f"{role.name}: asks {role.address} for trials"
    done = len(tuner.oracle.end_order)
    text = f"{preset.name}: {preset.model} on {preset.dataset}"
    if done:
        text += f"; goes on after {done} trials in {directory}"
    return text + (f"; workers may ask {role.address}" * role.is_chief)


def _show(console, objective, trial):
    from tf_lottery.tuner import reports

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


def _tunable(text):
    """Reads `rate=0.1:0.5` or `criterion=magnitude,lamp`."""
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in _TUNABLE or not equals or not values:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(_TUNABLE)} with values, such as "
            "rate=0.1:0.5 or criterion=magnitude,lamp"
        )
    if name == "pattern" or ":" not in values:
        return name, [_value(name, part) for part in values.split(",")]
    return name, tuple(readers.number(part) for part in values.split(":"))


def _value(name, text):
    if name in ("criterion", "pattern"):
        return text
    if name == "rewind_to":
        return run.rewind_to(text)
    return readers.number(text)
