"""Iterative magnitude pruning with rewinding, inside one `fit`."""

import contextlib
import dataclasses
import sys
import warnings

from tf_lottery import allocation
from tf_lottery import backends
from tf_lottery import collapse as collapse_lib
from tf_lottery import constraints
from tf_lottery import criteria
from tf_lottery import data as data_lib
from tf_lottery import distributions
from tf_lottery import holding
from tf_lottery import layouts
from tf_lottery import masks as masks_lib
from tf_lottery import optimizers
from tf_lottery import paths
from tf_lottery import processes
from tf_lottery import pruning
from tf_lottery import results as results_lib
from tf_lottery import rounds as rounds_lib
from tf_lottery import schedules
from tf_lottery import weights as weights_lib
from tf_lottery.callbacks import pruner
from tf_lottery.callbacks import round_callbacks as round_callbacks_lib
from tf_lottery.callbacks import run_record
from tf_lottery.callbacks import session
from tf_lottery.callbacks import watchdog


class IterativeMagnitudePruning(pruner.Pruner):
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
            trains as many steps, less those before the rewinding point.
            Defaults to 5.
        rate: Float in (0, 1), the fraction of the surviving weights that each
            round removes, or a dict from layer name or pattern to it, such as
            `{"*": 0.2, "logits": 0.1}`. Defaults to 0.2.
        rewind: `"weights"` sets weights, statistics, seeds and the whole
            optimizer back to the rewinding point; `"learning_rate"` keeps the
            weights and sets the optimizer back, with fresh slots;
            `"none"` keeps both (fine-tuning). Defaults to `"weights"`.
        rewind_to: The rewinding point: 0 for initialisation, `"500it"` for
            a step, `"2ep"` for an epoch, or a fraction of one round such as
            0.02. Defaults to 0.
        scope: `"global"` ranks all weights together, `"layer"` each weight by
            itself; also `"uniform+"`, `"er"` and `"erk"`, see
            `tf_lottery.distributions`. Defaults to `"global"`.
        criterion: See `tf_lottery.criteria.get`. Defaults to `"magnitude"`.
        pattern: What is kept or removed together: `"unstructured"`,
            `"block:1x4"`, `"2:4"` or `"channel"`, see
            `tf_lottery.patterns`. Defaults to `"unstructured"`.
        collapse: What to do where all of a layer would go, see
            `tf_lottery.prune`. Defaults to `"keep-one"`.
        exclude: Layer names or patterns that are never pruned. Defaults to
            none.
        include: Embeddings and depthwise kernels that are pruned too.
            Defaults to none.
        target_density: Float, stop after the first round at or below this
            density. Defaults to `None`: all rounds.
        tolerance: Float, stop after the first round whose `monitor` is worse
            than the dense round's by more than this. Defaults to `None`.
        round_callbacks: Callable that returns a list of callbacks, made anew
            for every round, which each see their round as a `fit` of its own.
            A stop ends the round. Defaults to `None`.
        monitor: String, the log by which rounds are compared. Defaults to
            `"val_accuracy"`.
        mode: `"auto"`, `"min"` or `"max"`, what is better. Defaults to
            `"auto"`.
        directory: Path of a directory for configuration, results, rewinding
            point, masks and the state of training. The same script, started
            again after it was killed, goes on from there; with more `rounds`
            a finished run continues. Defaults to `None`: nothing is written.
            Model, loss, metrics, optimizer and `data` must be those of the
            run; what differs is named.
        save_freq: How often the state of training is saved to `directory`:
            `"epoch"`, `"round"`, or an integer for every so many steps as
            well as at the end of a round. Defaults to `"epoch"`.
        data: The `tf_lottery.data.Replay` that `fit` trains on, so that it
            follows rounds, rewinding and resuming. Defaults to `None`.
        other_versions: Boolean, whether a run that other versions of Python,
            Keras or TensorFlow have begun is resumed all the same, with a
            warning. A finished one is read in any case. Defaults to `False`.
        seed: Integer, written to the provenance of tickets; it seeds nothing
            by itself (`keras.utils.set_random_seed` does). Defaults to 0.
        verbose: 0 is silent, 1 prints one line for each round, 2 also checks
            at every epoch, not only every round, that masks hold. Defaults
            to 1.

    Attributes:
        results: List of `tf_lottery.results.RoundResult`, one for each round.

    Raises:
        ValueError: For an invalid argument at construction; when training
            begins, if the model or `fit`'s arguments do not fit the plan.

    References: Frankle and Carbin 2019, https://arxiv.org/abs/1803.03635;
    rewinding: Frankle et al. 2019, https://arxiv.org/abs/1903.01611; learning
    rate rewinding: Renda et al. 2020, https://arxiv.org/abs/2003.02389.

    Example:

    >>> import keras, numpy as np, tf_lottery as tfl
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
    """

    def __init__(
        self,
        rounds=10,
        epochs_per_round=5,
        rate=0.2,
        rewind="weights",
        rewind_to=0,
        scope="global",
        criterion="magnitude",
        pattern="unstructured",
        collapse="keep-one",
        exclude=(),
        include=(),
        target_density=None,
        tolerance=None,
        round_callbacks=None,
        monitor="val_accuracy",
        mode="auto",
        directory=None,
        save_freq="epoch",
        data=None,
        seed=0,
        verbose=1,
        other_versions=False,
    ):
        super().__init__()
        _check_count("rounds", rounds)
        _check_count("epochs_per_round", epochs_per_round)
        schedules.validate_rate(rate, "rate")
        if data is not None and not isinstance(data, data_lib.Replay):
            raise TypeError(
                "Argument `data` must be a `tf_lottery.data.Replay`; any "
                "other data is given to `fit` alone. "
                f"Received: data={data!r} (of type {type(data)})"
            )
        if target_density is not None:
            schedules.validate_rate(target_density, "target_density")
        if tolerance is not None and not tolerance >= 0:
            raise ValueError(
                "Argument `tolerance` must be at least 0. "
                f"Received: tolerance={tolerance!r}"
            )
        if rewind not in ("weights", "learning_rate", "none"):
            raise ValueError(
                "Argument `rewind` must be 'weights', 'learning_rate' or "
                f"'none'. Received: rewind={rewind!r}"
            )
        if save_freq not in ("epoch", "round"):
            _check_count("save_freq", save_freq)
        distributions.check_scope(scope)
        masks_lib.get_pattern(pattern)
        collapse_lib.check(collapse)
        self.rate = rate
        self.rewind = rewind
        self.scope = scope
        self.criterion = criteria.get(criterion)
        self.pattern = pattern
        self.collapse = collapse
        self.exclude = exclude
        self.include = include
        self.target_density = target_density
        self.tolerance = tolerance
        self.monitor = results_lib.Monitor(monitor, mode)
        self.directory = directory
        self.save_freq = save_freq
        self.data = data
        self.seed = seed
        self.verbose = verbose
        self.other_versions = other_versions
        self._session = None
        self._round_callbacks = round_callbacks_lib.RoundCallbacks(
            round_callbacks
        )
        self._plan = rounds_lib.RoundPlan(
            rounds, epochs_per_round, schedules.Point.parse(rewind_to)
        )
        self._clock = rounds_lib.Clock(self._plan)
        self._record = run_record.RunRecord(self.monitor)

    @property
    def results(self):
        """List of `tf_lottery.results.RoundResult`, one for each round."""
        return self._record.results

    @property
    def round(self):
        """Integer, the round in training."""
        return self._clock.round

    @property
    def epoch(self):
        """Integer, the epoch in training, counted from 0 in every round."""
        return self._clock.epoch

    @property
    def step(self):
        """Integer, the training step reached, counted from initialisation.

        Rewinding sets it back.
        """
        return self._clock.now

    @property
    def epochs(self):
        """Integer, the epochs of all rounds, to pass to `fit`.

        Where the rewinding point is a number of steps, later rounds may be
        shorter; `fit` then ends earlier by itself.
        """
        return self._plan.epochs

    def ticket(self, round):
        """Returns the ticket that a round trained.

        Args:
            round: Integer, the round; it must have begun.

        Returns:
            A `tf_lottery.Ticket`: the round's masks and the weights it
            started from.
        """
        return self._record.ticket(round)

    def candidate_ticket(self):
        """Returns the sparsest ticket that still matches the dense round.

        Whether it is a winning ticket is a question for several trials; its
        `verdict` says so.

        Returns:
            The `tf_lottery.Ticket` of the smallest density whose `monitor`
            is, at the end of its round, at least as good as the dense
            round's, in at most its number of steps; `None` if there is none.
        """
        return self._record.candidate_ticket()

    def begin(self):
        model = self.model
        pruner.check_is_alone(self)
        if self.directory is not None and self.was_early:
            raise ValueError(
                f"Model '{model.name}' was built inside `fit`, after its "
                "epochs had begun, so its run could not be resumed. Give it "
                "an input shape (`keras.Input`) or call it on a batch of data "
                f"first. Received: directory={self.directory!r}"
            )
        found = weights_lib.inspect(model, self.exclude, self.include)
        self._variables = weights_lib.prunable(
            model, self.exclude, self.include
        )
        self._rates = allocation.rates_of(found, self._variables, self.rate)
        self._layouts = layouts.layouts_of(found)
        self._pattern = pruning.bind(self.pattern, model, self._variables)
        plan = dataclasses.replace(
            self._plan, steps_per_epoch=self.params.get("steps")
        )
        plan.check(self.params.get("epochs"), model.steps_per_execution)
        self._clock = rounds_lib.Clock(plan)
        self._epoch_over = False
        self._session = self._filters = None
        self._validated = False
        self._stopped_epoch = False
        self._restoring = False
        position = self._open_session(plan)
        with self._released():
            self._begin(position)

    def _begin(self, position):
        """Begins the first round, or resumes the one that was saved."""
        self._record = run_record.RunRecord(
            self.monitor,
            self._provenance(),
            None if self._session is None else self._session.files,
        )
        if not backends.is_tensorflow():
            self._write(
                "The effective density is not known under the backend "
                f"'{backends.name()}' of Keras: paths are followed through "
                "TensorFlow's graph of a model."
            )
        masks = constraints.current_masks(self._variables)
        holding.hold(self.model, masks)
        if position is not None:
            self._resume(position)
            return
        self._begin_round(masks)
        self._take_snapshot()

    def on_epoch_begin(self, epoch, logs=None):
        if self.is_early(self.on_epoch_begin, epoch):
            return
        with self._working():
            self._start_epoch(epoch, logs)
        if self._session is not None:
            self._session.meet()

    def _start_epoch(self, epoch, logs):
        if epoch != self._clock.fit_epoch:
            raise ValueError(
                f"`fit` is at epoch {epoch}, but the rounds are at epoch "
                f"{self._clock.fit_epoch}. `initial_epoch` and "
                "`BackupAndRestore` cannot be used beside rounds: pass "
                "`directory=` to save and resume a run."
            )
        if self._restoring:
            self._restore_rest()
        elif self._session is not None:
            self._session.save_before_epoch(
                self._clock, self._record, self._round_callbacks.callbacks
            )
        if self._clock.round_over:
            self._prune_and_rewind()
        self._clock.start_epoch(epoch)
        if self.data is not None:
            self.data.start(self._clock.round, self._clock.now)
        self._call("on_epoch_begin", self._clock.epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        if self.is_early(self.on_train_batch_begin, batch):
            return
        if self._epoch_over:
            self._end_epoch()
        self._call("on_train_batch_begin", batch, logs)
        if self._session is not None:
            self._session.guard("train")

    def on_train_batch_end(self, batch, logs=None):
        with self._released():
            self._end_batch(batch, logs)

    def _end_batch(self, batch, logs):
        self._clock.see_batch(batch)
        self._take_snapshot()
        stop = self._call("on_train_batch_end", batch, logs)
        self._epoch_over = stop or self._clock.epoch_is_done
        is_last = batch + 1 == self.params.get("steps")
        if self._epoch_over and not is_last and backends.name() == "torch":
            self._stop_epoch()
        if self._session is not None:
            self._session.save_within_epoch(
                self._clock, self._record, self._round_callbacks.callbacks
            )

    def on_test_begin(self, logs=None):
        self._validated = True
        self._call("on_test_begin", logs)

    def on_test_batch_begin(self, batch, logs=None):
        self._call("on_test_batch_begin", batch, logs)
        if self._session is not None:
            self._session.guard("test")

    def on_test_batch_end(self, batch, logs=None):
        self._call("on_test_batch_end", batch, logs)

    def on_test_end(self, logs=None):
        self._call("on_test_end", logs)

    def on_epoch_end(self, epoch, logs=None):
        with self._working():
            self._finish_epoch(logs)

    def _finish_epoch(self, logs):
        logs = {} if logs is None else logs
        clock, self._epoch_over = self._clock, False
        self._restore_filters()
        if self._stopped_epoch:
            self.model.stop_training = self._stopped_epoch = False
        epoch = clock.epoch
        clock.end_epoch()
        self._take_snapshot()
        density = masks_lib.density(self._masks)
        logs |= {
            "round": clock.round, "density": density, "sparsity": 1 - density,
        }
        self._record.note_epoch(logs, clock.now)
        self._call("on_epoch_end", epoch, logs)
        if clock.fit_epoch == 1:
            self._check_monitor(logs)
        stopped = self._round_callbacks.clear_stop()
        if self.verbose >= 2:
            watchdog.check_masks(self._variables, self._masks, clock.round)
        if stopped or clock.is_last_epoch:
            self._end_round(logs)

    def on_train_end(self, logs=None):
        with self._working():
            if self._restoring:
                self._restore_rest()
            if not self._clock.round_over:
                self._round_callbacks.end(logs)
            self._restore_filters()
        if self._session is not None:
            self._session.close()
            self._session.meet()

    def _working(self):
        if self._session is None:
            return contextlib.nullcontext()
        return self._session.working()

    def _released(self):
        if self._session is None:
            return contextlib.nullcontext()
        return self._session.released()

    def _check_monitor(self, logs):
        """Tells at the first epoch, not after the dense round, of a typo."""
        name = self.monitor.name
        validation_may_come = (
            name.startswith("val_")
            and name.removeprefix("val_") in logs
            and not self._validated
            and self._plan.epochs_per_round > 1
        )
        if not validation_may_come:
            self.monitor.check(logs)
        elif name not in logs:
            warnings.warn(
                f"Rounds are compared by '{name}', and the first epoch had no "
                "validation. Unless `validation_freq` is larger than 1, pass "
                "`validation_data` to `fit`, or another `monitor`: without "
                "it, training will stop with an error after the dense round.",
                stacklevel=2,
            )

    def _provenance(self):
        if self._session is None:
            return self.protocol()
        return {**self.protocol(), "run": self._session.files.run}

    def _begin_round(self, masks, start=None):
        self._masks = masks
        self._record.begin_round(masks, start)
        self._begin_round_callbacks()

    def _begin_round_callbacks(self):
        clock = self._clock
        params = {**self.params, "epochs": clock.plan.epochs_of(clock.round)}
        self._round_callbacks.begin(self.model, params)

    def _end_round(self, logs):
        clock = self._clock
        self._round_callbacks.end(logs)
        self.monitor.check(logs)
        clock.round_over = True
        if not watchdog.is_finite(self.model, logs):
            self._keep_last_good_round()
            return
        watchdog.check_masks(self._variables, self._masks, clock.round)
        result = self._record.end_round(
            logs, clock.now, _effective_density(self.model, self._masks)
        )
        self._say(result)
        if self._is_last(result):
            self.model.stop_training = True
            if self._session is not None:
                self._session.save(clock, self._record, [], last_logs=logs)

    def _prune_and_rewind(self):
        model, snapshot = self.model, self._record.shared_start
        clock = self._clock
        if snapshot is None:
            raise ValueError(
                f"Round 0 was stopped at step {clock.now}, before the "
                f"rewinding point, step {clock.plan.rewind_step}. Choose an "
                "earlier `rewind_to`, or more patient `round_callbacks`."
            )
        context = criteria.make_context(snapshot=snapshot, masks=self._masks)
        masks = pruning.next_masks(
            self.criterion(model, self._variables, context),
            self._masks,
            self._rates,
            self.scope,
            self._pattern,
            self._layouts,
            self.collapse,
        )
        collapse_lib.report(
            model, masks, self.collapse, self._masks, self._layouts
        )
        start = None
        if self.rewind == "weights":
            holding.rewind(model, snapshot, masks)
        else:
            if self.rewind == "learning_rate":
                optimizers.rewind_schedule(model, snapshot)
            holding.hold(model, masks)
            start = holding.capture(model, snapshot.step)
        clock.start_round(clock.round + 1)
        self._begin_round(masks, start)

    def _take_snapshot(self):
        """Captures the rewinding point when training stands there."""
        clock = self._clock
        if self._record.shared_start or not clock.plan.is_known:
            return
        point = clock.plan.rewind_step
        if clock.now > point:
            raise ValueError(
                f"The rewinding point, step {point}, was passed unseen: step "
                f"{clock.now} was the first that ended after it. Choose a "
                "multiple of `steps_per_execution` for `rewind_to`, or the "
                "end of an epoch."
            )
        if clock.now == point:
            self._record.set_start(holding.capture(self.model, point))

    def _end_epoch(self):
        """Ends an epoch before its data does, whatever feeds it.

        To Keras this is the end of the data, the only end of an epoch that
        leaves every kind of input ready for the next one. Its warning that
        data ran out would be wrong here.
        """
        self._filters = warnings.catch_warnings()
        self._filters.__enter__()
        warnings.filterwarnings("ignore", "Your input ran out of data")
        raise StopIteration

    def _stop_epoch(self):
        """Ends an epoch under torch, where Keras meets no end of the data.

        It stops training instead, until `on_epoch_end`.
        """
        if not self.model.stop_training:
            self.model.stop_training = self._stopped_epoch = True

    def _restore_filters(self):
        if self._filters is not None:
            self._filters.__exit__(None, None, None)
            self._filters = None

    def _keep_last_good_round(self):
        """Ends training after a round that diverged."""
        bad, good = self._clock.round, self._clock.round - 1
        self._record.forget_round()
        self.model.stop_training = True
        kept = "No round was good."
        if good >= 0:
            ticket = self._record.ticket(good)
            holding.rewind(self.model, ticket.snapshot, ticket.masks)
            kept = (
                f"The model holds the ticket of round {good}, ready to train; "
                "`results` ends with that round."
            )
        elif self._record.shared_start is not None:
            holding.rewind(self.model, self._record.shared_start)
        warnings.warn(
            f"Round {bad} diverged: its loss or weights are not finite. "
            f"Training was stopped. {kept} A smaller learning rate or "
            "gradient clipping may help.",
            stacklevel=2,
        )

    def _is_last(self, result):
        if result.round >= self._clock.plan.rounds:
            return True
        if self.target_density and result.density <= self.target_density:
            return True
        name = self.monitor.name
        return self.tolerance is not None and (
            self.monitor.worse_by(
                result.metrics[name], self.results[0].metrics[name]
            )
            > self.tolerance
        )

    def _open_session(self, plan):
        """Opens the run's directory; returns where it stands, if it does."""
        if self.directory is None:
            return None
        self._session = session.Session(
            self.directory, self.save_freq, self.data
        )
        return self._session.open(self.model, plan, self.protocol())

    def _resume(self, position):
        """Resumes where a run that was killed was saved last."""
        clock = self._clock
        self._session.resume(clock, self._record, position)
        self._masks = self._record.masks(clock.round)
        holding.hold(self.model, self._masks)
        self._session.restore_model()
        finished = clock.round_over and self._is_last(self.results[-1])
        self._session.check_versions(finished, self.other_versions)
        if not clock.round_over:
            self._begin_round_callbacks()
            self._session.restore_callbacks(self._round_callbacks.callbacks)
        self._restoring = True
        self.model._initial_epoch = (
            self.params["epochs"] if finished else clock.fit_epoch
        )
        where = "is finished" if finished else (
            f"resumes in round {clock.round}, step {clock.now}"
        )
        self._write(f"The run in '{self.directory}' {where}.")

    def _restore_rest(self):
        """Restores what Keras resets after `on_train_begin`."""
        self._restoring = False
        self.model._initial_epoch = None
        batch = None
        if self.data is not None and not self._clock.round_over:
            batch = self.data.batch(self._clock.round, self._clock.now)
        self._session.restore_history(batch)

    def _call(self, hook, *args):
        return self._round_callbacks.call(hook, *args)

    def protocol(self):
        """Returns the arguments as a dict of plain values."""
        return {
            "rounds": self._plan.rounds,
            "epochs_per_round": self._plan.epochs_per_round,
            "rate": self.rate,
            "rewind": self.rewind,
            "rewind_to": self._plan.rewind_to.to_json(),
            "scope": self.scope,
            "criterion": pruner.name_of(self.criterion),
            "pattern": masks_lib.get_pattern(self.pattern).spec,
            "collapse": self.collapse,
            "exclude": list(self.exclude),
            "include": list(self.include),
            "target_density": self.target_density,
            "tolerance": self.tolerance,
            "monitor": self.monitor.name,
            "mode": self.monitor.mode,
            "data": None if self.data is None else self.data.get_config(),
            "seed": self.seed,
        }

    def _say(self, result):
        name = self.monitor.name
        dense = self.results[0].metrics[name]
        early = effective = ""
        if result.effective_density is not None:
            effective = f" (effective {result.effective_density:.1%})"
        if result.early_stop_step is not None:
            early = f", early stop at step {result.early_stop_step}"
        self._write(
            f"Round {result.round}/{self._plan.rounds}: "
            f"density {result.density:.1%}{effective}, "
            f"{name} {result.metrics[name]:.4f} (dense {dense:.4f}){early}, "
            f"{result.seconds:.1f} s"
        )

    def _write(self, line):
        if self.verbose and processes.is_first():
            sys.stdout.write(f"{line}\n")


def _effective_density(model, masks):
    """The effective density, or `None` where no rule says how paths run."""
    try:
        return paths.effective_density(model, masks)
    except ValueError:
        return None


def _check_count(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least 1. "
            f"Received: {name}={value!r}"
        )
