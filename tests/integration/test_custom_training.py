"""Masks hold in training loops of one's own, as docs/custom_training.md says.

Every block of code on that page runs here.
"""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tests
import tf_lottery as tfl
from tests import conftest

PAGE = tests.ROOT / "docs/custom_training.md"
Adam, SGD = keras.optimizers.Adam, keras.optimizers.SGD


def blocks():
    """Code of the page: what is shared, and the rest by heading."""
    shared, found = "", {}
    for section in re.split(r"^#+ ", PAGE.read_text(), flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        codes = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        if "<!-- shared -->" in section:
            shared = codes.pop(0)
        for number, code in enumerate(codes):
            found[f"{heading} {number}" if number else heading] = code
    return shared, found


SHARED, BLOCKS = blocks()


class Checks:
    """Looks at a model after a step."""

    def __init__(self):
        self.count = self.pruned = 0

    def __call__(self, model, density=None):
        masks = tfl.masks_of(model)
        variables = tfl.weights.variables(model)
        for key, mask in masks.items():
            value = keras.ops.convert_to_numpy(variables[key])
            assert not np.count_nonzero(value[~mask]), key
            assert np.count_nonzero(value[mask]), key
            self.pruned += int((~mask).sum())
        if density is not None:
            kept = tfl.masks.count(masks)
            assert abs(kept - density * tfl.masks.size(masks)) < 1
        self.count += 1


@pytest.fixture
def check():
    return Checks()


@pytest.mark.some(3)
@pytest.mark.filterwarnings("ignore:`build.*does not have a `build")
@pytest.mark.parametrize("heading", BLOCKS)
def test_block_of_the_page(heading, check, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch = keras.callbacks.LambdaCallback()
    watch.on_train_batch_end = lambda batch, logs=None: check(watch.model)
    names = {"check": check, "watch": watch}
    exec(compile(SHARED, "shared", "exec"), names)
    exec(compile(BLOCKS[heading], heading, "exec"), names)
    assert check.count >= 5 and check.pruned


def test_page_has_all_the_ways():
    assert len(BLOCKS) >= 10


def make_step(model, optimizer, graph=True):
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = conftest.loss()(y, model(x, training=True))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    return tf.function(step) if graph else step


def slots_of_pruned(model, optimizer):
    """The largest entry of any slot where a weight is pruned."""
    optimizer = tfl.optimizers.innermost(optimizer)
    variables = model.trainable_variables
    slots = tfl.optimizers.slots_of(optimizer, optimizer._trainable_variables)
    largest = 0.0
    for variable in variables:
        mask = tfl.constraints.mask_of(variable)
        if mask is None:
            continue
        for _, slot in slots[optimizer._get_variable_index(variable)]:
            value = keras.ops.convert_to_numpy(slot)[~mask]
            largest = max(largest, float(np.abs(value).max()))
    return largest


@pytest.mark.some(1)
@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(0.1, momentum=0.9, clipnorm=1.0),
        lambda: Adam(0.01, gradient_accumulation_steps=2),
        lambda: Adam(0.01, use_ema=True, ema_overwrite_frequency=2),
        lambda: keras.optimizers.Muon(0.01),
        lambda: keras.optimizers.LossScaleOptimizer(Adam(0.01)),
    ],
    ids=["momentum", "accumulation", "ema", "muon", "loss_scale"],
)
def test_optimizers_in_a_tape_loop(make, data, check):
    """Pruned in the middle, with slots that were used."""
    model = conftest.sequential()
    model.compile(make())
    x, y = data
    step = make_step(model, model.optimizer)
    step(x[:16], y[:16])
    tfl.prune(model, 0.7)
    step = make_step(model, model.optimizer)
    for i in range(4):
        step(x[16 * i:16 * (i + 1)], y[16 * i:16 * (i + 1)])
        check(model, density=0.3)
    assert slots_of_pruned(model, model.optimizer) == 0


@pytest.mark.parametrize("rewind", ["weights", "learning_rate"])
def test_hold_takes_an_optimizer_that_is_built_as_it_is(rewind, data):
    """`LossScaleOptimizer` makes its variables anew in every `build`."""
    model = conftest.sequential()
    model.compile(keras.optimizers.LossScaleOptimizer(Adam(0.01)))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.dynamic_scale.assign(8.0)
    before = [id(variable) for variable in model.optimizer.variables]
    tfl.prune(model, 0.5)
    state = tfl.optimizers.state(model.optimizer)
    assert [id(variable) for variable in state] == before
    assert float(model.optimizer.dynamic_scale) == 8.0
    snapshot = tfl.holding.capture(model, 0)
    if rewind == "weights":
        tfl.holding.rewind(model, snapshot)
    else:
        tfl.optimizers.rewind_schedule(model, snapshot)


def test_step_traced_before_the_first_mask_does_not_know_it(data, check):
    """The trap that the page warns of, and both remedies."""
    x, y = data
    model = conftest.functional()
    model.compile(tfl.optimizers.Masked(SGD(0.1, momentum=0.9)))
    step = make_step(model, model.optimizer)
    step(x, y)
    tfl.prune(model, 0.7)
    step(x, y)
    with pytest.raises(AssertionError):
        check(model)
    tfl.hold(model, tfl.masks_of(model))
    step = make_step(model, model.optimizer)
    step(x, y)
    check(model, density=0.3)
    tfl.prune(model, 0.9)
    step(x, y)
    check(model, density=0.1)


@pytest.mark.filterwarnings("always:Weight .* is pruned, but the optimizer")
def test_inner_optimizer_stepped_by_hand(data, check):
    """Weights hold by their constraint; slots fill up, and a warning says so.
    """
    x, y = data
    model = conftest.functional()
    inner = SGD(0.1, momentum=0.9)
    model.compile(inner)
    tfl.prune(model, 0.7)
    step = make_step(model, inner)
    with pytest.warns(UserWarning, match="fc1/kernel.*optimizers.Masked"):
        step(x, y)
    for _ in range(3):
        step(x, y)
        check(model, density=0.3)
    assert slots_of_pruned(model, inner) > 0


def test_wrapped_layers_pruned_in_the_middle(data, check):
    x, y = data
    model = tfl.layers.wrap(conftest.functional())
    optimizer = SGD(0.1, momentum=0.9)
    step = make_step(model, optimizer, graph=False)
    step(x, y)
    tfl.prune(model, 0.7)
    for _ in range(3):
        step(x, y)
        check(model, density=0.3)
    assert slots_of_pruned(model, optimizer) > 0


@pytest.mark.slow
def test_train_on_batch_after_pruning_a_traced_model(data, check):
    x, y = data
    model = conftest.functional()
    model.compile("adam", conftest.loss(), jit_compile=False)
    model.train_on_batch(x, y)
    for sparsity in (0.5, 0.8):
        tfl.prune(model, sparsity)
        for _ in range(2):
            model.train_on_batch(x, y)
            check(model, density=1 - sparsity)


def test_compile_again_holds_masks_in_training_and_files(
    data, check, tmp_path
):
    x, y = data
    model = conftest.functional()
    model.compile("adam", conftest.loss())
    tfl.prune(model, 0.5)
    model.compile("sgd", conftest.loss())
    for _ in range(2):
        model.train_on_batch(x, y)
        check(model, density=0.5)
    model.save(tmp_path / "again.keras")
    loaded = keras.models.load_model(tmp_path / "again.keras")
    assert tfl.masks.density(tfl.masks_of(loaded)) == 0.5


def test_rounds_by_hand_are_those_of_the_callback(data, check):
    """The loop of the page and `fit` find the same masks, bit for bit."""
    x, y = data
    callback = tfl.IterativeMagnitudePruning(
        rounds=2, epochs_per_round=1, rate=0.5, monitor="loss", verbose=0
    )
    keras.utils.set_random_seed(1)
    fitted = conftest.sequential()
    fitted.compile(Adam(0.01), conftest.loss())
    fitted.fit(
        x, y, batch_size=32, shuffle=False, epochs=callback.epochs,
        callbacks=[callback], verbose=0,
    )
    keras.utils.set_random_seed(1)
    model = conftest.sequential()
    model.compile(Adam(0.01), conftest.loss())
    masks = tfl.masks_of(fitted)
    tfl.hold(model, {key: np.ones_like(mask) for key, mask in masks.items()})
    step = make_step(model, model.optimizer)
    start = tfl.holding.capture(model, step=0)
    for round in range(3):
        if round:
            tfl.prune(model, 1 - 0.5 ** round)
            tfl.holding.rewind(model, start)
        for i in range(0, len(x), 32):
            step(x[i:i + 32], y[i:i + 32])
            check(model, density=0.5 ** round)
    for key, mask in tfl.masks_of(model).items():
        np.testing.assert_array_equal(mask, masks[key])
