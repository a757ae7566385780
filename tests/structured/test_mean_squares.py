"""Widths through root mean squares: exact where nothing makes the channels."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.ops import convert_to_numpy

from tests.graph.graph_harness import reason_of
from tf_lottery import graph as graph_lib
from tf_lottery import structured


def stream(epsilon=0.1, activation=None, shift=None):
    """Two pre-norm blocks on a stream that starts in an embedding."""
    inputs = keras.Input((4,), dtype="int32")
    x = layers.Embedding(9, 8, name="e")(inputs)
    if activation is not None:
        x = layers.Dense(8, activation, name="a")(x)
    if shift is not None:
        x = x + shift
    for name in ("one", "two"):
        y = layers.RMSNormalization(epsilon=epsilon, name=f"{name}_norm")(x)
        y = layers.Dense(6, "relu", name=f"{name}_up")(y)
        x = x + layers.Dense(8, name=f"{name}_down")(y)
    x = layers.RMSNormalization(name="norm")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def randomised(model):
    for seed, weight in enumerate(model.trainable_variables):
        random = np.random.default_rng(seed)
        weight.assign(random.uniform(0.2, 1.5, weight.shape))
    return model


def assert_same(a, b):
    np.testing.assert_allclose(
        convert_to_numpy(a), convert_to_numpy(b), rtol=1e-5
    )


def shrunk(model):
    plan = structured.plan(model, ratio=0.5)
    return structured.shrink(model, plan)


def test_width_shrinks_and_is_proved():
    model = randomised(stream())
    small = shrunk(model)
    proof = structured.proof_of(small)
    assert proof.dtype == "float64"
    assert max(proof.error, proof.weights_error) < 1e-12
    assert small.get_layer("e").output_dim == 4
    # Half the channels: twice the epsilon, the root of two times the scale.
    assert small.get_layer("one_norm").epsilon == pytest.approx(0.2)
    graph = graph_lib.trace(model)
    kept = structured.plan(model, ratio=0.5).kept(graph)
    binding = next(b for b in graph.bindings if b.key == "one_norm/scale")
    scale = convert_to_numpy(binding.variable)[kept[binding.ids]]
    np.testing.assert_allclose(
        convert_to_numpy(small.get_layer("one_norm").scale),
        np.sqrt(2) * scale, rtol=1e-6,
    )


def test_the_small_model_is_the_big_one_without_makers_and_readers():
    model = randomised(stream())
    graph = graph_lib.trace(model)
    small = shrunk(model)
    kept = structured.plan(model, ratio=0.5).kept(graph)
    for binding in graph.bindings:
        cleared = graph.cleared[binding.ids] & ~kept[binding.ids]
        if binding.kind == "in":
            cleared = ~kept[binding.ids]
        value = np.array(convert_to_numpy(binding.variable))
        value = np.moveaxis(value, binding.axis, 0)
        value[cleared] = 0
        binding.variable.assign(np.moveaxis(value, 0, binding.axis))
    x = np.arange(8).reshape(2, 4)
    assert_same(small(x), model(x))


@pytest.mark.parametrize("wrong", ["factor", "epsilon"])
def test_wrong_corrections_are_refused(wrong, monkeypatch):
    if wrong == "factor":
        monkeypatch.setattr(graph_lib.Graph, "scales", lambda *_: {})
    else:
        edits = graph_lib.Graph.edits
        monkeypatch.setattr(
            graph_lib.Graph,
            "edits",
            lambda *a: {
                op: {k: v for k, v in e.items() if k != ("epsilon",)}
                for op, e in edits(*a).items()
            },
        )
    with pytest.raises(structured.VerificationError, match="does not compute"):
        shrunk(stream())


@pytest.mark.parametrize(
    "options", [{"activation": "sigmoid"}, {"shift": 1.0}]
)
def test_what_does_not_vanish_stays(options):
    graph = graph_lib.trace(stream(**options))
    assert [group.name for group in graph.groups] == ["one_up", "two_up"] or (
        "a" not in [group.name for group in graph.groups]
    )
    path = "a" if "activation" in options else "e"
    assert reason_of(graph, path) == (
        "RMSNormalization 'one_norm' counts units that are not zero with "
        "their weights"
    )


def test_tied_embeddings_make_and_read():
    inputs = keras.Input((4,), dtype="int32")
    table = layers.ReversibleEmbedding(9, 8, name="e")
    x = table(inputs)
    x = x + layers.Dense(8, name="b")(layers.RMSNormalization()(x))
    model = keras.Model(
        inputs, table(layers.RMSNormalization()(x), reverse=True)
    )
    small = shrunk(randomised(model))
    assert small.get_layer("e").output_dim == 4
    assert structured.proof_of(small).error < 1e-12


def test_compaction_keeps_what_a_mean_square_counts():
    model = randomised(stream())
    kernel = model.get_layer("logits").kernel
    reads = np.array(convert_to_numpy(kernel))
    reads[:3] = 0
    kernel.assign(reads)
    small = structured.compact(model)
    assert small.get_layer("e").output_dim == 8
    x = np.arange(8).reshape(2, 4)
    assert_same(small(x), model(x))
