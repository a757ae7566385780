"""Searches around the presets of the papers."""

import dataclasses
from collections.abc import Mapping
from typing import Any
from typing import Literal

from tf_lottery.experiments import bench as bench_lib
from tf_lottery.experiments import feeds
from tf_lottery.experiments import presets
from tf_lottery.tuner import hypermodel as hypermodel_lib
from tf_lottery.tuner import objectives
from tf_lottery.tuner import spaces
from tf_lottery.tuner import tuners
from tf_lottery.tuner.library import keras_tuner
from tf_lottery.utils import checks
from tf_lottery.utils import types

TUNERS = ("random", "hyperband", "bayesian")
TUNABLE = (
    "rate", "rounds", "rewind_to", "criterion", "pattern", "learning_rate",
    "seed",
)
# Rounds after one that has lost so much find no candidate ticket any more.
_HOPELESS = 0.05


class PresetHyperModel(keras_tuner.HyperModel):
    """The network of a preset, trained with its own pipeline.

    The learning rate is what may be tuned, see `TicketHyperModel`.
    """

    def __init__(self, preset, learning_rate):
        self.preset = preset
        self._learning_rate = spaces.Space(
            "learning_rate", learning_rate, log=True
        )
        self._data = self._bench = None
        super().__init__()

    def build(self, hp):
        if self._data is None:
            self._data = feeds.load(self.preset)
        learning_rate = self._learning_rate.get(hp)
        base = hp.values.get(f"{spaces.PREFIX}seed", self.preset.seed)
        preset = dataclasses.replace(
            self.preset,
            learning_rate=learning_rate,
            seed=spaces.seed({"seed": base, **spaces.dense_values(hp)}),
        )
        self._bench = bench_lib.Bench(preset, self._data)
        return self._bench.model

    def fit(self, hp, model, epochs, callbacks, **kwargs):
        """Trains; `callbacks` begin with the pruning."""
        imp, *others = callbacks
        return self._bench.fit(epochs, imp, others)

    def describe(self):
        return {
            **self.preset.to_dict(),
            "learning_rate": self._learning_rate.describe(),
        }


def search(
    preset: presets.Preset,
    output_dir: types.Path,
    trials: int = 20,
    tuner: str = "random",
    objective: str | objectives.TicketObjective = "density",
    tune: Mapping[str, Any] | None = None,
    budget: Literal["rounds", "epochs"] = "rounds",
    overwrite: bool = False,
    **kwargs: Any,
) -> tuners.TicketTuner:
    """Returns the search for tickets around a preset, ready to begin.

    Args:
        preset: `tf_lottery.experiments.Preset`.
        output_dir: Path of a directory that the search has to itself. The
            same search that is there goes on.
        trials: Integer, at most so many. Defaults to 20.
        tuner: One of `TUNERS`. Defaults to `"random"`.
        objective: See `tf_lottery.tuner.objective`. Defaults to
            `"density"`.
        tune: Dict from names of `TUNABLE` to what `TicketHyperModel` takes;
            the others are the preset's. Defaults to `default_space`.
        budget: See `TicketHyperModel`, for Hyperband. Defaults to
            `"rounds"`.
        overwrite: Boolean, whether an existing search is removed.
            Defaults to `False`.
        **kwargs: Other arguments of the tuner, see
            `tf_lottery.tuner.RandomSearch`.

    Returns:
        A tuner: call its `search()`, then its `report()`.

    Raises:
        ValueError: If an argument is invalid, or the directory holds
            something else.
        DatasetUnavailableError: If the data cannot be had.
    """
    checks.kind(
        "preset", preset, presets.Preset, "a `tf_lottery.experiments.Preset`"
    )
    checks.path("output_dir", output_dir)
    checks.whole("trials", trials)
    checks.choice("tuner", tuner, TUNERS)
    checks.optional(checks.mapping, "tune", tune, "name to values")
    checks.flag("overwrite", overwrite)
    space = default_space(preset) if tune is None else tune
    for name in space:
        checks.choice("tune", name, TUNABLE)
    points = spaces.Space("rewind_to", space.get("rewind_to", 0)).values
    # The preset checks them.
    dataclasses.replace(preset, also_rewind_to=tuple(points))
    hypermodel = _hypermodel(preset, objective, space, budget)
    kwargs = {
        "directory": output_dir, "project_name": "", "overwrite": overwrite,
        "max_trials": trials, "seed": preset.seed, **kwargs,
    }
    if tuner == "random":
        return tuners.RandomSearch(hypermodel, **kwargs)
    if tuner == "bayesian":
        return tuners.BayesianOptimization(hypermodel, **kwargs)
    most = preset.rounds if budget == "rounds" else preset.epochs_per_round
    return tuners.Hyperband(hypermodel, max_budget=most, **kwargs)


def default_space(preset):
    """Returns what is tuned unless something else is asked for.

    The rate; the rewinding point, the preset's or a tenth of a round; the
    learning rate, the preset's, half and double of it.
    """
    epochs, every = preset.epochs_per_round, preset.evaluate_every
    later = f"{max(1, round(epochs / 10)) * every}it"
    points = [preset.rewind_to] + ([later] if epochs > 1 else [])
    rate = preset.learning_rate
    return {
        "rate": (0.1, 0.5),
        "rewind_to": points,
        "learning_rate": [rate / 2, rate, 2 * rate],
    }


def _hypermodel(preset, objective, space, budget):
    space = dict(space)
    inner = PresetHyperModel(
        preset, space.pop("learning_rate", preset.learning_rate)
    )
    base = preset.rate.get("*", max(preset.rate.values()))
    found = hypermodel_lib.TicketHyperModel(
        inner,
        objective,
        relative_rates={k: rate / base for k, rate in preset.rate.items()},
        epochs_per_round=preset.epochs_per_round,
        budget=budget,
        scope=preset.scope,
        collapse=preset.collapse,
        exclude=preset.exclude,
        **{
            "rate": base,
            "rounds": preset.rounds,
            "rewind_to": preset.rewind_to,
            "seed": preset.seed,
            **space,
        },
    )
    if found.objective.kind == "density":
        found.pruning["tolerance"] = _HOPELESS
    return found
