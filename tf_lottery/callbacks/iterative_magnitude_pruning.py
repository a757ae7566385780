"""Iterative magnitude pruning with rewinding, inside one `fit`."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal

import numpy as np

from tf_lottery import criteria
from tf_lottery import data as data_lib
from tf_lottery import schedules
from tf_lottery.callbacks import planned
from tf_lottery.callbacks import pruner
from tf_lottery.callbacks import rewinding
from tf_lottery.callbacks import rounds as rounds_callback
from tf_lottery.patterns import Pattern
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules
from tf_lottery.runs import results as results_lib
from tf_lottery.runs import rounds as rounds_lib
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.weights import snapshots

Rate = Callable[[Sequence[results_lib.RoundResult]], types.Fraction]


@docs.filled
class IterativeMagnitudePruning(rounds_callback.Rounds):
    """Finds lottery tickets: train, prune, rewind, repeat, in one `fit`.

    Round 0 is dense training. After each round the weights that the
    criterion values least are removed, the others are set back to where they
    were at the rewinding point, and training starts again from there. Masks
    are held on the model by `tf_lottery.hold`: pruned weights are exactly 0.0
    at every moment, also after `fit`.

    The epochs of all rounds are one `fit`: pass `epochs=imp.epochs`. Each
    epoch's logs name its `round`, `density` and `sparsity`. Place the
    callback first in the list, so that the others see them;
    `tf_lottery.callbacks.SparsityBoard` shows them in TensorBoard.

    Args:
        rounds: Integer, the number of times to prune. Defaults to 10.
        epochs_per_round: Integer, the epochs of dense training. A later round
            trains as many steps, less those before the rewinding point. Or a
            list of integers, one for each round from 0 on. Defaults to 5.
        rate: Float in (0, 1), the fraction of the surviving weights that each
            round removes, or a dict from layer name or pattern to it, such as
            `{"*": 0.2, "logits": 0.1}`. Or a callable that is given the
            `results` so far and returns either, such as
            `tf_lottery.analysis.BarrierRate()`. Defaults to 0.2.
        rewind: `"weights"` sets weights, statistics, seeds and the whole
            optimizer back to the rewinding point; `"learning_rate"` keeps the
            weights and sets the optimizer back, with fresh slots;
            `"none"` keeps both (fine-tuning). Defaults to `"weights"`.
        middle_rounds: Float in (0, 1], the length of the rounds between the
            first and the last one, as a part of `epochs_per_round`: they
            find masks alone, and end early on the schedule of the learning
            rate. A run can have more rounds later where this is 1. Defaults
            to 1.
        rewind_to: The rewinding point: 0 for initialisation, `"500it"` for
            a step, `"2ep"` for an epoch, or a fraction of one round such as
            0.02. Defaults to 0.
        criterion: See `tf_lottery.criteria.get`. Defaults to `"magnitude"`.
        {{rule}}
        target_density: Float, stop after the first round at or below this
            density. Defaults to `None`: all rounds.
        tolerance: Float, stop after the first round whose `monitor` is worse
            than the dense round's by more than this. Defaults to `None`.
        barrier: Callable `f(model, before, trained)` that returns the error
            barrier between the weights that the round before and this one
            have trained to, such as `tf_lottery.analysis.ErrorBarrier(data)`.
            It is the metric `"barrier"` of `results`. Rounds stop when it is
            above `max_barrier`: the ticket no longer matches
            (https://arxiv.org/abs/2210.03044). Defaults to `None`.
        max_barrier: Float. Defaults to 0.005: half a point of error, about
            what chance makes of no barrier on some thousand examples.
        round_callbacks: Callable that returns a list of callbacks, made anew
            for every round, which each see their round as a `fit` of its own.
            A stop ends the round. Defaults to `None`.
        plan: Callable `f(model, ratio)` that returns a
            `tf_lottery.structured.Plan`, such as `tf_lottery.structured.plan`
            itself or a `functools.partial` of it: groups of units (channels,
            heads, widths) go instead of single weights. It is called between
            rounds with the part of the units that is to be gone then, `1 -
            (1 - rate) ** round` where all were there at first; a dict of
            rates is one by group. Arguments of the plan take the place of
            `scope`, `criterion`, `pattern`, `collapse`, `exclude` and
            `include`. All weights of a unit that goes are masked, so
            `tf_lottery.structured.compact(model)` makes the small model. A
            round that removes nothing warns. Defaults to `None`.
        monitor: String, the log by which rounds are compared. Defaults to
            `"val_accuracy"`.
        mode: `"auto"`, `"min"` or `"max"`, what is better. Defaults to
            `"auto"`.
        directory: Path of a directory for configuration, results, rewinding
            point, masks and the state of training. The same script, started
            again after it was killed, resumes from there; with more `rounds`
            a finished run continues. Defaults to `None`: nothing is written.
            Model, loss, metrics, optimizer and `data` must be those of the
            run; what differs is named.
        save_freq: How often the state of training is saved to `directory`:
            `"epoch"`, `"round"`, or an integer for every so many steps as
            well as at the end of a round. Defaults to `"epoch"`.
        data: The `tf_lottery.data.Replay` that `fit` trains on, so that it
            follows rounds, rewinding and resuming. A criterion that needs
            data, and has none of its own, looks at it, or at any other that
            `tf_lottery.prune` takes. Defaults to `None`.
        other_versions: Boolean, whether a run that other versions of Python,
            Keras or TensorFlow have begun is resumed all the same, with a
            warning. A finished one is read in any case. Defaults to `False`.
        seed: Integer, written to the provenance of tickets; it seeds nothing
            by itself (`keras.utils.set_random_seed` does). Defaults to 0.
        verbose: 0 is silent, 1 prints one line for each round, 2 also checks
            at every epoch, not only every round, that masks hold. Defaults
            to 1.

    Attributes:
        results: List of `tf_lottery.runs.results.RoundResult`, one for each
            round.

    Raises:
        ValueError: For an invalid argument at construction; when training
            begins, if the model or `fit`'s arguments do not fit the plan.

    References: Frankle and Carbin 2019, https://arxiv.org/abs/1803.03635;
    rewinding: Frankle et al. 2019, https://arxiv.org/abs/1903.01611; learning
    rate rewinding: Renda et al. 2020, https://arxiv.org/abs/2003.02389.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> imp = tfl.IterativeMagnitudePruning(
    ...     rounds=2, epochs_per_round=1, monitor="loss", verbose=0)
    >>> x = np.ones((16, 4))
    >>> _ = model.fit(x, x[:, :1], epochs=imp.epochs, callbacks=[imp],
    ...               verbose=0)
    >>> [round(result.density, 3) for result in imp.results]
    [1.0, 0.8, 0.65]

    Half of the units in three steps, and the small model:

    >>> imp = tfl.IterativeMagnitudePruning(
    ...     rounds=3, epochs_per_round=1, rate=1 - 0.5 ** (1 / 3),
    ...     rewind="none", plan=tfl.structured.plan, monitor="loss", verbose=0)
    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> _ = model.fit(x, x[:, :1], epochs=imp.epochs, callbacks=[imp],
    ...               verbose=0)
    >>> tfl.structured.compact(model).layers[0].units
    4
    """

    def __init__(
        self,
        rounds: int = 10,
        epochs_per_round: int | Sequence[int] = 5,
        rate: types.Fraction | Rate = 0.2,
        rewind: Literal["weights", "learning_rate", "none"] = "weights",
        rewind_to: str | int | float = 0,
        scope: types.Scope = "global",
        criterion: criteria.Identifier = "magnitude",
        pattern: str | Pattern = "unstructured",
        collapse: types.Collapse = "keep-one",
        exclude: types.Names = (),
        include: types.Names = (),
        target_density: float | None = None,
        tolerance: float | None = None,
        round_callbacks: types.Callbacks | None = None,
        monitor: str = "val_accuracy",
        mode: types.Mode = "auto",
        directory: types.Path | None = None,
        save_freq: int | Literal["epoch", "round"] = "epoch",
        data: types.Data | None = None,
        seed: int = 0,
        verbose: int = 1,
        other_versions: bool = False,
        middle_rounds: float = 1.0,
        barrier: Callable[..., float] | None = None,
        max_barrier: float = 0.005,
        plan: planned.Planner | None = None,
    ) -> None:
        if barrier is not None:
            checks.takes("barrier", barrier, 3, "`f(model, before, trained)`")
        lengths = rounds_lib.lengths(rounds, epochs_per_round, middle_rounds)
        if callable(rate):
            checks.takes("rate", rate, 1, "`f(results)`")
        else:
            schedules.validate_rate(rate, "rate")
        checks.choice("rewind", rewind, rewinding.REWINDING)
        checks.seed("seed", seed)
        self.rule = rules.Rule(scope, pattern, collapse, exclude, include)
        if plan is not None:
            planned.check(plan, rate, criterion, self.rule)
        self.criterion = criteria.get(criterion)
        self.criterion.check_data(data)
        self.rate = rate
        self.rewind = rewind
        self.plan = plan
        self._planned: planned.Planned | None = None
        self.target_density = target_density
        self.tolerance = tolerance
        self.data = data
        self.seed = seed
        super().__init__(
            rounds_lib.RoundPlan(lengths, schedules.Point.parse(rewind_to)),
            results_lib.StopRule(
                results_lib.Monitor(monitor, mode), rounds, target_density,
                tolerance, max_barrier,
            ),
            round_callbacks,
            directory,
            save_freq,
            _replay(data, self.criterion),
            other_versions,
            verbose,
            barrier,
        )

    def begin(self) -> None:
        if self.plan is not None:
            self._planned = planned.Planned(self.model, self.plan, self.rate)
            self.begin_rounds(self._planned)
            return
        weights = prunable.Prunable(self.model, self.rule)
        if not callable(self.rate):
            # A name of no layer is told of before training, not after it.
            weights.rates(self.rate)
        self.begin_rounds(weights)

    def next_round(
        self, masks: Mapping[str, np.ndarray], start: snapshots.Snapshot
    ) -> tuple[dict[str, np.ndarray], snapshots.Snapshot | None]:
        """Scores, removes the lowest, rewinds the others."""
        if self._planned is not None:
            fewer = self._planned.next_masks(
                masks, self.round + 1, self._record.masks(0)
            )
        else:
            fewer = self._fewer(masks, start)
        return fewer, rewinding.REWINDING[self.rewind](
            self.model, start, fewer
        )

    def _fewer(self, masks, start):
        own = getattr(self.criterion, "data", None)
        context = criteria.make_context(
            self.data if own is None else own, snapshot=start, masks=masks
        )
        scores = self.criterion(self.model, self._weights.variables, context)
        rate = self.rate
        if callable(rate):
            rate = rate(self.results)
            schedules.validate_rate(rate, "rate")
        fewer = self._weights.next_masks(
            scores, masks, self._weights.rates(rate)
        )
        self._weights.report(fewer, masks)
        return fewer

    def ticket(self, round: int) -> ticket_lib.Ticket:
        """Returns the ticket that a round trained.

        Args:
            round: Integer, the round; it must have begun.

        Returns:
            A `tf_lottery.Ticket`: the round's masks and the weights it
            started from.
        """
        return self._record.ticket(round)

    def candidate_ticket(self) -> ticket_lib.Ticket | None:
        """Returns the sparsest ticket that still matches the dense round.

        Whether it is a winning ticket is a question for several trials; its
        `verdict` says so.

        Returns:
            The `tf_lottery.Ticket` of the smallest density whose `monitor`
            is, at the end of its round, at least as good as the dense
            round's, in at most its number of steps; `None` if there is none.
        """
        return self._record.candidate_ticket()

    def protocol(self) -> dict[str, Any]:
        """Returns the arguments as a dict of plain values."""
        return {
            "rounds": self._plan.rounds,
            "epochs_per_round": self._plan.to_json(),
            "rate": _plain(self.rate),
            "rewind": self.rewind,
            "rewind_to": self._plan.rewind_to.to_json(),
            **self._selection(),
            "target_density": self.target_density,
            "tolerance": self.tolerance,
            "monitor": self.monitor.name,
            "mode": self.monitor.mode,
            "data": self._replay and self._replay.get_config(),
            "seed": self.seed,
            **({"max_barrier": self._stop.max_barrier} if self.barrier else {}),
        }

    def _selection(self):
        if self.plan is not None:
            how = {} if self._planned is None else self._planned.how
            return {"plan": planned.name_of(self.plan), **how}
        return {
            **self.rule.to_dict(),
            "criterion": pruner.name_of(self.criterion),
        }


def _plain(rate):
    if not callable(rate):
        return rate
    config = getattr(rate, "get_config", dict)()
    return {"name": pruner.name_of(rate), **config}


def _replay(data, criterion):
    """Returns data if training follows them; other data are a criterion's."""
    if data is None or isinstance(data, data_lib.Replay):
        return data
    if not criterion.needs_data:
        raise TypeError(
            "Argument `data` must be a `tf_lottery.data.Replay`; any other "
            "data is given to `fit` alone, or to a criterion that needs "
            f"data, which '{criterion.name}' does not. "
            f"Received: data={data!r} (of type {type(data)})"
        )
    return None
