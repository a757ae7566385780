"""XNNPACK's conditions, one broken at a time, and the padding it asks for."""

import functools

import keras
import numpy as np
import pytest

from tf_lottery import export
from tf_lottery.export import convert
from tf_lottery.export import examining
from tf_lottery.export import flatbuffer
from tf_lottery.export import sources
from tf_lottery.export import xnnpack


def net(
    size=16, kernel=3, channels=3, strides=2, pad=1, zeros=0.8, tail="mean",
    inside=None, same=False,
):
    """A network that fits, unless an argument says otherwise."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((size, size, channels))
    x = inputs
    if not same:
        x = layers.ZeroPadding2D(pad)(x)
    x = layers.Conv2D(
        8, kernel, strides, "same" if same else "valid", activation="relu",
        name="first",
    )(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    if inside:
        x = inside(x)
    x = layers.Conv2D(16, 1, activation="relu", name="pointwise")(x)
    if tail == "mean":
        x = layers.GlobalAveragePooling2D()(x)
    else:
        x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    pointwise = model.get_layer("pointwise").kernel
    value = keras.ops.convert_to_numpy(pointwise).copy()
    value.reshape(-1)[:round(value.size * zeros)] = 0
    pointwise.assign(value)
    return model


@pytest.fixture
def verdicts(child):
    return functools.partial(_verdicts, child)


def _verdicts(child, model):
    source = sources.open_model(model)
    content = convert.Converter(source, child=child).convert()
    file = flatbuffer.read(content)
    found = xnnpack.explain(file)
    names = {(w.graph, w.index): w.name for w in flatbuffer.weights(file)}
    return {
        name: found[place]
        for place, text in names.items()
        for name in ("first", "depthwise", "pointwise")
        if f"/{name}_1/" in text and place in found
    }


def test_a_network_that_fits_runs_sparse(verdicts):
    found = verdicts(net())
    assert found["pointwise"][0] and "79.7 %" in found["pointwise"][1]
    assert not found["first"][0] and "1x1" in found["first"][1]
    assert not found["depthwise"][0]


@pytest.mark.parametrize(
    "broken, message",
    [
        ({"same": True}, "padding 'same' at stride 2"),
        # The converter makes 'same' of it.
        ({"pad": ((0, 1), (0, 1))}, "padding 'same' at stride 2"),
        ({"pad": 2}, "padding (2, 2, 2, 2)"),
        ({"pad": 0}, "padding (0, 0, 0, 0)"),
        ({"kernel": 5, "pad": 2}, "5x5 kernel on 3 channels"),
        ({"channels": 4}, "3x3 kernel on 4 channels"),
        ({"strides": 1}, "stride 1"),
        ({"zeros": 0.6}, "more than 2/3"),
        ({"tail": "flatten"}, "behind the first convolution"),
        (
            {"inside": keras.layers.MaxPooling2D()},
            "MAX_POOL_2D is not among the operators",
        ),
        (
            {"inside": keras.layers.Conv2D(8, 3, name="wide")},
            "CONV_2D has a 3x3 kernel",
        ),
    ],
)
def test_each_condition_is_named(verdicts, broken, message):
    runs, reason = verdicts(net(**broken))["pointwise"]
    assert not runs and message in reason


def test_exactly_two_thirds_are_not_enough(verdicts):
    # 128 weights: 85 are 66.4 %, 86 are 67.2 %.
    assert not verdicts(net(zeros=85 / 128))["pointwise"][0]
    assert verdicts(net(zeros=86 / 128))["pointwise"][0]


def test_padding_made_explicit_fits(verdicts, tmp_path, monkeypatch):
    model = net(same=True)
    assert not verdicts(model)["pointwise"][0]
    padded, shifted = export.explicit_padding(model)
    assert shifted == ["first"]
    assert verdicts(padded)["pointwise"][0]


@pytest.mark.parametrize("size", [15, 16])
def test_odd_images_see_no_difference(size):
    model = net(size=size, same=True)
    padded, shifted = export.explicit_padding(model)
    x = np.random.default_rng(0).normal(size=(2, size, size, 3))
    same = np.allclose(padded(x), model(x), atol=1e-5)
    assert same == (size % 2 == 1) and shifted == [] * same + (
        [] if same else ["first"]
    )


def test_padding_layers_of_the_applications_are_found(verdicts):
    model = net(pad=((0, 1), (0, 1)))
    padded, shifted = export.explicit_padding(model)
    assert len(shifted) == 1 and verdicts(padded)["pointwise"][0]


def test_subclassed_models_are_refused():
    class Other(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="Sequential and Functional"):
        export.explicit_padding(Other())


@pytest.mark.slow
def test_the_report_says_why(tmp_path, monkeypatch):
    name = export.installed()[:1]
    monkeypatch.setattr(
        examining.children, "installed", lambda: name
    )
    model = net(same=True)
    path = tmp_path / "m.tflite"
    before = export.tflite(model, path, "arm", seconds=0)
    assert not any(layer.runs_sparse for layer in before.layers)
    assert "padding 'same' at stride 2" in str(before.to_json())
    after = export.tflite(
        model, path, "arm", explicit_padding=True, seconds=0
    )
    assert "train it for some epochs" in " ".join(after.notes)
