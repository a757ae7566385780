"""Rounds inside one `fit`: rewinding, data, other callbacks, bad input."""

import copy
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery.runs import run_directory

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam
schedules = keras.optimizers.schedules
# So small that no weight is pruned: all masks stay all ones.
NOTHING = 1e-9


class RoundEnds(keras.callbacks.Callback):
    """Keeps all that training changes, at the end of every round."""

    def __init__(self, imp):
        super().__init__()
        self.imp, self.states = imp, []

    def on_epoch_end(self, epoch, logs=None):
        if len(self.imp.results) > len(self.states):
            masks = {
                id(v) for v in
                tfl.optimizers.find(self.model.optimizer)._variables
            }
            self.states.append(
                [v.numpy() for v in self.model.variables]
                + [
                    v.numpy() for v in self.model.optimizer.variables
                    if id(v) not in masks
                ]
            )


class Epochs(keras.utils.PyDataset):
    """Batches in an order that is the same in every round.

    With a rewinding point inside an epoch, the first epoch of later rounds
    starts at that batch.
    """

    def __init__(self, data, imp, batch=16, point=0):
        super().__init__()
        self.data, self.imp, self.batch, self.point = data, imp, batch, point

    def __len__(self):
        return len(self.data[0]) // self.batch

    def __getitem__(self, index):
        later = self.imp.round > 0
        epoch = self.imp.epoch
        step = self.point if later else 0
        position = step + index + (epoch and epoch * len(self) - (
            step % len(self) if later else 0))
        epoch, index = divmod(position, len(self))
        order = np.random.default_rng(epoch).permutation(len(self.data[0]))
        chosen = order[index * self.batch:(index + 1) * self.batch]
        return self.data[0][chosen], self.data[1][chosen]


def compiled(optimizer="adam", make=conftest.functional, **kwargs):
    model = make()
    model.compile(optimizer, loss(), metrics=["accuracy"], **kwargs)
    return model


def imp_of(**kwargs):
    kwargs = {"rounds": 2, "epochs_per_round": 2, "verbose": 0,
              "monitor": "loss"} | kwargs
    return tfl.IterativeMagnitudePruning(**kwargs)


def run(imp, data, model=None, callbacks=(), **kwargs):
    model = compiled() if model is None else model
    kwargs = {"epochs": imp.epochs, "batch_size": 16, "verbose": 0} | kwargs
    return model, model.fit(*data, callbacks=[imp, *callbacks], **kwargs)


def assert_rounds_equal(states):
    for state in states[1:]:
        for a, b in zip(states[0], state, strict=True):
            np.testing.assert_array_equal(a, b)


REWINDABLE = {
    "sgd_cosine": lambda: SGD(schedules.CosineDecay(0.1, 12), momentum=0.9),
    "adam_exponential": lambda: Adam(
        schedules.ExponentialDecay(0.01, 4, 0.5)
    ),
    "adamw_piecewise": lambda: keras.optimizers.AdamW(
        schedules.PiecewiseConstantDecay([4, 9], [0.01, 0.003, 0.001])
    ),
    "nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True),
    "lion": lambda: keras.optimizers.Lion(0.01),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "muon": lambda: keras.optimizers.Muon(0.01),
    "clipnorm": lambda: Adam(0.01, clipnorm=0.1),
    "ema": lambda: Adam(0.01, use_ema=True, ema_overwrite_frequency=4),
    "accumulation": lambda: Adam(0.01, gradient_accumulation_steps=3),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(Adam(0.01)),
}


@pytest.mark.parametrize(
    "name, point",
    conftest.slow_but(
        [
            ("sgd_cosine", "1ep"), ("ema", "8it"), ("accumulation", 0),
            ("loss_scale", 0),
        ],
        [(name, 0) for name in REWINDABLE]
        + [
            (name, point) for point in ("1ep", "8it") for name in
            ("sgd_cosine", "adam_exponential", "ema", "accumulation")
        ],
    ),
)
@pytest.mark.usefixtures("deterministic")
def test_rounds_with_full_masks_equal_round_0(name, point, data):
    imp = imp_of(rate=NOTHING, rewind_to=point)
    ends = RoundEnds(imp)
    model = compiled(REWINDABLE[name]())
    step = {0: 0, "1ep": 6, "8it": 8}[point]
    model.fit(
        Epochs(data, imp, point=step), epochs=imp.epochs, verbose=0,
        shuffle=False, callbacks=[imp, ends],
    )
    assert len(ends.states) == 3
    assert_rounds_equal(ends.states)
    assert [r.steps for r in imp.results] == [12, 12, 12]


@pytest.mark.usefixtures("deterministic")
def test_dropout_without_a_seed_is_rewound(data):
    model = keras.Sequential([
        keras.Input((10,)), keras.layers.Dense(12, name="fc"),
        keras.layers.Dropout(0.5), keras.layers.Dense(4, name="logits"),
    ])
    model.compile("sgd", loss(), metrics=["accuracy"])
    imp = imp_of(rate=NOTHING)
    ends = RoundEnds(imp)
    model.fit(
        *data, epochs=imp.epochs, verbose=0, shuffle=False,
        callbacks=[imp, ends],
    )
    assert len(ends.states) == 3
    assert_rounds_equal(ends.states)


@pytest.mark.some(2)
@pytest.mark.parametrize(
    "mode",
    [mode for mode in conftest.modes(steps=3).values() if mode],
    ids=lambda mode: next(iter(mode)),
)
def test_rounds_equal_round_0_however_a_step_is_run(
    mode, data
):
    imp = imp_of(rate=NOTHING, rewind_to="3it")
    ends = RoundEnds(imp)
    model = compiled(Adam(0.01), **mode)
    model.fit(
        Epochs(data, imp, point=3), epochs=imp.epochs, verbose=0, shuffle=False,
        callbacks=[imp, ends],
    )
    assert len(ends.states) == 3
    assert_rounds_equal(ends.states)


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy",
    conftest.slow_but(["mixed_float16"], ["mixed_float16", "mixed_bfloat16"]),
)
@pytest.mark.usefixtures("deterministic")
def test_rounds_equal_round_0_in_mixed_precision(policy, data):
    keras.config.set_dtype_policy(policy)
    imp = imp_of(rate=NOTHING)
    ends = RoundEnds(imp)
    run(imp, data, callbacks=[ends], shuffle=False)
    assert_rounds_equal(ends.states)


@conftest.only("tensorflow", "jax", because="torch does not trace")
def test_train_step_is_traced_once(data):
    traces = []

    class Traced(keras.Sequential):
        def train_step(self, *args, **kwargs):
            traces.append(1)
            return super().train_step(*args, **kwargs)

    model = Traced([keras.Input((10,)), keras.layers.Dense(4)])
    model.compile("adam", loss())
    imp = imp_of(rounds=4, rewind_to="3it", rate=0.5)
    run(imp, data, model)
    assert len(imp.results) == 5 and len(traces) == 1


@pytest.mark.covering
@pytest.mark.parametrize("rewind", ["weights", "learning_rate", "none"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_masks_hold_nest_and_shrink_by_the_rate(
    scope, rewind, data, any_model
):
    model = compiled(make=lambda: any_model)
    ends = conftest.BatchEnds()
    imp = imp_of(rounds=3, rate=0.5, scope=scope, rewind=rewind)
    model, history = run(imp, data, model, [ends])
    assert ends.revived == 0 and ends.seen > 0
    masks = [imp.ticket(i).masks for i in range(4)]
    for outer, inner in zip(masks, masks[1:]):
        assert tfl.masks.nested(inner, outer)
    total = tfl.masks.size(masks[0])
    counts = [tfl.masks.count(m) for m in masks]
    assert counts[0] == total
    for before, after in zip(counts, counts[1:]):
        assert abs(after - before / 2) <= len(masks[0])
    assert [r.density for r in imp.results] == [c / total for c in counts]
    held = tfl.masks_of(model)
    assert all((held[key] == masks[-1][key]).all() for key in held)
    assert history.history["round"] == [0, 0, 1, 1, 2, 2, 3, 3]
    np.testing.assert_allclose(
        history.history["density"],
        np.repeat([c / total for c in counts], 2),
    )
    assert len(history.history["sparsity"]) == 8


@pytest.mark.slow
def test_rates_by_layer(data):
    imp = imp_of(rate={"*": 0.5, "logits": 0.25}, scope="layer", rounds=1)
    run(imp, data)
    assert imp.results[1].densities == {
        "fc1/kernel": 0.5, "fc2/kernel": 0.5, "logits/kernel": 0.75,
    }
    imp = imp_of(rate={"fc1": 0.5}, rounds=1)
    run(imp, data)
    assert imp.results[1].densities == {
        "fc1/kernel": 0.5, "fc2/kernel": 1.0, "logits/kernel": 1.0,
    }


def test_paper_densities_of_lenet():
    """Densities of arXiv:1803.03635: 51.3, 21.1, 13.5 and 3.6 %."""
    masks = tfl.masks.ones(
        {"fc1": (784, 300), "fc2": (300, 100), "logits": (100, 10)}
    )
    rates = {"fc1": 0.2, "fc2": 0.2, "logits": 0.1}
    rng = np.random.default_rng(0)
    scores = {k: rng.random(m.shape, "float32") for k, m in masks.items()}
    densities = []
    for _ in range(15):
        masks = tfl.pruning.allocation.next_masks(
            scores, masks, rates, tfl.pruning.rules.Rule("layer")
        )
        densities.append(round(100 * tfl.masks.density(masks), 1))
    assert [densities[i] for i in (2, 6, 8, 14)] == [51.3, 21.1, 13.5, 3.6]


@pytest.mark.slow
def test_weights_are_those_of_the_rewinding_point(data):
    """The snapshot is the state after exactly k steps."""
    seen = {}

    class Steps(keras.callbacks.Callback):
        step = 0

        def on_train_batch_end(self, batch, logs=None):
            Steps.step += 1
            seen[Steps.step] = self.model.get_layer("fc1").kernel.numpy()

    for point, step in [("1it", 1), ("7it", 7), ("1ep", 6), (0.25, 3),
                        ("1ep2it", 8)]:
        Steps.step = 0
        imp = imp_of(rounds=1, rewind_to=point)
        run(imp, data, callbacks=[Steps()])
        ticket = imp.ticket(1)
        assert ticket.snapshot.step == step
        np.testing.assert_array_equal(
            ticket.snapshot.weights["fc1/kernel"], seen[step]
        )


@pytest.mark.parametrize(
    "lengths, rewind, point, ends",
    [
        ({"epochs_per_round": [3, 1, 2]}, "weights", 0, [18, 6, 12]),
        ({"epochs_per_round": 5, "middle_rounds": 0.4}, "learning_rate",
         "8it", [30, 12, 30]),
    ],
)
@pytest.mark.some(1)
def test_rounds_have_lengths_of_their_own(lengths, rewind, point, ends, data):
    """A short round ends early on the schedule; the next starts it anew."""
    rates = {}

    class Rates(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            optimizer = tfl.optimizers.innermost(self.model.optimizer)
            rates.setdefault(imp.round, []).append(
                float(optimizer.learning_rate)
            )

    imp = imp_of(rewind=rewind, rewind_to=point, **lengths)
    model = compiled(Adam(schedules.CosineDecay(0.01, 40)))
    _, history = run(imp, data, model, [Rates()])
    start = imp.ticket(2).snapshot.step
    assert start == (8 if point else 0)
    assert [result.steps for result in imp.results] == ends
    # Each later round leaves out the epoch before step 8.
    left_out = 2 * (start > 6)
    assert len(history.history["loss"]) == imp.epochs - left_out
    for number, end in enumerate(ends):
        began = start if number else 0
        np.testing.assert_allclose(rates[number], rates[0][began:end])


def test_a_round_ends_after_the_rewinding_point(data):
    imp = imp_of(epochs_per_round=[3, 1, 3], rewind_to="1ep")
    with pytest.raises(ValueError, match="shortest round, step 6.*'1ep'"):
        run(imp, data)


@pytest.mark.some(1)
@pytest.mark.parametrize("rewind", ["learning_rate", "none"])
def test_other_rewinding_keeps_the_weights(rewind, data):
    kernels, steps = [], []

    class Boundary(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            kernels.append(self.model.get_layer("fc1").kernel.numpy())
            steps.append(int(self.model.optimizer.iterations))

        def on_epoch_end(self, epoch, logs=None):
            kernels.append(self.model.get_layer("fc1").kernel.numpy())

    imp = imp_of(rounds=1, epochs_per_round=1, rewind=rewind, rate=0.5)
    run(imp, data, callbacks=[Boundary()])
    trained, start = kernels[1], kernels[2]
    mask = imp.ticket(1).masks["fc1/kernel"]
    np.testing.assert_array_equal(start, np.where(mask, trained, 0.0))
    assert steps == [0, 0 if rewind == "learning_rate" else 6]
    np.testing.assert_array_equal(
        imp.ticket(1).snapshot.weights["fc1/kernel"], start
    )


def _dataset(data, repeat=False):
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(16)
    return dataset.repeat() if repeat else dataset


def _generator(data, endless=True):
    while True:
        for i in range(6):
            yield data[0][16 * i:16 * i + 16], data[1][16 * i:16 * i + 16]
        if not endless:
            return


FEEDS = {
    "arrays": lambda data: dict(x=data[0], y=data[1], batch_size=16),
    "tensors": lambda data: dict(
        x=tf.constant(data[0]), y=tf.constant(data[1]), batch_size=16
    ),
    "dataset": lambda data: dict(x=_dataset(data)),
    "repeated": lambda data: dict(
        x=_dataset(data, repeat=True), steps_per_epoch=6
    ),
    "generator": lambda data: dict(x=_generator(data), steps_per_epoch=6),
    "unknown_length": lambda data: dict(
        x=_dataset(data).filter(lambda x, y: True)
    ),
    "pydataset": lambda data: dict(x=Epochs(data, FakeRound)),
}


class FakeRound:
    round = epoch = 0


@pytest.mark.covering
@pytest.mark.parametrize("point", [0, "4it", "1ep"])
@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_any_data_that_fit_takes(feed, point, data):
    imp = imp_of(rewind_to=point)
    model = compiled()
    history = model.fit(
        **FEEDS[feed](data), epochs=imp.epochs, verbose=0, callbacks=[imp]
    )
    assert [r.steps for r in imp.results] == [12, 12, 12]
    assert imp.ticket(2).snapshot.step == {0: 0, "4it": 4, "1ep": 6}[point]
    assert [r.round for r in imp.results] == [0, 1, 2]
    assert len(history.history["loss"]) == (4 if point == "1ep" else 6)


def test_fraction_needs_a_known_length(data):
    imp = imp_of(rewind_to=0.3)
    with pytest.raises(ValueError, match="steps_per_epoch"):
        run(imp, (FEEDS["unknown_length"](data)["x"],), batch_size=None)


@pytest.mark.slow
def test_stops_at_target_density(data):
    imp = imp_of(rounds=9, rate=0.5, target_density=0.3)
    _, history = run(imp, data)
    assert [round(r.density, 2) for r in imp.results] == [1.0, 0.5, 0.25]
    assert len(history.history["loss"]) == 6


@pytest.mark.slow
def test_stops_when_the_metric_has_fallen(data):
    class Falls(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = 1.0 - 0.1 * epoch

    imp = imp_of(rounds=9, monitor="score", tolerance=0.25,
                 epochs_per_round=1)
    model = compiled()
    model.fit(*data, epochs=imp.epochs, verbose=0, callbacks=[Falls(), imp])
    assert [r.round for r in imp.results] == [0, 1, 2, 3]


@pytest.mark.usefixtures("deterministic")
def test_a_barrier_between_rounds_is_measured_and_changes_nothing(data):
    ends = []

    class Ends(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            ends.append([w.numpy() for w in self.model.weights])

    parts = {"train": data}
    make = {"rounds": 1, "rate": 0.5, "epochs_per_round": 1}
    imp = imp_of(barrier=tfl.analysis.ErrorBarrier(parts, 5), **make)
    model = compiled()
    initial = model.get_weights()
    kwargs = {"epochs": 2, "batch_size": 16, "verbose": 0, "shuffle": False}
    model.fit(*data, callbacks=[Ends(), imp], **kwargs)
    found = tfl.analysis.linear_connectivity(model, *ends, parts, points=5)
    assert "barrier" not in imp.results[0].metrics
    assert imp.results[1].metrics["barrier"] == found.barriers["train"]
    assert ", barrier " in imp.results[1].describe(imp.monitor, imp.results[0])
    other = compiled()
    other.set_weights(initial)
    other.fit(*data, callbacks=[imp_of(**make)], **kwargs)
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("limit, rounds", [(0.2, [0, 1]), (0.3, [0, 1, 2])])
@pytest.mark.some(1)
def test_stops_at_a_barrier_between_rounds(limit, rounds, data):
    imp = imp_of(
        barrier=lambda model, before, trained: 0.3, max_barrier=limit,
        epochs_per_round=1,
    )
    run(imp, data)
    assert [result.round for result in imp.results] == rounds


def test_rates_follow_the_barriers(data, tmp_path):
    """1, 2, 4 steps while no barrier rises, then 2; resumed the same."""
    barriers = iter([0.0, 0.0, 0.004, 0.0])
    make = {
        "rate": tfl.analysis.BarrierRate({"*": 0.2}), "epochs_per_round": 1,
        "barrier": lambda model, before, trained: next(barriers),
        "directory": tmp_path,
    }
    run(imp_of(rounds=2, **make), data)
    imp = imp_of(rounds=4, **make)
    run(imp, data)
    steps = np.log([r.density for r in imp.results]) / np.log(0.8)
    np.testing.assert_allclose(steps, [0, 1, 3, 7, 9], atol=0.4)
    assert imp.protocol()["rate"] == {
        "name": "BarrierRate", "rate": {"*": 0.2}, "most": 4,
        "max_barrier": 0.0025,
    }


@pytest.mark.parametrize("rate, words", [
    (tfl.analysis.BarrierRate(), "pass `barrier="),
    (lambda results: 1.5, "`rate` must be in"),
    (lambda: 0.2, "`rate` must be `f\\(results\\)`"),
])
def test_a_rate_that_cannot_be_told_is_refused(rate, words, data):
    with pytest.raises(ValueError, match=words):
        run(imp_of(rounds=2, rate=rate, epochs_per_round=1), data)


def test_error_barrier_counts_errors(data):
    measure = tfl.analysis.ErrorBarrier((data[0], data[0][:, :1]))
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    weights = model.get_weights()
    with pytest.raises(ValueError, match="labels that are classes"):
        measure(model, weights, weights)


def test_candidate_ticket_is_the_smallest_that_matches():
    results = [
        tfl.runs.results.RoundResult(
            round=i, density=d, densities={}, metrics={"acc": a, "loss": -a},
            steps=s, early_stop_step=None, seconds=0.0,
        )
        for i, (d, a, s) in enumerate(
            [(1.0, 0.9, 10), (0.8, 0.95, 10), (0.5, 0.9, 10), (0.4, 0.89, 10),
             (0.3, 0.99, 11)]
        )
    ]
    for name in ("acc", "loss"):
        monitor = tfl.runs.results.Monitor(name)
        assert tfl.runs.results.candidate(results, monitor).round == 2
    assert tfl.runs.results.candidate(results[:1], monitor) is None
    assert tfl.runs.results.candidate([], monitor) is None


@pytest.mark.usefixtures("deterministic")
def test_ticket_trains_to_what_was_recorded(data):
    """Apply the ticket, train as the round did: the same result, bit by bit."""
    imp = imp_of(rounds=2, rate=0.3)
    model, _ = run(imp, data, shuffle=False)
    ticket = imp.ticket(2)
    assert ticket.verdict == ""
    candidate = imp.candidate_ticket()
    assert candidate is None or candidate.verdict == "not tested: one trial"
    other = compiled()
    ticket.apply(other)
    other.fit(*data, batch_size=16, epochs=2, shuffle=False, verbose=0)
    ours, theirs = tfl.weights.variables(model), tfl.weights.variables(other)
    for key in ours:
        np.testing.assert_array_equal(ours[key].numpy(), theirs[key].numpy())


@pytest.mark.slow
def test_model_is_usable_again_and_continues_from_its_masks(data):
    model, _ = run(imp_of(rounds=1, rate=0.5), data)
    imp = imp_of(rounds=1, rate=0.5)
    run(imp, data, model)
    assert [round(r.density, 2) for r in imp.results] == [0.5, 0.25]


@pytest.mark.slow
def test_the_same_callback_starts_over_in_another_fit(data):
    imp = imp_of(rounds=1)
    run(imp, data)
    first = [r.density for r in imp.results]
    run(imp, data)
    assert [r.density for r in imp.results] == first


@pytest.mark.slow
def test_callback_can_be_copied_as_keras_tuner_does(data):
    imp = copy.deepcopy(imp_of(rounds=1, round_callbacks=lambda: []))
    run(imp, data)
    assert len(imp.results) == 2


@pytest.mark.slow
def test_round_callbacks_see_every_round_as_a_fit(data):
    calls = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            calls.append("begin")

        def on_epoch_begin(self, epoch, logs=None):
            calls.append(epoch)

        def on_train_end(self, logs=None):
            calls.append("end")

    imp = imp_of(rounds=1, round_callbacks=lambda: [Recorder()])
    run(imp, data)
    assert calls == ["begin", 0, 1, "end"] * 2


@pytest.mark.slow
def test_early_stopping_ends_the_round_not_the_run(data):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    imp = imp_of(epochs_per_round=5, round_callbacks=lambda: [Stop()])
    _, history = run(imp, data)
    assert history.history["round"] == [0, 0, 1, 1, 2, 2]


@pytest.mark.slow
def test_stop_inside_an_epoch_ends_the_round(data):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    imp = imp_of(epochs_per_round=5, round_callbacks=lambda: [Stop()])
    _, history = run(imp, data)
    assert history.history["round"] == [0, 1, 2]
    assert [r.steps for r in imp.results] == [3, 3, 3]


def test_stop_by_a_callback_of_fit_ends_everything(data):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    imp = imp_of(rewind_to="4it")
    model, history = run(imp, data, callbacks=[Stop()])
    assert len(history.history["loss"]) == 1


@pytest.mark.slow
def test_checkpoints_beside_it_are_sparse(data, tmp_path):
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch:02d}.keras", monitor="loss"
    )
    imp = imp_of(rounds=2, rate=0.5)
    run(imp, data, callbacks=[checkpoint])
    files = sorted(tmp_path.glob("*.keras"))
    densities = []
    for file in files:
        model = keras.models.load_model(file)
        masks = tfl.masks_of(model)
        variables = tfl.weights.variables(model)
        for key, mask in masks.items():
            assert not variables[key].numpy()[~mask].any()
        densities.append(round(tfl.masks.density(masks), 2))
    assert densities == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.slow
def test_directory_describes_itself(data, tmp_path):
    imp = imp_of(
        directory=tmp_path / "run", rewind_to="2it", monitor="val_loss"
    )
    run(imp, data, validation_data=data)
    files = run_directory.RunDirectory(tmp_path / "run")
    assert files.load_results() == imp.results
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["rounds"] == 2 and config["rewind_to"] == "2it"
    rows = (tmp_path / "run" / "results.csv").read_text().splitlines()
    assert len(rows) == 4 and "val_loss" in rows[0]
    for i in range(3):
        masks = files.load_masks(i)
        ticket = imp.ticket(i)
        assert all((masks[key] == ticket.masks[key]).all() for key in masks)
    snapshot = files.load_snapshot()
    assert snapshot.step == 2
    for key, array in imp.ticket(0).snapshot.weights.items():
        np.testing.assert_array_equal(snapshot.weights[key], array)


@pytest.mark.slow
def test_record_names_the_early_stop(data):
    imp = imp_of(epochs_per_round=3, monitor="val_accuracy")
    _, history = run(imp, data, validation_data=data)
    losses = np.reshape(history.history["val_loss"], (3, 3))
    for record, row in zip(imp.results, losses):
        assert record.early_stop_step == 6 * (np.argmin(row) + 1)
        assert record.metrics["val_loss"] == row[-1]
        assert record.seconds > 0


@pytest.mark.slow
def test_one_line_for_each_round(data, capsys):
    run(imp_of(rounds=1, verbose=1), data)
    lines = capsys.readouterr().out.splitlines()
    if conftest.BACKEND != "tensorflow":
        assert "effective density is not known" in lines.pop(0)
    assert [line.split(":")[0] for line in lines] == ["Round 0/1", "Round 1/1"]
    assert "density 80.1%" in lines[1] and "loss" in lines[1]
    run(imp_of(rounds=1, verbose=0), data)
    assert not capsys.readouterr().out


@pytest.mark.slow
def test_diverged_round_keeps_the_last_good_one(data):
    class Poison(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                kernel = self.model.get_layer("fc1").kernel
                kernel.assign(kernel.numpy() * np.nan)

    imp = imp_of(rounds=5, epochs_per_round=1)
    model = compiled()
    with pytest.warns(UserWarning, match="Round 3 diverged"):
        model.fit(
            *data, epochs=imp.epochs, verbose=0, callbacks=[Poison(), imp]
        )
    assert [r.round for r in imp.results] == [0, 1, 2]
    ticket = imp.ticket(2)
    held = tfl.masks_of(model)
    for key, variable in tfl.weights.variables(model).items():
        expected = ticket.snapshot.weights[key]
        if key in held:
            assert (held[key] == ticket.masks[key]).all()
            expected = np.where(held[key], expected, 0)
        np.testing.assert_array_equal(variable.numpy(), expected)
    with pytest.raises(ValueError, match="round"):
        imp.ticket(3)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"rate": 0.0}, "rate"),
        ({"rate": 1.0}, "rate"),
        ({"rate": {"*": 1.5}}, "rate"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": 2.5}, "rounds"),
        ({"epochs_per_round": -1}, "epochs_per_round"),
        ({"epochs_per_round": [2, 2]}, "each of the rounds 0 to 2"),
        ({"epochs_per_round": [2, 0, 2]}, "epochs_per_round"),
        ({"middle_rounds": 0}, "middle_rounds"),
        ({"max_barrier": -1}, "max_barrier"),
        ({"barrier": 0.1}, "`barrier`"),
        ({"middle_rounds": 0.5, "epochs_per_round": [2, 2, 2]},
         "part of an integer"),
        ({"rewind": "weight"}, "'learning_rate'"),
        ({"rewind_to": "5 epochs"}, "500it"),
        ({"rewind_to": 1.5}, "500it"),
        ({"scope": "local"}, "'layer'"),
        ({"criterion": "magic"}, "magnitude"),
        ({"pattern": "plaid"}, "unstructured"),
        ({"target_density": 2}, "target_density"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"mode": "best"}, "'max'"),
    ],
)
def test_invalid_argument_is_refused_at_construction(kwargs, message):
    with pytest.raises(ValueError, match=message):
        imp_of(**kwargs)


def test_round_callbacks_must_be_made_anew():
    with pytest.raises(TypeError, match="callable"):
        imp_of(round_callbacks=[keras.callbacks.TerminateOnNaN()])


def fit_error(imp, data, model=None, **kwargs):
    model = compiled() if model is None else model
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises((ValueError, OSError)) as caught:
        run(imp, data, model, **kwargs)
    if model.built:
        for a, b in zip(before, model.get_weights()):
            np.testing.assert_array_equal(a, b)
    return str(caught.value)


def test_errors_before_training_name_the_cause(data, tmp_path):
    assert "need 6" in fit_error(imp_of(), data, epochs=5)
    assert "end of the round" in fit_error(imp_of(rewind_to="99it"), data)
    assert "end of the round" in fit_error(imp_of(rewind_to="2ep"), data)
    message = fit_error(imp_of(exclude=("fc3",)), data)
    assert "fc3" in message and "fc1" in message
    message = fit_error(imp_of(rate={"fc7": 0.2}), data)
    assert "fc7" in message and "logits" in message
    message = fit_error(imp_of(exclude="*"), data)
    assert "no prunable weight" in message and "excluded" in message
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in fit_error(imp_of(directory=file / "run"), data)


@conftest.only("tensorflow", "jax", because="torch runs step by step")
def test_unseen_rewinding_point_names_the_nearest(data):
    model = compiled(steps_per_execution=4)
    message = fit_error(imp_of(rewind_to="5it"), data, model)
    assert "'6it'" in message
    model = compiled(steps_per_execution=2)
    message = fit_error(imp_of(rewind_to="7it"), data, model)
    assert "'8it'" in message or "'6it'" in message


def test_absent_monitor_lists_the_logs(data):
    with pytest.raises(ValueError, match="'val_accuracy'.*accuracy.*loss"):
        with pytest.warns(UserWarning, match="first epoch had no validation"):
            run(imp_of(monitor="val_accuracy"), data)


def test_scores_that_are_not_finite_name_the_layer(data):
    def broken(model, variables):
        scores = tfl.criteria.Magnitude()(model, variables)
        scores["fc2/kernel"][0, 0] = np.nan
        return scores

    with pytest.raises(ValueError, match="fc2/kernel"):
        run(imp_of(criterion=broken), data)
