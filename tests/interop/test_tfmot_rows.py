"""The table of docs/tfmot.md "TFMOT call -> tf_lottery call", row by row.

TFMOT makes masks of random weights without ties; the call of ours beside it
must make the same of the same weights.
"""

import json

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests.interop import tfmot_process

pytestmark = [tfmot_process.installed, pytest.mark.slow]
# What TFMOT cannot prune, or would not.
LEFT_ALONE = ("*depthwise_kernel", "depthwise", "timed/*", "both/*")
MODELS = ("convolutions", "recurrent", "dense", "groups", "mobile", "odd")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rows")
    return tfmot_process.run("tfmot_rows", directory)


@pytest.fixture(scope="module")
def theirs(files):
    """Dict from row to dict from "layer/number" to TFMOT's mask."""
    rows, found = np.load(files / "rows.npz"), {}
    for name in rows:
        row, _, key = name.partition("|")
        found.setdefault(row, {})[key] = rows[name]
    return found


@pytest.fixture(scope="module")
def models(files):
    made = {
        name: tfl.interop.from_tfmot(files / f"rows_{name}.keras")
        for name in MODELS
    }
    weights = {name: model.get_weights() for name, model in made.items()}

    def fresh(name):
        """The model with TFMOT's weights and without masks."""
        model = made[name]
        ones = {
            key: np.ones_like(mask)
            for key, mask in tfl.masks_of(model).items()
        }
        tfl.hold(model, ones)
        model.set_weights(weights[name])
        return model

    return fresh


def prune(model, sparsity, **kwargs):
    """The call of the table's right-hand side."""
    keys = tfl.weights.variables(model)
    exclude = [
        pattern for pattern in LEFT_ALONE
        if any(tfl.schedules.matches(pattern, key) for key in keys)
    ]
    include = ["table"] if any("table" in key for key in keys) else []
    return tfl.prune(
        model, sparsity, scope="layer", exclude=exclude, include=include,
        **kwargs)


def pairs(ours, theirs):
    """TFMOT's masks with ours, in TFMOT's order of a layer's weights."""
    count = 0
    for name, mask in theirs.items():
        layer, number = name.split("/")
        found = [v for k, v in ours.items() if layer in k.split("/")[:-1]]
        yield name, found[int(number)], mask
        count += 1
    assert len(ours) == count


def assert_same(ours, theirs):
    for name, mine, other in pairs(ours, theirs):
        np.testing.assert_array_equal(mine, other, err_msg=name)


def rows_of(theirs, start):
    found = {
        row.removeprefix(start): masks
        for row, masks in theirs.items() if row.startswith(start)
    }
    assert found
    return found.items()


@pytest.mark.some(1)
@pytest.mark.parametrize("name", ["convolutions", "recurrent"])
def test_constant_sparsity_of_every_layer_type(name, models, theirs):
    for target, masks in rows_of(theirs, f"{name}/constant/"):
        if float(target) == 0:
            assert all(mask.all() for mask in masks.values())
            continue
        ours = prune(models(name), float(target))
        for key, mine, other in pairs(ours, masks):
            if not is_half(mine.size, target):
                np.testing.assert_array_equal(mine, other, err_msg=key)


def is_half(size, target):
    """Whether what is asked lies in the middle of two counts."""
    return (round(size * float(target) * 1000) / 1000) % 1 == 0.5


def test_half_a_weight_is_rounded_the_other_way(models, theirs):
    """Of 9, 15, 35 weights at 0.5, TFMOT keeps 4, 8, 18: the even number."""
    masks = theirs["odd/constant/0.5"]
    ours = prune(models("odd"), 0.5)
    kept = [
        (int(mine.sum()), int(other.sum()))
        for _, mine, other in pairs(ours, masks)
    ]
    assert kept == [(5, 4), (7, 8), (17, 18)]


def test_one_weight_is_left_at_least(models, theirs):
    """`tfl.prune` refuses to leave none; `GradualPruning` keeps one."""
    masks = theirs["odd/constant/0.999"]
    assert [mask.sum() for mask in masks.values()] == [1, 1, 1]
    model = models("odd")
    with pytest.raises(ValueError, match="must leave 1 to 9 of the 9 weights"):
        prune(model, 0.999)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    schedule = tfl.sparsity_schedules.ConstantSparsity(0.999, 0)
    with pytest.warns(UserWarning, match="No path leads past"):
        model.fit(np.ones((1, 3)), np.ones((1, 7)), verbose=0, callbacks=[
            tfl.callbacks.GradualPruning(schedule, scope="layer")])
    assert_same(tfl.masks_of(model), masks)


def test_blocks(models, theirs):
    """`block_size=(4, 1)` is `block:1x4`: ours names outputs first."""
    for row, masks in rows_of(theirs, "dense/block/"):
        size, pool, target = row.split("/")
        rows, columns = size.split("x")
        pool = {"AVG": "mean", "MAX": "max"}[pool]
        pattern = f"block:{columns}x{rows}:{pool}"
        ours = prune(models("dense"), float(target), pattern=pattern)
        for key, mine, other in pairs(ours, masks):
            blocks = mine.size / (int(rows) * int(columns))
            if not is_half(blocks, target):
                np.testing.assert_array_equal(
                    mine, other, err_msg=f"{row} {key}")


def test_n_of_m(models, theirs):
    """`sparsity_m_by_n=(zeros, size)` is `f"{size - zeros}:{size}"`."""
    for row, masks in rows_of(theirs, "groups/zeros/"):
        zeros, size = map(int, row.split("/"))
        ours = prune(
            models("groups"), zeros / size, pattern=f"{size - zeros}:{size}")
        for key, mine, other in pairs(ours, masks):
            if not key.startswith("transpose"):
                np.testing.assert_array_equal(mine, other, err_msg=row + key)


def test_n_of_m_of_transposed_convolutions_lies_along_outputs(models, theirs):
    """TFMOT takes their kernel for that of a convolution."""
    for row, masks in rows_of(theirs, "groups/zeros/"):
        zeros, size = map(int, row.split("/"))
        ours = prune(
            models("groups"), {"transpose": zeros / size},
            pattern=f"{size - zeros}:{size}:output")
        np.testing.assert_array_equal(
            ours["transpose/kernel"], masks["transpose/0"], err_msg=row)


def test_policy_for_xnnpack(models, theirs):
    """The policy prunes convolutions of size 1 x 1, and no others."""
    masks = theirs["mobile/policy"]
    model = models("mobile")
    pointwise = {
        layer.name: 0.75 for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
        and layer.kernel_size == (1, 1)
    }
    assert pointwise.keys() == {"point", "point2"}
    ours = tfl.prune(model, pointwise, scope="layer")
    assert_same(
        {key: mask for key, mask in ours.items() if not mask.all()}, masks)


def test_schedules_are_taken_as_they_are(files):
    """`GradualPruning(schedule)` prunes 40 weights when TFMOT would."""
    found = json.loads((files / "schedules.json").read_text())
    x, y = np.ones((8, 8)), np.ones((8, 5))
    own = tfl.sparsity_schedules
    for name, schedule in {
        "constant": own.ConstantSparsity(0.5, 2, 6, frequency=2),
        "polynomial": own.PolynomialDecay(0.25, 0.75, 1, 7, frequency=2),
    }.items():
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])
        model.compile("sgd", "mse")
        history = model.fit(
            x, y, batch_size=8, epochs=8, verbose=0,
            callbacks=[tfl.callbacks.GradualPruning(schedule)])
        assert found[name] == history.history["sparsity"], name
    assert found["own"] == [0.0] + [0.25] * 7
