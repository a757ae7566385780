"""Mistakes put into the small models of generated nets are all refused."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from tests import conftest
from tf_lottery import structured
from tf_lottery.structured import slices


def images(draw):
    """Blocks of convolutions, drawn one after the other."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    for _ in range(3):
        x = layers.BatchNormalization()(x)
        x = layers.Activation(draw.choice(["relu", "swish", "sigmoid"]))(x)
        kind = draw.integers(5)
        width = x.shape[-1]
        if kind == 0:
            x = x + layers.Conv2D(width, 3, padding="same")(x)
        elif kind == 1:
            y = layers.DepthwiseConv2D(3, padding="same")(x)
            x = layers.Conv2D(8, 1)(layers.BatchNormalization()(y))
        elif kind == 2:
            y = layers.Conv2D(4, 5, padding="same", use_bias=False)(x)
            x = layers.Concatenate()([x, y])
        elif kind == 3:
            y = layers.GlobalAveragePooling2D(keepdims=True)(x)
            y = layers.Dense(4, "relu")(y)
            x = x * layers.Dense(width, "sigmoid")(y)
        else:
            x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(8, "gelu")(x)))


def sequences(draw):
    """A stream with attention and hidden layers, drawn likewise."""
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(11, 8)(inputs)
    for _ in range(2):
        y = layers.RMSNormalization()(x)
        if draw.integers(2):
            y = layers.MultiHeadAttention(2, 4)(y, y)
        else:
            y = layers.Dense(8)(layers.Dense(12, "gelu")(y))
        x = x + y
    x = layers.RMSNormalization()(x)
    x = layers.Dense(6, "tanh")(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, layers.Dense(3)(x))


def other_channel(cut, key, value):
    (axis, mask), *rest = cut.slices[key]
    wrong = {**cut.slices, key: [(axis, np.roll(mask, 1)), *rest]}
    return dataclasses.replace(cut, slices=wrong), lambda found: found


def scaled(cut, key, value):
    return cut, lambda found: found * (1 + 1e-6)


def transposed(cut, key, value):
    def change(found):
        pairs = [
            (a, b) for b in range(found.ndim) for a in range(b)
            if found.shape[a] == found.shape[b] > 1
        ]
        return np.swapaxes(found, *pairs[-1]) if pairs else found[::-1]

    return cut, change


@pytest.mark.parametrize("seed", conftest.slow_but(range(2), range(10)))
@pytest.mark.parametrize("build", [images, sequences])
def test_every_mistake_is_refused(build, seed, monkeypatch):
    draw = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    model = build(draw)
    plan = structured.plan(model, ratio=0.5)
    proof = structured.proof_of(structured.shrink(model, plan))
    assert proof.error < 1e-12 < 1e-4 < proof.control
    assert not proof.blind
    value = slices.Cut.value
    for mistake in (other_channel, scaled, transposed):
        members = [tuple(m) for g in plan.groups for m in g.members]
        # Attention is the same whatever is added to all keys.
        keys = sorted({k for k, *_ in members if not k.endswith("key/bias")})
        if mistake is transposed:
            keys = [key for key in keys if "kernel" in key]
        key = str(draw.choice(keys))

        def wrong(cut, k, array, key=key, mistake=mistake):
            if k != key:
                return value(cut, k, array)
            cut, change = mistake(cut, key, array)
            return change(value(cut, k, array))

        monkeypatch.setattr(slices.Cut, "value", wrong)
        with pytest.raises(structured.VerificationError, match="not compute"):
            structured.shrink(model, plan)
        monkeypatch.setattr(slices.Cut, "value", value)
