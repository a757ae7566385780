"""The searches: random, Hyperband, Bayesian."""

import contextlib
import io
import pathlib
from collections.abc import Callable
from typing import Any

from keras_tuner.src import config

from tf_lottery.files import locks
from tf_lottery.tuner import chief
from tf_lottery.tuner import hypermodel as hypermodel_lib
from tf_lottery.tuner import identity
from tf_lottery.tuner import library
from tf_lottery.tuner import oracles
from tf_lottery.tuner import reports
from tf_lottery.tuner import roles
from tf_lottery.tuner import spaces
from tf_lottery.tuner import worker
from tf_lottery.tuner.library import keras_tuner
from tf_lottery.utils import checks
from tf_lottery.utils import types

_ERRORS = 3


class TicketTuner(keras_tuner.Tuner):
    """What the searches of this package share; not to be used by itself.

    Args:
        kind: Class of `oracles`.
        options: Dict of its arguments.
        hypermodel: `TicketHyperModel`.
        seed: Integer, seed of the search itself.
        directory: Path. Defaults to `"runs"`.
        project_name: String, the directory in it that the search has to
            itself. Defaults to `"search"`.
        overwrite: Boolean, whether an existing search is removed.
            Defaults to `False`: it goes on, if it is the same one.
        on_trial_end: Function of a `keras_tuner` trial, called on the chief
            where there is one. Defaults to `None`.
        worker_timeout: Number of seconds after which a worker that is
            silent is taken as dead. Defaults to 60.
        chief_timeout: Number of seconds that a worker waits for a chief, and
            ten times that a chief for workers. Defaults to 60.
    """

    def __init__(
        self,
        kind: Callable[..., keras_tuner.Oracle],
        options: dict[str, Any],
        hypermodel: hypermodel_lib.TicketHyperModel,
        seed: int,
        directory: types.Path = "runs",
        project_name: str = "search",
        overwrite: bool = False,
        on_trial_end: Callable[[Any], Any] | None = None,
        worker_timeout: float = 60,
        chief_timeout: float = 60,
    ) -> None:
        checks.seed("seed", seed)
        self.role = roles.current()
        self._timeouts = worker_timeout, chief_timeout
        self._errors = 0
        oracle: Any = kind(
            is_chief=self.role.is_chief, objective=hypermodel.objective,
            # To an oracle, 0 means none.
            seed=seed + 1, **options,
        )
        oracle.listener = on_trial_end
        path = pathlib.Path(directory, project_name).absolute()
        self._lock = locks.Lock(path / "lock")
        if self.role.is_worker:
            worker.wait_for_chief(self.role.address, chief_timeout)
        elif overwrite:
            identity.clear(path, self._lock)
        description = {
            "tuner": type(self).__name__,
            "search_seed": oracle.seed,
            **hypermodel.describe(),
        }
        identity.check(path, description, self.role.is_worker)
        if not self.role.is_worker:
            self._lock.acquire()
        self._open(oracle, hypermodel, path)
        if self.role.is_worker:
            self.oracle = worker.connect(
                oracle, self.role.address, chief_timeout
            )

    def search(self, *args: Any, **kwargs: Any) -> None:
        """Runs trials, or hands them out, until there are enough.

        Args:
            *args: Passed to the `fit` of the models, such as data.
            **kwargs: Passed to the `fit` of the models; `epochs` are those of
                a round.

        Raises:
            OSError: If this is a worker and the chief does not answer.
            RuntimeError: If this is the chief and no worker asks.
            FatalError: If three trials in a row end with an error that is
                not a collapse.
        """
        try:
            if self.role.is_chief:
                self.save()
                worker_timeout, chief_timeout = self._timeouts
                chief.serve(
                    self.oracle, self.role.address, worker_timeout,
                    10 * chief_timeout,
                )
            else:
                super().search(*args, **kwargs)
        finally:
            self._lock.release()

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs one trial; see `keras_tuner.Tuner`."""
        values = trial.hyperparameters.values
        values.update({k: spaces.plain(v) for k, v in values.items()})
        with self._heartbeat(trial):
            try:
                found = super().run_trial(trial, *args, **kwargs)
            except locks.InUseError as error:
                raise keras_tuner.errors.FatalRuntimeError(
                    f"Trial {trial.trial_id} runs elsewhere: {error} Is "
                    f"KERASTUNER_TUNER_ID '{self.role.name}' given twice?"
                ) from error
            except (
                keras_tuner.errors.FailedTrialError,
                keras_tuner.errors.FatalError,
            ):
                self._errors = 0
                raise
            except Exception as error:
                self._count_error(trial, error)
                raise
        self._errors = 0
        return found

    def _try_run_and_update_trial(self, trial, *args, **kwargs):
        # keras-tuner prints the traceback of every trial that fails, even
        # where that is a result; it is also written to `trial.json`.
        debug, config.DEBUG = config.DEBUG, False
        try:
            super()._try_run_and_update_trial(trial, *args, **kwargs)
        finally:
            config.DEBUG = debug

    def report(self) -> reports.Report:
        """Returns the `tf_lottery.tuner.Report` of all trials so far."""
        return reports.read(self.project_dir)

    def _open(self, oracle, hypermodel, path):
        known = (path / "oracle.json").exists()
        own = (path / f"{self.role.name}.json").exists()
        # It says on the standard output that it reloads.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(
                oracle=oracle,
                hypermodel=hypermodel,
                directory=str(path.parent),
                project_name=path.name,
            )
            if known and not own and not self.role.is_worker:
                # So far another role has been played here.
                oracle.reload()

    def _heartbeat(self, trial):
        if not self.role.is_worker:
            return contextlib.nullcontext()
        return worker.heartbeat(
            self.oracle, trial.trial_id, self._timeouts[0] / 5
        )

    def _count_error(self, trial, error):
        self._errors += 1
        if self._errors == _ERRORS:
            raise keras_tuner.errors.FatalRuntimeError(
                f"The last {_ERRORS} trials ended with errors, so the search "
                f"was stopped. What has ended is kept. Trial "
                f"{trial.trial_id}: {type(error).__name__}: {error}"
            ) from error


class RandomSearch(TicketTuner):
    """Searches for tickets at random.

    Args:
        hypermodel: `TicketHyperModel`.
        max_trials: Integer. A search that has ended goes on with more.
            Defaults to 10.
        seed: Integer, seed of the search itself. Defaults to 0.
        **kwargs: Other arguments of `TicketTuner`.
    """

    def __init__(
        self,
        hypermodel: hypermodel_lib.TicketHyperModel,
        max_trials: int = 10,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        _check(hypermodel, ("max_trials", max_trials, 1))
        super().__init__(
            oracles.RandomOracle, {"max_trials": max_trials}, hypermodel,
            seed, **kwargs,
        )


class BayesianOptimization(TicketTuner):
    """Searches for tickets where a Gaussian process expects them.

    Args:
        hypermodel: `TicketHyperModel`.
        max_trials: Integer. A search that has ended goes on with more.
            Defaults to 10.
        num_initial_points: Integer, trials at random in the beginning.
            Defaults to `None`: three for each hyperparameter.
        seed: Integer, seed of the search itself. Defaults to 0.
        **kwargs: Other arguments of `TicketTuner`.

    Raises:
        ImportError: If scikit-learn or scipy are missing.
    """

    def __init__(
        self,
        hypermodel: hypermodel_lib.TicketHyperModel,
        max_trials: int = 10,
        num_initial_points: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        library.need_bayesian()
        _check(hypermodel, ("max_trials", max_trials, 1))
        checks.optional(
            checks.whole, "num_initial_points", num_initial_points
        )
        super().__init__(
            oracles.BayesianOracle,
            {
                "max_trials": max_trials,
                "num_initial_points": num_initial_points,
            },
            hypermodel, seed, **kwargs,
        )


class Hyperband(TicketTuner):
    """Searches for tickets by giving the better trials more.

    What Hyperband calls epochs are rounds of pruning here, or the epochs of
    each round, as `TicketHyperModel(budget=...)` says. With rounds, a trial
    that is promoted goes on after its last round, and nothing is trained
    twice; early on this favours high rates, which are sparser after the same
    number of rounds. With epochs all rounds are run, shortened, and a trial
    that is promoted is trained anew.

    Args:
        hypermodel: `TicketHyperModel`.
        max_budget: Integer, the most rounds, or epochs of a round, of a
            trial. Defaults to 10.
        max_trials: Integer, where to stop at the latest. Defaults to
            `None`: when all brackets are done.
        factor: Integer, by which the budget grows and the number of trials
            falls. Defaults to 3.
        iterations: Integer, how often all brackets are run. Defaults to 1.
        seed: Integer, seed of the search itself. Defaults to 0.
        **kwargs: Other arguments of `TicketTuner`.

    Raises:
        ValueError: If the objective is measured at a density, which trials
            of a few rounds do not reach.
    """

    def __init__(
        self,
        hypermodel: hypermodel_lib.TicketHyperModel,
        max_budget: int = 10,
        max_trials: int | None = None,
        factor: int = 3,
        iterations: int = 1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        _check(
            hypermodel, ("max_budget", max_budget, 1), ("factor", factor, 2),
            ("iterations", iterations, 1),
        )
        checks.optional(checks.whole, "max_trials", max_trials)
        if hypermodel.budget == "rounds" and hypermodel.objective.density:
            raise ValueError(
                f"Objective '{hypermodel.objective.name}' cannot be measured "
                "after a few rounds: with `Hyperband` it needs "
                "`TicketHyperModel(budget='epochs')`. Received: "
                "budget='rounds'"
            )
        super().__init__(
            oracles.HyperbandOracle,
            {
                "max_trials": max_trials, "max_epochs": max_budget,
                "factor": factor, "hyperband_iterations": iterations,
            },
            hypermodel, seed, **kwargs,
        )


def _check(hypermodel, *counts):
    checks.kind(
        "hypermodel", hypermodel, hypermodel_lib.TicketHyperModel,
        "a `tf_lottery.tuner.TicketHyperModel`",
    )
    for name, value, least in counts:
        checks.whole(name, value, least)
