"""Runs a preset: tickets, controls, report."""

import dataclasses

import keras
import numpy as np

from tf_lottery import callbacks
from tf_lottery import controls
from tf_lottery import results
from tf_lottery.experiments import datasets
from tf_lottery.experiments import models
from tf_lottery.experiments import outputs
from tf_lottery.experiments import pipeline
from tf_lottery.experiments import progress as progress_lib
from tf_lottery.experiments import records
from tf_lottery.experiments import report as report_lib


def run(preset, output_dir, progress=None):
    """Finds tickets by the protocol of a preset and measures them.

    Each trial is one `fit` with `IterativeMagnitudePruning`. After it, every
    chosen ticket's masks are trained again from random weights, and its
    weights with random masks, in the same number of steps on the same
    batches. Reference: Frankle and Carbin 2019, section 2,
    https://arxiv.org/abs/1803.03635.

    Args:
        preset: `Preset`.
        output_dir: Path of a directory for the results. An earlier run of
            the same preset in it is replaced.
        progress: `progress.Progress` that is told what happens. Defaults to
            silence.

    Returns:
        A `report.Report`.

    Raises:
        ValueError: If the directory holds anything else.
        OSError: If it cannot be written.
        RuntimeError: If another process is writing to it.
        DatasetUnavailableError: If the data cannot be had.

    Example:

    >>> import tempfile
    >>> from tf_lottery import experiments
    >>> preset = experiments.preset(
    ...     "lenet-digits", iterations=20, rounds=1, control_trials=0)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     report = experiments.run(preset, directory)
    >>> [round(row["density"], 3) for row in report.rows()]
    [1.0, 0.802]
    """
    progress = progress or progress_lib.Progress()
    directory = outputs.OutputDirectory(output_dir)
    directory.check(preset)
    data = datasets.load(preset.dataset)
    progress.begin(preset)
    with directory.create(preset):
        report = report_lib.Report(preset, [])
        for number in range(preset.trials):
            bench = _Bench(preset, data, number, progress)
            report.trials.append(bench.find_tickets(directory))
            directory.save(report)
            bench.add_controls(report, directory)
        return dataclasses.replace(report, files=directory.list())


class _Bench:
    """A model, its data and the measuring of one trial.

    One compiled model serves all rounds and all controls, so that its train
    step is traced once.
    """

    def __init__(self, preset, data, number, progress):
        self.preset, self.number, self.progress = preset, number, progress
        self.model = _compiled_model(preset, data, self._seed("weights"))
        self.batches = pipeline.Batches(
            data.x_train,
            data.y_train,
            preset.batch_size,
            preset.evaluate_every,
            self._seed("order"),
        )
        self.validation = pipeline.evaluation(data.x_val, data.y_val)
        self.test = pipeline.TestAccuracy(data.x_test, data.y_test)

    def find_tickets(self, directory):
        """Runs all rounds; returns a `Trial` without controls."""
        self.imp = self._pruning(directory.trial(self.number))
        trained = _TrainedWinner(self.imp)
        logs = self._fit(self.imp.epochs, self.imp, trained)
        directory.save_history(self.number, logs)
        winner = self.imp.winning_ticket()
        if winner is not None:
            winner.apply(self.model)
            self.model.set_weights(trained.weights)
            directory.save_winning_ticket(self.number, winner, self.model)
        rounds = [
            records.Round(
                result.round,
                result.density,
                result.effective_density,
                result.seconds,
                self._outcome(
                    [entry for entry in logs if entry["round"] == result.round]
                ),
            )
            for result in self.imp.results
        ]
        number = None if winner is None else winner.round
        return records.Trial(self.number, rounds, number)

    def add_controls(self, report, directory):
        """Trains the controls of this trial, the last of the report."""
        if not self.preset.control_trials:
            return
        trial, every = report.trials[-1], self.preset.control_every
        for index, round_ in enumerate(trial.rounds[1:], start=1):
            if index % every == 0 or index == trial.winner:
                trial.rounds[index] = self._with_controls(round_)
                directory.save(report)

    def _with_controls(self, round_):
        ticket = self.imp.ticket(round_.round)
        found = {name: [] for name in records.CONTROLS}
        for i in range(self.preset.control_trials):
            seed = self._seed("controls", round_.round, i)
            for control in (
                controls.random_reinitialize(ticket, self.model, seed),
                controls.random_masks(ticket, seed),
            ):
                name = control.provenance["control"]
                found[name].append(self._train(control))
        round_ = dataclasses.replace(round_, controls=found)
        self.progress.controls_end(self.number, round_)
        return round_

    def _train(self, ticket):
        ticket.apply(self.model)
        steps = self.preset.iterations - ticket.snapshot.step
        return self._outcome(self._fit(steps // self.preset.evaluate_every))

    def _fit(self, epochs, imp=None, trained=None):
        """Trains; returns the logs of each epoch."""
        # The test set is measured before the model is rewound, the batches
        # are chosen after it.
        history = self.model.fit(
            self.batches.dataset,
            steps_per_epoch=self.batches.steps,
            validation_data=self.validation,
            epochs=epochs,
            callbacks=[
                self.test,
                *([imp, trained] if imp else []),
                self.batches,
                progress_lib.Watch(self.progress, self.number, imp),
            ],
            shuffle=False,
            verbose=0,
        ).history
        return [
            dict(zip(history, values)) for values in zip(*history.values())
        ]

    def _outcome(self, logs):
        return records.Outcome.of(
            logs, self.preset.iterations, self.preset.evaluate_every
        )

    def _pruning(self, directory):
        preset = self.preset
        return callbacks.IterativeMagnitudePruning(
            rounds=preset.rounds,
            epochs_per_round=preset.epochs_per_round,
            rate=preset.rate,
            rewind_to=preset.rewind_to,
            scope=preset.scope,
            directory=directory,
            # Evaluations come too often to save the state at each of them.
            save_freq="round",
            seed=preset.seed,
            verbose=0,
        )

    def _seed(self, purpose, *numbers):
        purpose = ("weights", "order", "controls").index(purpose)
        entropy = (self.preset.seed, self.number, purpose, *numbers)
        # Keras takes seeds below 2 ** 31.
        return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)


class _TrainedWinner(keras.callbacks.Callback):
    """Keeps the weights that the winning ticket so far has trained to."""

    def __init__(self, imp):
        super().__init__()
        self._imp = imp
        self._seen = 0
        self.weights = None

    def on_epoch_end(self, epoch, logs=None):
        found = self._imp.results
        if len(found) == self._seen:
            return
        self._seen = len(found)
        # A later winner is a sparser one.
        if results.winner(found, self._imp.monitor) is found[-1]:
            self.weights = self.model.get_weights()


def _compiled_model(preset, data, seed):
    model = models.get(preset.model)(data.image_shape, data.classes, seed)
    model.compile(
        optimizer=keras.optimizers.get(
            {
                "class_name": preset.optimizer,
                "config": {"learning_rate": preset.learning_rate},
            }
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=preset.steps_per_execution,
    )
    return model
