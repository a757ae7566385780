"""One trial of a search."""

import contextlib
import time
import warnings

from tf_lottery import callbacks as callbacks_lib
from tf_lottery import data as data_lib
from tf_lottery import files
from tf_lottery import paths
from tf_lottery.patterns import selection
from tf_lottery.runs import branches
from tf_lottery.tuner import chosen as chosen_lib
from tf_lottery.tuner import dense
from tf_lottery.tuner import objectives
from tf_lottery.tuner import outcomes
from tf_lottery.tuner import spaces
from tf_lottery.tuner.library import keras_tuner
from tf_lottery.utils import configurations

FailedTrialError = keras_tuner.errors.FailedTrialError
FatalValueError = keras_tuner.errors.FatalValueError


class TicketTrial:
    """Finds the tickets of one trial, and measures its objective."""

    def __init__(self, hypermodel, hp, model, callbacks, epochs):
        self._hypermodel, self._hp, self._model = hypermodel, hp, model
        self._objective = hypermodel.objective
        self._place, self._callbacks = outcomes.find(callbacks)
        self._values = hypermodel.read(hp)
        self._rounds, self._epochs = _budget(hypermodel, hp, epochs)
        if hypermodel.budget == "epochs" and (
            self._place and self._place.is_pretrained
        ):
            raise FatalValueError(
                "`keras_tuner.Hyperband` starts a promoted trial from trained "
                "weights, which are no initialisation. Use "
                "`tf_lottery.tuner.Hyperband`, or budget='rounds'. Received: "
                "budget='epochs'"
            )
        self._began = time.perf_counter()
        self._trained = 0.0
        self._shared = False

    def run(self, args, kwargs):
        self._imp = self._pruning(args, kwargs)
        try:
            self._find_tickets(args, kwargs)
            return self._measure()
        except FailedTrialError as error:
            self._save(failure=str(error))
            raise

    def _find_tickets(self, args, kwargs):
        imp, place = self._imp, self._place
        self._keep = chosen_lib.KeepChosen(
            imp, self._objective, place and place.chosen
        )
        callbacks = [imp, self._keep, *self._sharing(), *self._callbacks]
        # Arrays are shuffled as in any other process that resumes from here.
        self._hypermodel.set_seed(self._hp)
        began = time.perf_counter()
        with _collapse_fails():
            self._hypermodel.hypermodel.fit(
                self._hp, self._model, *args, epochs=imp.epochs,
                callbacks=callbacks, **kwargs,
            )
        self._trained = time.perf_counter() - began
        found = imp.results
        if not found or found[-1].round != imp.round:
            raise FailedTrialError(
                f"Round {imp.round} diverged: its loss or weights are not "
                "finite."
            )
        for result in found:
            if result.effective_density == 0:
                raise FailedTrialError(self._why_dead(result.round))

    def _sharing(self):
        """Returns callbacks; takes over what other trials have trained."""
        if self._place is None:
            return []
        run, values = self._place.run, self._hp.values
        if "tuner/trial_id" in values and self._hypermodel.budget == "rounds":
            self._place.go_on_from(values["tuner/trial_id"])
            self._shared = True
            return []
        shared = dense.DenseRounds(
            self._place.project / "dense",
            self._hypermodel.spaces["rewind_to"].values,
            self._epochs,
        )
        key = configurations.digest({
            "seed": self._values["seed"],
            "epochs": self._epochs,
            **spaces.dense_values(self._hp),
        })
        self._shared = shared.begin(key, run, self._values["rewind_to"])
        if self._shared:
            # Where no later round is better, the dense one is chosen.
            files.write_arrays(
                self._place.chosen, branches.dense_weights(run), {"round": 0}
            )
        return shared.callbacks(key, run, self._imp)

    def _measure(self):
        found, objective = self._imp.results, self._objective
        chosen = objective.choose(found)
        if chosen is None:
            raise FailedTrialError(objective.explain(found))
        self._keep.restore(self._model, chosen.round)
        exported = None
        if objective.is_exported:
            exported = objectives.measure(
                self._model, objective.kind, self._hypermodel.export
            )
        score = _score(objective, chosen, exported)
        if self._place is not None and self._place.checkpoint:
            self._keep.save_weights(self._model, self._place.checkpoint)
        self._save(chosen=chosen.round, score=score, exported=exported)
        return {
            **chosen.metrics, "density": chosen.density,
            objective.name: score,
        }

    def _save(self, **found):
        if self._place is None:
            return
        outcomes.Outcome(
            dict(self._hp.values),
            outcomes.of_rounds(self._imp.results),
            shared=self._shared,
            seconds=time.perf_counter() - self._began,
            trained=self._trained,
            **found,
        ).save(self._place.path)

    def _why_dead(self, round):
        masks = self._imp.ticket(round).masks
        empty = paths.collapsed(masks)
        reason = (
            f"Nothing is left of {', '.join(map(repr, empty))}." if empty
            else paths.why_dead(self._model, masks)
        )
        return f"The ticket collapsed in round {round}. {reason}"

    def _pruning(self, args, kwargs):
        values, hypermodel = self._values, self._hypermodel
        rate = values["rate"]
        if hypermodel.relative_rates:
            rate = {
                layer: rate * part
                for layer, part in hypermodel.relative_rates.items()
            }
        x = args[0] if args else kwargs.get("x")
        monitor = self._objective.monitor
        own = ("rewind_to", "criterion", "pattern", "seed")
        return callbacks_lib.IterativeMagnitudePruning(**{
            **{name: values[name] for name in own},
            "target_density": self._objective.density,
            "data": x if isinstance(x, data_lib.Replay) else None,
            "save_freq": "round",
            "verbose": 0,
            "rounds": self._rounds,
            "epochs_per_round": self._epochs,
            "rate": rate,
            "monitor": monitor.name,
            "mode": monitor.mode,
            "directory": self._place and self._place.run,
            **hypermodel.pruning,
        })


def _budget(hypermodel, hp, epochs):
    rounds = hypermodel.spaces["rounds"].get(hp)
    given = hypermodel.epochs_per_round
    if "tuner/epochs" not in hp.values:
        epochs = given or epochs
    elif hypermodel.budget == "rounds":
        rounds, epochs = hp.values["tuner/epochs"], given
    if epochs is None:
        raise FatalValueError(
            "The epochs of a round are not known. Pass `epochs` to `search`, "
            "or `epochs_per_round` to `TicketHyperModel`, as `Hyperband` "
            "with a budget of rounds needs it."
        )
    return int(rounds), int(epochs)


def _score(objective, chosen, exported):
    if objective.kind == "density":
        return chosen.density
    if objective.kind == "accuracy":
        return chosen.metrics[objective.monitor.name]
    return exported[objective.kind]


@contextlib.contextmanager
def _collapse_fails():
    with warnings.catch_warnings():
        # It is said in the error instead.
        warnings.filterwarnings("ignore", r"Round \d+ diverged")
        try:
            yield
        except selection.SelectionError as error:
            raise FailedTrialError(f"The ticket collapsed: {error}") from error
