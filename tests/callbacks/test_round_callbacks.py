"""Keras' own callbacks, given for every round and beside the rounds."""

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss

callbacks = keras.callbacks


def train(data, round_callbacks=None, beside=(), rounds=2, epochs=3):
    keras.utils.set_random_seed(0)
    model = conftest.functional()
    model.compile("adam", loss(), metrics=["accuracy"])
    imp = tfl.IterativeMagnitudePruning(
        rounds=rounds, epochs_per_round=epochs, rate=0.5, verbose=0,
        monitor="val_loss", round_callbacks=round_callbacks,
    )
    ends = conftest.BatchEnds()
    history = model.fit(
        *data, validation_data=data, batch_size=16, epochs=imp.epochs,
        callbacks=[imp, *beside, ends], verbose=0,
    )
    assert ends.revived == 0 and ends.seen > 0
    variables = tfl.weights.variables(model)
    for key, mask in tfl.masks_of(model).items():
        assert not variables[key].numpy()[~mask].any()
    return imp, history.history, model


@pytest.mark.slow
def test_early_stopping_restores_weights_of_its_own_round(data):
    seen = []

    def make():
        seen.append(
            callbacks.EarlyStopping(
                monitor="val_loss", patience=0, min_delta=10.0,
                restore_best_weights=True,
            )
        )
        return seen[-1:]

    imp, history, _ = train(data, make)
    assert history["round"] == [0, 0, 1, 1, 2, 2]
    assert [r.steps for r in imp.results] == [12, 12, 12]
    assert len(seen) == 3 and all(c.stopped_epoch == 1 for c in seen)


@pytest.mark.slow
def test_reduce_on_plateau_starts_each_round_at_the_first_rate(data):
    def make():
        return [
            callbacks.ReduceLROnPlateau(
                monitor="val_loss", patience=0, factor=0.1, min_delta=10.0
            )
        ]

    _, history, model = train(data, make)
    rates = np.reshape(history["learning_rate"], (3, 3))
    np.testing.assert_allclose(rates, [[1e-3, 1e-3, 1e-4]] * 3)


@pytest.mark.slow
def test_learning_rate_scheduler_counts_epochs_from_0(data):
    epochs = []

    def schedule(epoch, rate):
        epochs.append(epoch)
        return 0.01 / (epoch + 1)

    _, history, _ = train(
        data, lambda: [callbacks.LearningRateScheduler(schedule)]
    )
    assert epochs == [0, 1, 2] * 3
    np.testing.assert_allclose(
        history["learning_rate"], [0.01, 0.005, 0.01 / 3] * 3, rtol=1e-6
    )


@pytest.mark.slow
def test_model_checkpoint_of_each_round(data, tmp_path):
    paths = iter(tmp_path / f"round{i}.keras" for i in range(3))

    def make():
        return [
            callbacks.ModelCheckpoint(
                next(paths), monitor="val_loss", save_best_only=True
            )
        ]

    train(data, make)
    for i, density in enumerate((1.0, 0.5, 0.25)):
        model = keras.models.load_model(tmp_path / f"round{i}.keras")
        masks = tfl.masks_of(model)
        assert tfl.masks.density(masks) == pytest.approx(density, abs=0.01)
        variables = tfl.weights.variables(model)
        for key, mask in masks.items():
            assert not variables[key].numpy()[~mask].any()


def test_terminate_on_nan_ends_the_round_and_the_run_says_so(data):
    x, y = data
    poisoned = np.where(np.arange(len(x))[:, None] == 50, np.nan, x)
    model = conftest.sequential()
    model.compile("adam", loss())
    imp = tfl.IterativeMagnitudePruning(
        rounds=1, epochs_per_round=2, monitor="loss", verbose=0,
        round_callbacks=lambda: [callbacks.TerminateOnNaN()],
    )
    with pytest.warns(UserWarning, match="Round 0 diverged"):
        model.fit(
            poisoned, y, batch_size=16, shuffle=False, epochs=imp.epochs,
            callbacks=[imp], verbose=0,
        )
    assert imp.results == [] and imp.candidate_ticket() is None
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.slow
def test_csv_logger_for_rounds_and_for_all(data, tmp_path):
    names = iter(range(3))
    _, history, _ = train(
        data,
        lambda: [callbacks.CSVLogger(tmp_path / f"{next(names)}.csv")],
        [callbacks.CSVLogger(tmp_path / "all.csv")],
    )
    for i in range(3):
        lines = (tmp_path / f"{i}.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == [
            "epoch", "0", "1", "2"
        ]
    whole = (tmp_path / "all.csv").read_text().splitlines()
    assert len(whole) == 10 and "density" in whole[0] and "round" in whole[0]


@pytest.mark.slow
def test_tensorboard_for_rounds_and_beside(data, tmp_path):
    names = iter(range(3))
    train(
        data,
        lambda: [callbacks.TensorBoard(tmp_path / f"round{next(names)}")],
        [callbacks.TensorBoard(tmp_path / "all")],
    )
    for name in ("round0", "round1", "round2", "all"):
        assert list((tmp_path / name).rglob("events*")), name


@pytest.mark.slow
def test_beside_the_rounds_callbacks_see_one_long_fit(data):
    epochs = []
    train(
        data,
        beside=[
            callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: epochs.append(epoch)
            )
        ],
    )
    assert epochs == list(range(9))


@pytest.mark.slow
def test_early_stopping_beside_the_rounds_ends_the_run(data):
    stop = callbacks.EarlyStopping(
        monitor="val_loss", patience=0, min_delta=10.0
    )
    imp, history, _ = train(data, rounds=2, beside=[stop], epochs=1)
    assert history["round"] == [0, 1]
    assert len(imp.results) == 2


def test_backup_for_a_round_is_refused_at_the_start(data, tmp_path):
    with pytest.raises(ValueError, match="directory="):
        train(data, lambda: [callbacks.BackupAndRestore(tmp_path)])


@pytest.mark.slow
def test_backup_beside_the_rounds_is_refused_where_it_acts(data, tmp_path):
    class Dies(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def backup():
        return callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        train(data, beside=[backup(), Dies()])
    with pytest.raises(ValueError, match="epoch 2.*BackupAndRestore"):
        train(data, beside=[backup()])


def test_initial_epoch_is_refused(data, compiled):
    imp = tfl.IterativeMagnitudePruning(
        rounds=1, epochs_per_round=2, monitor="loss"
    )
    with pytest.raises(ValueError, match="initial_epoch"):
        compiled.fit(
            *data, epochs=imp.epochs, initial_epoch=1, callbacks=[imp],
            verbose=0,
        )


def test_weights_restored_beside_the_rounds_are_reported(data):
    class Restore(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.weights = self.model.get_weights()
            if epoch == 4:
                # Past the masks, as `set_weights` does not.
                for variable, value in zip(self.model.weights, self.weights):
                    type(variable).assign(variable, value)

    model = conftest.functional()
    model.compile("adam", loss())
    imp = tfl.IterativeMagnitudePruning(
        rounds=3, epochs_per_round=2, monitor="loss", verbose=2
    )
    with pytest.raises(RuntimeError, match="fc1/kernel.*round_callbacks"):
        model.fit(
            *data, epochs=imp.epochs, callbacks=[Restore(), imp], verbose=0
        )
