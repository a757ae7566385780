"""Iterative magnitude pruning with rewinding, inside one `fit`."""

import contextlib
import dataclasses
import sys
import time
import warnings

import keras
import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import criteria
from tf_lottery import masks as masks_lib
from tf_lottery import optimizers
from tf_lottery import pruning
from tf_lottery import results as results_lib
from tf_lottery import rounds as rounds_lib
from tf_lottery import run_directory
from tf_lottery import schedules
from tf_lottery import weights as weights_lib
from tf_lottery.callbacks import checkpoint
from tf_lottery.callbacks import round_callbacks as round_callbacks_lib
from tf_lottery.callbacks import run_record


class IterativeMagnitudePruning(keras.callbacks.Callback):
    """Finds lottery tickets: train, prune, rewind, repeat, in one `fit`.

    Round 0 is dense training. After each round the weights that the
    criterion values least are removed, the others are set back to where they
    were at the rewinding point, and training starts again from there. Masks
    are held on the model by `tf_lottery.hold`: pruned weights are exactly 0.0
    at every moment, also after `fit`.

    The epochs of all rounds are one `fit`: pass `epochs=imp.epochs`. Each
    epoch's logs name its `round`, `density` and `sparsity`. Place the
    callback first in the list, so that the others see them.

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
            itself. Defaults to `"global"`.
        criterion: See `tf_lottery.criteria.get`. Defaults to `"magnitude"`.
        pattern: Defaults to `"unstructured"`.
        exclude: Layer names or patterns that are never pruned. Defaults to
            none.
        include: Embeddings that are pruned too. Defaults to none.
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
        save_freq: How often the state of training is saved to `directory`:
            `"epoch"`, `"round"`, or an integer for every so many steps as
            well as at the end of a round. Defaults to `"epoch"`.
        data: The `tf_lottery.data.Replay` that `fit` trains on, so that it
            follows rounds, rewinding and resuming. Defaults to `None`.
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
    ):
        super().__init__()
        _check_count("rounds", rounds)
        _check_count("epochs_per_round", epochs_per_round)
        schedules.validate_rate(rate, "rate")
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
        pruning.group({}, scope)
        masks_lib.get_pattern(pattern)
        self.rate = rate
        self.rewind = rewind
        self.scope = scope
        self.criterion = criteria.get(criterion)
        self.pattern = pattern
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
        self._round_callbacks = round_callbacks_lib.RoundCallbacks(
            round_callbacks
        )
        self._plan = rounds_lib.RoundPlan(
            rounds, epochs_per_round, schedules.Point.parse(rewind_to)
        )
        self._record = run_record.RunRecord(self.monitor)
        self._interrupt = checkpoint.Interrupt()
        self._round = self._epoch = 0

    @property
    def results(self):
        """List of `tf_lottery.results.RoundResult`, one for each round."""
        return self._record.results

    @property
    def round(self):
        """Integer, the round in training."""
        return self._round

    @property
    def epoch(self):
        """Integer, the epoch in training, counted from 0 in every round."""
        return self._epoch

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

    def winning_ticket(self):
        """Returns the sparsest ticket that still matches the dense round.

        Returns:
            The `tf_lottery.Ticket` of the smallest density whose `monitor`
            is, at the end of its round, at least as good as the dense
            round's, in at most its number of steps; `None` if there is none.
        """
        return self._record.winning_ticket()

    def on_train_begin(self, logs=None):
        model = self.model
        optimizers.check_compiled(model)
        self._variables = weights_lib.prunable(
            model, self.exclude, self.include
        )
        self._rates = pruning.rates_of(
            weights_lib.inspect(model, self.exclude, self.include),
            self._variables,
            self.rate,
        )
        self._plan = dataclasses.replace(
            self._plan, steps_per_epoch=self.params.get("steps")
        )
        self._check_plan()
        self._round, self._round_over, self._done = 0, False, False
        self._held = contextlib.ExitStack()
        self._filters = None
        self._restored = self._files = self._saved = None
        if self.directory is not None:
            self._files = run_directory.RunDirectory(self.directory)
            self._files.open(
                {**self._config(), **run_record.describe(model, self._plan)}
            )
            self._held.callback(self._files.close)
            self._checkpoint = checkpoint.Checkpoint(model, self._files)
            self._restored = self._checkpoint.load()
            self._interrupt.start()
            self._held.callback(self._interrupt.stop)
        self._record = run_record.RunRecord(
            self.monitor, self._config(), self._files
        )
        masks = pruning.current_masks(self._variables)
        pruning.hold(model, masks)
        if self._restored is not None:
            self._resume(self._restored)
            return
        self._begin_round(masks)
        self._take_snapshot()

    def on_epoch_begin(self, epoch, logs=None):
        self._fit_epoch = epoch
        if self._restored is not None:
            self._restore_rest()
        elif self._is_due():
            self._save()
        if self._round_over:
            self._prune_and_rewind()
        self._steps_in_epoch = 0
        if self.data is not None:
            self.data.start(self._round, self._step + self._offset)
        self._call("on_epoch_begin", self._epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        if self._epoch_over:
            self._end_epoch()
        self._call("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._steps_in_epoch = batch + 1
        left = self._steps_left_in_epoch()
        if left is not None:
            # With `steps_per_execution` Keras counts past the end of data.
            self._steps_in_epoch = min(batch + 1, left)
        self._take_snapshot()
        stop = self._call("on_train_batch_end", batch, logs)
        self._epoch_over = stop or self._steps_in_epoch == left
        if self._files is not None:
            self._save_within_epoch()

    def on_test_begin(self, logs=None):
        self._call("on_test_begin", logs)

    def on_test_batch_begin(self, batch, logs=None):
        self._call("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        self._call("on_test_batch_end", batch, logs)

    def on_test_end(self, logs=None):
        self._call("on_test_end", logs)

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        self._loud()
        self._epoch_over = False
        self._step += self._offset + self._steps_in_epoch
        if self._plan.steps_per_epoch is None:
            self._plan = dataclasses.replace(
                self._plan, steps_per_epoch=self._steps_in_epoch
            )
        self._steps_in_epoch = self._offset = 0
        self._take_snapshot()
        density = masks_lib.density(self._masks)
        logs |= {
            "round": self._round, "density": density, "sparsity": 1 - density,
        }
        self._note_early_stop(logs)
        self._call("on_epoch_end", self._epoch, logs)
        self._epoch += 1
        stopped = self._round_callbacks.clear_stop()
        if self.verbose >= 2:
            self._check_masks()
        if stopped or self._epoch == self._plan.epochs_of(self._round):
            self._end_round(logs)

    def on_train_end(self, logs=None):
        if self._restored is not None:
            self._restore_rest()
        if not self._done and not self._round_over:
            self._round_callbacks.end(logs)
        self._loud()
        self._held.close()

    def _begin_round(self, masks, start=None):
        self._masks = masks
        self._record.begin_round(masks, start)
        self._offset = self._plan.offset(self._round)
        self._step = self._plan.first_step(self._round) - self._offset
        self._epoch, self._steps_in_epoch = 0, 0
        self._early_stop, self._epoch_over = None, False
        self._began = time.perf_counter()
        self._begin_round_callbacks()

    def _begin_round_callbacks(self):
        params = {**self.params, "epochs": self._plan.epochs_of(self._round)}
        self._round_callbacks.begin(self.model, params)

    def _end_round(self, logs):
        self._round_callbacks.end(logs)
        self.monitor.check(logs)
        if not self._is_finite(logs):
            self._keep_last_good_round()
            return
        result = results_lib.RoundResult(
            round=self._round,
            density=masks_lib.density(self._masks),
            densities=masks_lib.densities(self._masks),
            metrics={k: float(v) for k, v in logs.items() if k != "round"},
            steps=self._step,
            early_stop_step=self._early_stop and self._early_stop[1],
            seconds=time.perf_counter() - self._began,
        )
        self._record.end_round(result)
        self._say(result)
        self._check_masks()
        self._round_over = True
        if self._is_last(result):
            self._done = self.model.stop_training = True
            if self._files is not None:
                self._fit_epoch += 1
                self._save(last_logs=logs)

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

    def _loud(self):
        if self._filters is not None:
            self._filters.__exit__(None, None, None)
            self._filters = None

    def _prune_and_rewind(self):
        model, snapshot = self.model, self._record.shared_start
        if snapshot is None:
            raise ValueError(
                f"Round 0 was stopped at step {self._step}, before the "
                f"rewinding point, step {self._plan.rewind_step}. Choose an "
                "earlier `rewind_to`, or more patient `round_callbacks`."
            )
        masks = pruning.next_masks(
            self.criterion(model, self._variables),
            self._masks,
            self._rates,
            self.scope,
            self.pattern,
        )
        start = None
        if self.rewind == "weights":
            pruning.rewind(model, snapshot, masks)
        else:
            if self.rewind == "learning_rate":
                optimizers.rewind_schedule(model, snapshot)
            pruning.hold(model, masks)
            start = pruning.capture(model, snapshot.step)
        self._round, self._round_over = self._round + 1, False
        self._begin_round(masks, start)

    def _take_snapshot(self):
        """Captures the rewinding point when training stands there."""
        if self._record.shared_start or not self._plan.is_known:
            return
        now = self._now
        if now < self._plan.rewind_step:
            return
        if now > self._plan.rewind_step:
            raise ValueError(
                f"The rewinding point, step {self._plan.rewind_step}, was "
                f"passed unseen: step {now} was the first that ended after "
                "it. Choose a multiple of `steps_per_execution` for "
                "`rewind_to`, or the end of an epoch."
            )
        self._record.set_start(pruning.capture(self.model, now))

    def _keep_last_good_round(self):
        """Ends training after a round that diverged."""
        good = self._round - 1
        self._record.forget_round()
        self._done = self.model.stop_training = True
        if good >= 0:
            ticket = self._record.ticket(good)
            pruning.rewind(self.model, ticket.snapshot, ticket.masks)
        elif self._record.shared_start is not None:
            pruning.rewind(self.model, self._record.shared_start)
        kept = (
            f"The model holds the ticket of round {good}, ready to train; "
            "`results` ends with that round."
            if good >= 0
            else "No round was good."
        )
        warnings.warn(
            f"Round {self._round} diverged: its loss or weights are not "
            f"finite. Training was stopped. {kept} A smaller learning rate "
            "or gradient clipping may help.",
            stacklevel=2,
        )

    def _is_finite(self, logs):
        weights = self.model.trainable_variables
        return np.isfinite(float(logs.get("loss", 0.0))) and all(
            bool(ops.all(ops.isfinite(variable))) for variable in weights
        )

    def _is_last(self, result):
        if result.round == self._plan.rounds:
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

    def _note_early_stop(self, logs):
        loss = logs.get("val_loss")
        if loss is None:
            return
        if self._early_stop is None or loss < self._early_stop[0]:
            self._early_stop = (loss, self._step)

    def _check_plan(self):
        plan = self._plan
        if plan.steps_per_epoch is None and plan.rewind_to.fraction:
            raise ValueError(
                "Argument `rewind_to` is a fraction of a round, but the "
                "length of an epoch is not known. Pass `steps_per_epoch` to "
                "`fit`, or give `rewind_to` in steps ('500it') or epochs "
                f"('2ep'). Received: rewind_to={str(plan.rewind_to)!r}"
            )
        if plan.is_known:
            plan.check_steps_per_execution(self.model.steps_per_execution)
        epochs = self.params.get("epochs")
        if epochs is not None and epochs < plan.epochs:
            raise ValueError(
                f"`fit` was given epochs={epochs}, but {plan.rounds} rounds "
                f"of pruning need {plan.epochs}. Pass `epochs=imp.epochs`."
            )

    @property
    def _now(self):
        return self._step + self._offset + self._steps_in_epoch

    def _steps_left_in_epoch(self):
        """Steps of this epoch when it began, `None` if not known."""
        steps = self._plan.steps_per_epoch
        return None if steps is None else steps - self._offset

    def _check_masks(self):
        """Raises if a pruned weight lives: nothing may revive one."""
        for key, mask in self._masks.items():
            variable = self._variables[key]
            held = constraints.mask_of(variable)
            lost = held is None or not np.array_equal(held, mask)
            nonzero = ops.convert_to_numpy(ops.not_equal(variable, 0))
            if lost or (nonzero > mask).any():
                revived = int(np.count_nonzero(nonzero[~mask]))
                raise RuntimeError(
                    f"The mask of '{key}' no longer holds in round "
                    f"{self._round}: {revived} of {int((~mask).sum())} pruned "
                    "weights are not zero"
                    + (", and the mask was replaced. " if lost else ". ")
                    + "Something assigned weights after the last step, such "
                    "as a callback that restores older weights (pass it by "
                    "`round_callbacks`), `load_weights`, `set_weights`, or "
                    "another `compile`, `hold` or `strip` during training."
                )

    def _is_due(self):
        """Whether the state of training is to be saved before an epoch."""
        if self._files is None:
            return False
        if self._saved is None or self._round_over:
            return True
        if self.save_freq == "epoch":
            return True
        return self.save_freq != "round" and self._steps_unsaved()

    def _steps_unsaved(self):
        return (
            self._saved[0] != self._round
            or self._now - self._saved[1] >= self.save_freq
        )

    def _save_within_epoch(self):
        """Saves between batches, if asked to or if a signal came in."""
        signalled = self._interrupt.signal is not None
        if not self._epoch_over and self._steps_in_epoch != (
            self._steps_left_in_epoch()
        ):
            # Only `Replay` can go on in the middle of an epoch exactly, but
            # a whole round is too much to lose.
            asked = signalled and (self.data or self.save_freq != "epoch")
            due = isinstance(self.save_freq, int) and self._steps_unsaved()
            if asked or due:
                self._save(within_epoch=True)
        if signalled:
            self._held.close()
            self._interrupt.act()

    def _save(self, within_epoch=False, last_logs=None):
        history = getattr(self.model, "history", None)
        history = {} if history is None else dict(history.history)
        if last_logs is not None:
            # `History` comes after this callback and has not seen them.
            history = {
                key: [*history.get(key, []), value]
                for key, value in last_logs.items()
            }
        self._checkpoint.save(
            {
                "round": self._round,
                "round_over": self._round_over,
                "epoch": self._epoch,
                "fit_epoch": self._fit_epoch,
                "step": self._step,
                "offset": self._offset + self._steps_in_epoch,
                "steps_per_epoch": self._plan.steps_per_epoch,
                "early_stop": self._early_stop,
                "elapsed": time.perf_counter() - self._began,
                "snapshot": self._record.shared_start is not None,
                "results": [result.to_dict() for result in self.results],
                "history": {
                    key: [float(value) for value in values]
                    for key, values in history.items()
                },
            },
            self._round_callbacks.callbacks,
            within_epoch,
        )
        self._saved = (self._round, self._now)

    def _resume(self, position):
        """Goes on where a run that was killed was saved last."""
        self._round = position["round"]
        self._round_over = position["round_over"]
        self._epoch = position["epoch"]
        self._step, self._offset = position["step"], position["offset"]
        self._steps_in_epoch, self._epoch_over = 0, False
        self._plan = dataclasses.replace(
            self._plan, steps_per_epoch=position["steps_per_epoch"]
        )
        early_stop = position["early_stop"]
        self._early_stop = early_stop and tuple(early_stop)
        self._began = time.perf_counter() - position["elapsed"]
        self._saved = (self._round, self._now)
        self._record.load(
            [
                results_lib.RoundResult.from_dict(row)
                for row in position["results"]
            ],
            self._round + 1,
            position["snapshot"],
        )
        self._masks = self._record.masks(self._round)
        pruning.hold(self.model, self._masks)
        self._checkpoint.restore_model()
        if not self._round_over:
            self._begin_round_callbacks()
            self._checkpoint.restore_callbacks(
                self._round_callbacks.callbacks, position
            )
        self._done = self._round_over and self._is_last(self.results[-1])
        epoch = position["fit_epoch"]
        self.model._initial_epoch = (
            self.params["epochs"] if self._done else epoch
        )
        if self.verbose:
            where = (
                "is finished" if self._done
                else f"goes on in round {self._round}, step {self._now}"
            )
            sys.stdout.write(f"The run in '{self.directory}' {where}.\n")

    def _restore_rest(self):
        """Restores what Keras resets after `on_train_begin`."""
        position, self._restored = self._restored, None
        self.model._initial_epoch = None
        history = getattr(self.model, "history", None)
        if history is not None:
            history.history = position["history"]
            epochs = len(position["history"].get("loss", []))
            history.epoch = list(range(epochs))
        if self.data is not None and not self._done:
            self._checkpoint.restore_metrics(
                self.data.batch(self._round, self._now)
            )

    def _call(self, hook, *args):
        return self._round_callbacks.call(hook, *args)

    def _config(self):
        return {
            "rounds": self._plan.rounds,
            "epochs_per_round": self._plan.epochs_per_round,
            "rate": self.rate,
            "rewind": self.rewind,
            "rewind_to": self._plan.rewind_to.to_json(),
            "scope": self.scope,
            "criterion": _name_of(self.criterion),
            "pattern": _name_of(self.pattern),
            "exclude": list(self.exclude),
            "include": list(self.include),
            "target_density": self.target_density,
            "tolerance": self.tolerance,
            "monitor": self.monitor.name,
            "mode": self.monitor.mode,
            "seed": self.seed,
        }

    def _say(self, result):
        if not self.verbose:
            return
        name = self.monitor.name
        dense = self.results[0].metrics[name]
        early = ""
        if result.early_stop_step is not None:
            early = f", early stop at step {result.early_stop_step}"
        sys.stdout.write(
            f"Round {result.round}/{self._plan.rounds}: "
            f"density {result.density:.1%}, "
            f"{name} {result.metrics[name]:.4f} (dense {dense:.4f}){early}, "
            f"{result.seconds:.1f} s\n"
        )


def _name_of(value):
    if isinstance(value, str):
        return value
    name = getattr(value, "name", None) or getattr(
        value, "__qualname__", type(value).__qualname__
    )
    return str(name)


def _check_count(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least 1. "
            f"Received: {name}={value!r}"
        )
