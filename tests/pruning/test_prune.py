"""Prune, hold, masks_of and strip."""

import contextlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery import constraints
from tf_lottery.weights import keys as keys_lib

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam


def stripping(name):
    """A subclassed model without a configuration is stripped in place."""
    if name != "subclassed":
        return contextlib.nullcontext()
    return pytest.warns(UserWarning, match="taken off the model itself")


def sequential(*stack, shape=(10,)):
    return keras.Sequential([keras.Input(shape), *stack])


def make(name="functional", optimizer=None, **kwargs):
    model = conftest.MODELS[name]()
    model.compile(optimizer or Adam(0.01), loss(), **kwargs)
    return model


def values(model):
    return {k: np.array(v) for k, v in tfl.weights.variables(model).items()}


def assert_equal(a, b, **tolerance):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], err_msg=key, **tolerance)


def assert_pruned(model, masks):
    assert_equal(tfl.masks_of(model), masks)
    for key, mask in masks.items():
        value = np.array(tfl.weights.variables(model)[key], "float32")
        np.testing.assert_array_equal(value != 0, mask, key)


@pytest.mark.covering
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("name", conftest.MODELS)
def test_prune_removes_the_smallest(name, scope, fitted, data):
    model = make(name)
    if fitted:
        model.fit(*data, verbose=0)
    before = {
        key: np.abs(np.array(variable))
        for key, variable in tfl.weights.prunable(model).items()
    }
    masks = tfl.prune(model, 0.8, scope=scope)
    assert_pruned(model, masks)
    if scope == "global":
        ends = conftest.BatchEnds()
        model.fit(*data, verbose=0, callbacks=[ends])
        assert ends.revived == 0 and ends.seen > 0
        assert_pruned(model, masks)
    groups = [list(before)] if scope == "global" else [[k] for k in before]
    for keys in groups:
        kept = np.concatenate([masks[k].ravel() for k in keys])
        score = np.concatenate([before[k].ravel() for k in keys])
        assert kept.sum() == kept.size - round(0.8 * kept.size)
        assert score[kept].min() >= score[~kept].max()


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_model_is_walked_through_once(scope, monkeypatch):
    model, walks = make(), []
    walk = keys_lib.walk
    monkeypatch.setattr(
        keys_lib, "walk", lambda m: walks.append(m) or walk(m)
    )
    tfl.prune(model, 0.5, scope=scope)
    tfl.prune(model, 0.6, scope=scope)
    assert walks == [model, model]


@pytest.mark.parametrize("jit", [False, True])
def test_large_weights_have_masks_of_a_byte(jit, monkeypatch, data):
    if jit and keras.backend.backend() == "torch":
        pytest.skip("under tensorflow and jax only: torch does not trace")
    found = {}
    for dtype, large in (("float32", 1 << 18), ("bool", 0)):
        monkeypatch.setattr(constraints, "_LARGE", large)
        keras.utils.set_random_seed(0)
        model = make(optimizer=Adam(0.01, clipnorm=1.0), jit_compile=jit)
        masks = tfl.prune(model, 0.8)
        if keras.backend.backend() == "tensorflow":
            assert {
                constraints.keep_of(v).mask.dtype
                for v in tfl.weights.prunable(model).values()
            } == {dtype}
        model.fit(*data, verbose=0)
        assert_pruned(model, masks)
        found[dtype] = values(model)
    assert_equal(found["bool"], found["float32"], rtol=0, atol=0)


def test_what_is_left_is_as_it_was(compiled):
    before = values(compiled)
    masks = tfl.prune(compiled, 0.5)
    for key, value in values(compiled).items():
        kept = masks.get(key, True)
        np.testing.assert_array_equal(value, np.where(kept, before[key], 0))


def test_sparsity_by_layer(compiled):
    tfl.prune(compiled, {"fc*": 0.5, "fc2": 0.75, "logits": 0.25})
    found = tfl.masks.densities(tfl.masks_of(compiled))
    assert found == {
        "fc1/kernel": 0.5, "fc2/kernel": 0.25, "logits/kernel": 0.75
    }


def test_layers_without_a_sparsity_are_left_alone(compiled):
    first = tfl.prune(compiled, {"fc1": 0.5})
    assert first["fc2/kernel"].all() and first["logits/kernel"].all()
    second = tfl.prune(compiled, {"fc2": 0.5})
    np.testing.assert_array_equal(second["fc1/kernel"], first["fc1/kernel"])
    assert tfl.masks.densities(second) == {
        "fc1/kernel": 0.5, "fc2/kernel": 0.5, "logits/kernel": 1.0
    }


def test_layers_of_one_sparsity_are_ranked_together(compiled):
    for name, scale in (("fc1", 1), ("fc2", 100), ("logits", 1)):
        kernel = compiled.get_layer(name).kernel
        kernel.assign(scale * (1 + np.random.rand(*kernel.shape)))
    masks = tfl.prune(compiled, {"fc*": 0.4, "logits": 0.2})
    assert masks["fc2/kernel"].all()
    assert (~masks["fc1/kernel"]).sum() == round(0.4 * (120 + 144))
    masks = tfl.prune(compiled, {"fc*": 0.4, "logits": 0.2}, scope="global")


def test_exclude_and_include():
    model = sequential(
        layers.Embedding(20, 4, name="words"), layers.Flatten(),
        layers.Dense(4, name="fc"), layers.Dense(4, name="logits"),
    )
    model.compile("adam", loss())
    masks = tfl.prune(model, 0.5, exclude=["logits"])
    assert list(masks) == ["fc/kernel"]
    masks = tfl.prune(
        model, 0.7, scope="layer", include=["words"], exclude=["logits"]
    )
    assert list(masks) == ["words/embeddings", "fc/kernel"]
    assert_pruned(model, masks)


@pytest.mark.slow
def test_pruning_again_goes_on_from_the_masks(compiled, data):
    outer = tfl.prune(compiled, 0.5)
    for sparsity in (0.5, 0.6, 0.95):
        compiled.fit(*data, verbose=0)
        inner = tfl.prune(compiled, sparsity)
        assert tfl.masks.nested(inner, outer)
        size = tfl.masks.size(inner)
        assert tfl.masks.count(inner) == size - round(sparsity * size)
        assert_pruned(compiled, inner)
        outer = inner


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_density_cannot_rise(scope, compiled):
    masks = tfl.prune(compiled, 0.8)
    before = values(compiled)
    with pytest.raises(ValueError, match="stays pruned.*sparsity=0.5"):
        tfl.prune(compiled, 0.5, scope=scope)
    assert_pruned(compiled, masks)
    assert_equal(values(compiled), before)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_one_weight_of_each_layer_is_left(scope, compiled):
    compiled.get_layer("fc2").kernel.assign(np.full((12, 12), 1e-9))
    with pytest.warns(UserWarning, match="left of 'fc2/kernel': 1 of 144"):
        masks = tfl.prune(compiled, 0.95)
    assert masks["fc2/kernel"].sum() == 1
    with pytest.raises(ValueError, match="one of each.*sparsity=0.999"):
        tfl.prune(compiled, 0.999, scope=scope)
    assert_pruned(compiled, masks)


class Half(tfl.criteria.Criterion):
    def prepare(self, model, variables, context):
        return lambda masks: {
            k: np.arange(m.size).reshape(m.shape) for k, m in masks.items()
        }


def test_criteria():
    index = {
        "class": Half,
        "object": Half(),
        "function": lambda model, variables: Half()(model, variables),
    }
    for criterion in index.values():
        masks = tfl.prune(make(), 0.5, criterion=criterion, scope="layer")
        for mask in masks.values():
            assert mask.ravel()[mask.size // 2:].all()
            assert not mask.ravel()[:mask.size // 2].any()
    first = tfl.prune(make(), 0.5, criterion="random")
    again = tfl.prune(make(), 0.5, criterion=tfl.criteria.Random())
    other = tfl.prune(make(), 0.5, criterion=tfl.criteria.Random(seed=1))
    assert_equal(first, again)
    assert any((first[key] != other[key]).any() for key in first)
    assert tfl.criteria.Random(seed=1).get_config() == {"seed": 1}
    with pytest.raises(NotImplementedError, match="Criterion must implement"):
        tfl.criteria.score(make(), tfl.criteria.Criterion)


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "mixed_bfloat16"]
)
def test_scores(criterion, dtype):
    keras.config.set_dtype_policy(dtype)
    model = conftest.functional()
    before = values(model)
    scores = tfl.criteria.score(model, criterion, exclude=["fc2"])
    assert list(scores) == ["fc1/kernel", "logits/kernel"]
    for key, score in scores.items():
        assert score.shape == before[key].shape
        if criterion == "magnitude":
            np.testing.assert_array_equal(score, np.abs(before[key]))
    assert (before["fc1/kernel"] < 0).any()
    assert_equal(values(model), before)
    model.compile("adam", loss())
    masks = tfl.prune(model, 0.7, criterion=criterion)
    assert tfl.masks.density(masks) == pytest.approx(0.3, abs=0.01)
    for key, mask in masks.items():
        value = np.array(tfl.weights.variables(model)[key], "float32")
        assert not np.count_nonzero(value[~mask])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(bad, compiled):
    kernel = np.array(compiled.get_layer("fc2").kernel)
    kernel[3, 4] = bad
    compiled.get_layer("fc2").kernel.assign(kernel)
    with pytest.raises(ValueError, match="must be finite.*'fc2/kernel'"):
        tfl.prune(compiled, 0.5)
    assert tfl.masks_of(compiled) == {}


BAD = {
    "sparsity": (1, 1.5, -0.1, np.nan, "half", None, True, {"fc1": 2}),
    "criterion": ("magnitud", None, 3),
    "scope": ("local", None),
    "pattern": ("blocks", None),
    "iterations": (0, 1.5, True),
    "collapse": ("ignore", None),
    "exclude": (["nowhere"], "nowhere", [3], 3, None),
    "include": (["nowhere"],),
}


@pytest.mark.parametrize(
    "name, value", [(name, v) for name in BAD for v in BAD[name]]
)
def test_invalid_arguments(name, value, compiled):
    before = values(compiled)
    arguments = {"sparsity": 0.5, name: value}
    with pytest.raises(ValueError, match=name) as error:
        tfl.prune(compiled, **arguments)
    assert "Received" in str(error.value) or "names" in str(error.value)
    assert_equal(values(compiled), before)
    assert tfl.masks_of(compiled) == {}
    assert tfl.optimizers.find(compiled.optimizer) is None


def test_sparsity_0_does_nothing(compiled):
    before = values(compiled)
    masks = tfl.prune(compiled, 0)
    assert all(mask.all() for mask in masks.values())
    assert_equal(values(compiled), before)
    assert tfl.optimizers.find(compiled.optimizer) is None
    masks = tfl.prune(compiled, {"fc1": 0.5, "fc2": 0.0})
    assert masks["fc2/kernel"].all() and not masks["fc1/kernel"].all()


def test_scores_that_do_not_fit(compiled):
    for scores in (
        lambda model, variables: {},
        lambda model, variables: {k: np.ones(3) for k in variables},
    ):
        with pytest.raises(ValueError, match="scores"):
            tfl.prune(compiled, 0.5, criterion=scores)
    assert tfl.masks_of(compiled) == {}


def test_uncompiled_and_unbuilt_models():
    model = conftest.functional()
    assert_pruned(model, tfl.prune(model, 0.5))
    model = keras.Sequential([layers.Dense(3)])
    model.compile("adam", loss())
    for do in (
        lambda: tfl.prune(model, 0.5),
        lambda: tfl.hold(model, {}),
        lambda: tfl.masks_of(model),
        lambda: tfl.strip(model),
    ):
        with pytest.raises(ValueError, match="is not built"):
            do()


GOOD = np.ones((10, 12), bool)


@pytest.mark.parametrize(
    "masks, match",
    [
        ({"fc9/kernel": GOOD}, "no weight 'fc9/kernel'.*'fc1/kernel'"),
        ({"fc1/kernel": GOOD.T}, r"shape \(10, 12\).*shape \(12, 10\)"),
        ({"fc1/kernel": GOOD.astype("float32")}, "boolean array.*float32"),
        ({"fc1/kernel": GOOD.astype(int)}, "boolean array.*int64"),
        ({"fc1/kernel": None}, "boolean array.*object"),
        ({"fc1/kernel": GOOD, "fc2/kernel": GOOD}, "'fc2/kernel' must be"),
        ({"norm/moving_mean": np.ones(12, bool)}, "is a state of"),
        ([GOOD], "must be a dict"),
        (None, "must be a dict"),
    ],
)
def test_masks_that_cannot_be_held(masks, match, compiled):
    before = values(compiled)
    with pytest.raises(ValueError, match=match):
        tfl.hold(compiled, masks)
    assert tfl.masks_of(compiled) == {}
    assert tfl.optimizers.find(compiled.optimizer) is None
    assert_equal(values(compiled), before)


def test_frozen_weights(compiled):
    compiled.get_layer("fc1").trainable = False
    compiled.compile("adam", loss())
    kernel = np.array(compiled.get_layer("fc1").kernel)
    masks = tfl.prune(compiled, 0.5)
    assert list(masks) == ["fc2/kernel", "logits/kernel"]
    np.testing.assert_array_equal(compiled.get_layer("fc1").kernel, kernel)
    # A mask that is asked for by name waits until the weight is trained.
    mask = np.random.rand(10, 12) < 0.5
    tfl.hold(compiled, {"fc1/kernel": mask})
    assert_pruned(compiled, masks | {"fc1/kernel": mask})


def test_masks_of_a_model_without_masks(any_model):
    assert tfl.masks_of(any_model) == {}
    any_model.compile("adam", loss())
    assert tfl.masks_of(any_model) == {}


def test_hold_and_masks_of(compiled):
    tfl.hold(compiled, {})
    assert tfl.masks_of(compiled) == {}
    mask = np.random.rand(10, 12) < 0.5
    tfl.hold(compiled, {"fc1/kernel": mask})
    assert_equal(tfl.masks_of(compiled), {"fc1/kernel": mask})
    # Weights that are not named keep theirs, and a list will do.
    other = np.random.rand(12, 4) < 0.5
    tfl.hold(compiled, {"logits/kernel": other.tolist()})
    assert_pruned(compiled, {"fc1/kernel": mask, "logits/kernel": other})
    # What is returned and what was given are copies.
    mask[...] = True
    tfl.masks_of(compiled)["logits/kernel"][...] = True
    assert not tfl.masks_of(compiled)["fc1/kernel"].all()
    assert not tfl.masks_of(compiled)["logits/kernel"].all()


def test_shared_layer():
    shared = layers.Dense(10, name="shared")
    inputs = keras.Input((10,))
    model = keras.Model(inputs, shared(shared(inputs)))
    model.compile("adam", "mse")
    masks = tfl.prune(model, 0.5)
    assert list(masks) == ["shared/kernel"]
    model.fit(np.ones((8, 10)), np.ones((8, 10)), verbose=0)
    assert_pruned(model, masks)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.some(1)
def test_looking_at_a_model_changes_no_weight(fitted, data, compiled):
    if fitted:
        compiled.fit(*data, verbose=0)
    tfl.prune(compiled, 0.5)
    before = values(compiled)
    state = [np.array(v) for v in compiled.optimizer.variables]
    compiled.predict(data[0], verbose=0)
    compiled.evaluate(*data, verbose=0)
    compiled(data[0])
    assert_equal(values(compiled), before)
    for variable, value in zip(compiled.optimizer.variables, state):
        np.testing.assert_array_equal(np.array(variable), value)


def test_outputs_are_those_of_the_pruned_weights(compiled, data):
    plain = conftest.functional()
    masks = tfl.prune(compiled, 0.5)
    for key, variable in tfl.weights.variables(plain).items():
        variable.assign(tfl.weights.variables(compiled)[key])
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(compiled(data[0])),
        keras.ops.convert_to_numpy(plain(data[0])),
    )
    assert tfl.masks.density(masks) == 0.5


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize("name", conftest.MODELS)
def test_strip(name, data):
    model = make(name, metrics=["accuracy"])
    masks = tfl.prune(model, 0.8)
    model.fit(*data, verbose=0)
    before = values(model)
    outputs = model.predict(data[0], verbose=0)
    results = model.evaluate(*data, verbose=0)
    slots = [np.array(v) for v in tfl.optimizers.state(model.optimizer)]
    with stripping(name):
        plain = tfl.strip(model)
    assert_equal(values(plain), before)
    assert tfl.masks_of(plain) == {}
    np.testing.assert_array_equal(
        plain.predict(data[0], verbose=0), outputs
    )
    # Compiled as it was, with all the optimizer has learned.
    assert type(plain.optimizer) is Adam
    assert plain.evaluate(*data, verbose=0) == pytest.approx(results)
    for variable, value in zip(
        plain.optimizer.variables, slots, strict=True
    ):
        np.testing.assert_array_equal(np.array(variable), value)
    for variable in plain.trainable_variables:
        assert variable.constraint is None
    if name == "subclassed":
        assert plain is model
    else:
        # The original goes on holding its masks.
        assert plain is not model
        assert_pruned(model, masks)
        ends = conftest.BatchEnds()
        model.fit(*data, verbose=0, callbacks=[ends])
        assert ends.revived == 0 and ends.seen > 0
    assert_equal(values(plain), before)
    plain.fit(*data, verbose=0)
    kernel = np.array(tfl.weights.prunable(plain)["logits/kernel"])
    assert np.count_nonzero(kernel) > masks["logits/kernel"].sum()


@pytest.mark.parametrize("name", ["sequential", "functional", "subclassed"])
def test_strip_without_masks_or_compilation(name):
    model = conftest.MODELS[name]()
    with stripping(name):
        plain = tfl.strip(model)
    assert not plain.compiled
    assert_equal(values(plain), values(model))


def test_strip_gives_the_users_constraint_back(data):
    model = sequential(
        layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(0.5))
    )
    model.compile(SGD(1.0), loss())
    tfl.prune(model, 0.5)
    plain = tfl.strip(model)
    constraint = plain.layers[0].kernel.constraint
    assert isinstance(constraint, keras.constraints.MaxNorm)
    plain.fit(*data, verbose=0)
    norms = np.linalg.norm(np.array(plain.layers[0].kernel), axis=0)
    assert norms.max() < 0.51


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tf_lottery":
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import keras, numpy as np
x, expected = np.load(sys.argv[2]).values()
for path in sys.argv[3:]:
    model = keras.models.load_model(path)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, 1e-5)
    assert type(model.optimizer) is keras.optimizers.Adam
    model.fit(x, np.zeros(len(x)), verbose=0)
try:
    keras.models.load_model(sys.argv[1])
except Exception as error:
    assert "tf_lottery" in str(error), error
else:
    raise AssertionError("tf_lottery was there all the time")
"""


@pytest.mark.slow
def test_a_stripped_model_loads_without_tf_lottery(data, tmp_path):
    paths = [str(tmp_path / f"{n}.keras") for n in ("masked", "held", "wrap")]
    model = make()
    tfl.prune(model, 0.5)
    model.fit(*data, verbose=0)
    model.save(paths[0])
    tfl.strip(model).save(paths[1])
    wrapped = tfl.layers.wrap(model)
    wrapped.compile(Adam(0.01), loss())
    tfl.strip(wrapped).save(paths[2])
    np.savez(
        tmp_path / "data.npz", x=data[0],
        y=model.predict(data[0], verbose=0),
    )
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, paths[0], tmp_path / "data.npz",
         *paths[1:]],
        capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_next_masks_keeps_one_weight_of_each():
    scores = {"a": np.arange(6.0), "b": np.arange(6.0) - 10}
    masks = tfl.masks.ones({"a": (6,), "b": (6,)})
    rates = {"a": 0.5, "b": 0.5}
    sizes = []
    for _ in range(6):
        inner = tfl.pruning.allocation.next_masks(scores, masks, rates)
        assert tfl.masks.nested(inner, masks)
        masks = inner
        sizes.append((int(masks["a"].sum()), int(masks["b"].sum())))
    assert sizes == [(5, 1), (2, 1), (1, 1), (1, 1), (1, 1), (1, 1)]
