"""Changes: what makes a preset another experiment than its paper's."""

from typing import Any

from tf_lottery.analysis import published as published_lib
from tf_lottery.experiments import budgets
from tf_lottery.experiments import catalogue
from tf_lottery.experiments import presets

# How much is run of an experiment, and how it is looked at.
_AMOUNTS = (
    "summary", "iterations", "evaluate_every", "batch_size", "rounds",
    "trials", "seed", "compare", "control_trials", "control_every",
    "also_rewind_to", "test_densities", "margin", "save_freq", "compact",
    "budget",
)


def of(preset: presets.Preset) -> dict[str, Any]:
    """Returns what makes it another experiment, by name: before and after.

    How much is run of it, or what a budget has shortened, does not.
    """
    known = catalogue.PRESETS.get(preset.name, preset).to_dict()
    own = budgets.original(preset).to_dict()
    return {
        name: [known[name], own[name]] for name in known
        if name not in _AMOUNTS and known[name] != own[name]
    }


def headline(preset: presets.Preset) -> str:
    """Returns the summary, or what makes it another experiment."""
    changed = of(preset)
    if not changed:
        return preset.summary
    changes = ", ".join(
        f"{name} {after} instead of {before}"
        for name, (before, after) in changed.items()
    )
    return f"Changed from {preset.name}: {changes}."


def config(preset: presets.Preset) -> dict[str, Any]:
    """Returns `to_dict` with what a reader has to know besides."""
    changed = of(preset)
    if not changed:
        return preset.to_dict()
    return preset.to_dict() | {
        "summary": headline(preset), "changed": changed,
    }


def published(preset: presets.Preset) -> dict[str, Any]:
    """Returns what the paper reports of what is changed in its length alone."""
    return published_lib.of(config(preset))
