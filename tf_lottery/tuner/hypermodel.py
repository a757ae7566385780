"""Lottery tickets as a search space of keras-tuner."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Literal

import keras

from tf_lottery import criteria
from tf_lottery import masks as masks_lib
from tf_lottery import schedules
from tf_lottery.tuner import objectives
from tf_lottery.tuner import spaces
from tf_lottery.tuner import trials
from tf_lottery.tuner.library import keras_tuner
from tf_lottery.utils import checks
from tf_lottery.utils import types

BUDGETS = ("rounds", "epochs")
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "rate": lambda value: schedules.validate_rate(value, "rate"),
    "rewind_to": lambda value: schedules.Point.parse(value, "rewind_to"),
    "criterion": criteria.get,
    "pattern": masks_lib.get_pattern,
    "rounds": lambda value: checks.whole("rounds", value),
    "seed": lambda value: checks.seed("seed", value),
    "learning_rate": lambda value: checks.positive("learning_rate", value),
}


class TicketHyperModel(keras_tuner.HyperModel):
    """Searches for lottery tickets: a model, and how it is pruned.

    Each trial is one `fit` with `tf_lottery.IterativeMagnitudePruning`. The
    arguments below that are said to be tunable take one value; a list, to
    choose from; a dict from name to value, to choose from what has no name of
    its own, such as a criterion with data; or a tuple of two numbers, a range.

    A trial that collapses fails, and the search goes on: scores or a loss
    that are not finite, a layer that would lose everything, a ticket without
    a path from input to output.

    Trials that differ only in what happens after the dense round share it:
    the first one trains it, the others resume from there, with the same bits.
    All seeds of a trial follow from `seed` and the hyperparameters that the
    dense round depends on. Use it with the tuners of this package
    (`RandomSearch`, `Hyperband`, `BayesianOptimization`), or with those of
    keras-tuner.

    Args:
        hypermodel: `keras_tuner.HyperModel`, or a function that takes
            hyperparameters and returns a compiled `keras.Model`. Its `fit`
            is called with `epochs` and `callbacks`, whose first one is the
            pruning.
        objective: See `tf_lottery.tuner.objective`. Defaults to
            `"density"`.
        rate: The fraction of the surviving weights that a round removes.
            Tunable. Defaults to `(0.1, 0.5)`.
        rounds: Integer, the number of times to prune. Tunable. Defaults to
            10.
        rewind_to: The rewinding point; a range is not possible. Tunable.
            Defaults to 0.
        criterion: See `tf_lottery.criteria.get`. Tunable. Defaults to
            `"magnitude"`.
        pattern: See `tf_lottery.patterns`. Tunable. Defaults to
            `"unstructured"`.
        learning_rate: Float; a range is sampled on a logarithmic scale.
            Tunable. Defaults to `None`, the one that the model has.
        seed: Integer. Tunable, to repeat trials. Defaults to 0.
        relative_rates: Dict from layer name or pattern to the multiple of
            `rate` there, such as `{"*": 1, "logits": 0.5}`. Defaults to the
            same rate everywhere.
        epochs_per_round: Integer. Defaults to `None`: the `epochs` that
            `search` is given.
        budget: What `Hyperband` gives a trial more and more of: `"rounds"`,
            and a promoted trial resumes where it stopped; or `"epochs"`, of
            each round, and it starts anew. Defaults to `"rounds"`.
        monitor: String, the log by which rounds are compared. Defaults to
            `"val_accuracy"`.
        mode: `"auto"`, `"min"` or `"max"`, what is better. Defaults to
            `"auto"`.
        export: Dict of arguments of `tf_lottery.export.tflite` for the
            objectives about files. Defaults to
            `{"target": "flash"}`, for a latency `{"target": "auto"}`.
        **pruning: Other arguments of `IterativeMagnitudePruning`, such as
            `scope`, `exclude`, `rewind` or `tolerance`.

    Attributes:
        objective: `keras_tuner.Objective` to pass to a tuner.

    Raises:
        ValueError: If a value is invalid; the message names those that are
            valid.

    Example:

    >>> import keras_tuner
    >>> def build(hp):
    ...     model = keras.Sequential([
    ...         keras.Input((4,)),
    ...         keras.layers.Dense(hp.Choice("units", [8, 16]), "relu"),
    ...         keras.layers.Dense(1)])
    ...     model.compile("adam", "mse")
    ...     return model
    >>> hypermodel = tfl.tuner.TicketHyperModel(
    ...     build, "accuracy@0.5", rate=[0.3, 0.5], rounds=2, monitor="loss")
    >>> hp = keras_tuner.HyperParameters()
    >>> model = hypermodel.build(hp)
    >>> hp.values
    {'ticket/rate': 0.3, 'units': 8}
    >>> x = np.ones((16, 4))
    >>> found = hypermodel.fit(hp, model, x, x[:, :1], epochs=1, verbose=0)
    >>> round(found["density"], 2)
    0.5
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Callable[..., Any],
        objective: str | objectives.TicketObjective = "density",
        rate: Any = (0.1, 0.5),
        rounds: Any = 10,
        rewind_to: Any = 0,
        criterion: Any = "magnitude",
        pattern: Any = "unstructured",
        learning_rate: Any = None,
        seed: Any = 0,
        relative_rates: Mapping[str, float] | None = None,
        epochs_per_round: int | None = None,
        budget: Literal["rounds", "epochs"] = "rounds",
        monitor: str = "val_accuracy",
        mode: types.Mode = "auto",
        export: Mapping[str, Any] | None = None,
        **pruning: Any,
    ) -> None:
        self.hypermodel = _hypermodel(hypermodel)
        self.objective = objectives.get(objective, monitor, mode)
        given = {
            "rate": rate, "rounds": rounds, "rewind_to": rewind_to,
            "criterion": criterion, "pattern": pattern,
            "learning_rate": learning_rate, "seed": seed,
        }
        self.spaces = {
            name: spaces.Space(name, values, log=name == "learning_rate")
            for name, values in given.items()
        }
        self.relative_rates = relative_rates
        self.epochs_per_round = epochs_per_round
        self.budget = budget
        self.export = export
        self.pruning = pruning
        self._check()
        super().__init__()

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Returns the compiled model of a trial; see `keras_tuner`.

        Args:
            hp: `keras_tuner.HyperParameters`.
        """
        values = self.read(hp)
        self.set_seed(hp)
        model = self.hypermodel.build(hp)
        if values["learning_rate"] is not None:
            _set_learning_rate(model, values["learning_rate"])
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *args: Any,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        epochs: int | None = None,
        initial_epoch: int = 0,
        **kwargs: Any,
    ) -> dict[str, float]:
        """Finds tickets, and measures the objective.

        Args:
            hp: `keras_tuner.HyperParameters`.
            model: What `build` returned.
            *args: Passed to the `fit` of the model.
            callbacks: List of callbacks, which see all rounds as one fit.
            epochs: Integer, the epochs of a round.
            initial_epoch: Ignored; `Hyperband` passes it.
            **kwargs: Passed to the `fit` of the model.

        Returns:
            Dict of floats: the objective, and the metrics of the round that
            it is about.

        Raises:
            FailedTrialError: If the ticket collapsed, or the objective
                cannot be measured.
        """
        trial = trials.TicketTrial(self, hp, model, callbacks, epochs)
        return trial.run(args, kwargs)

    def read(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        """Returns the values of a trial by name; `hp` gets to know them."""
        return {name: space.get(hp) for name, space in self.spaces.items()}

    def set_seed(self, hp: keras_tuner.HyperParameters) -> None:
        """Seeds everything random as the trial's hyperparameters ask."""
        base = self.spaces["seed"].get(hp)
        keras.utils.set_random_seed(
            spaces.seed({"seed": base, **spaces.dense_values(hp)})
        )

    def describe(self) -> dict[str, Any]:
        """Returns what is searched as a dict of plain values."""
        inner = self.hypermodel
        describe = getattr(inner, "describe", None)
        return {
            "hypermodel": describe() if describe else _name_of(inner),
            **self.objective.describe(),
            **{name: s.describe() for name, s in self.spaces.items()},
            "relative_rates": self.relative_rates,
            "epochs_per_round": self.epochs_per_round,
            "budget": self.budget,
            **{name: str(value) for name, value in self.pruning.items()},
        }

    def _check(self):
        for name, space in self.spaces.items():
            for value in space.values:
                # A learning rate alone may be left to the model.
                if value is not None or name != "learning_rate" or (
                    not space.is_fixed
                ):
                    _CHECKS[name](value)
        if self.relative_rates is not None:
            checks.mapping(
                "relative_rates", self.relative_rates, "layer name to number"
            )
            for value in self.relative_rates.values():
                checks.not_negative("relative_rates", value)
        checks.optional(
            checks.whole, "epochs_per_round", self.epochs_per_round
        )
        checks.choice("budget", self.budget, BUDGETS)
        checks.optional(
            checks.mapping, "export", self.export, "name to value"
        )


def _hypermodel(given):
    if isinstance(given, keras_tuner.HyperModel):
        return given
    if not callable(given):
        raise TypeError(
            "Argument `hypermodel` must be a `keras_tuner.HyperModel` or a "
            "function that takes hyperparameters and returns a compiled "
            f"model. Received: {given!r} (of type {type(given)})"
        )
    found = keras_tuner.HyperModel()
    found.build = given
    return found


def _name_of(hypermodel):
    """The name in the code of what builds the models."""
    if type(hypermodel) is keras_tuner.HyperModel:
        hypermodel = hypermodel.build
    kind = hypermodel if callable(hypermodel) else type(hypermodel)
    return getattr(kind, "__qualname__", type(kind).__qualname__)


def _set_learning_rate(model, value):
    optimizer = model.optimizer
    schedule = keras.optimizers.schedules.LearningRateSchedule
    if isinstance(getattr(optimizer, "_learning_rate", None), schedule):
        raise keras_tuner.errors.FatalValueError(
            "`learning_rate` cannot be tuned: the optimizer of the model has "
            f"a schedule, {optimizer.get_config()['learning_rate']}. Make it "
            "a hyperparameter in `build`."
        )
    optimizer.learning_rate = value
