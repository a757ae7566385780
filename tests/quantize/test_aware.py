"""Int8 in training: what it rounds, what it keeps, what the file computes."""

import functools

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tf_lottery.export import convert
from tf_lottery.export import flatbuffer
from tf_lottery.export import samples
from tf_lottery.export import sources
from tf_lottery.quantize import fake_quantize

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8, 8, 2)).astype("float32")
Y = RNG.integers(0, 4, 64)


def conv_net(seed=0):
    """What MobileNetV2 is made of, in small."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = x = keras.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(x)
    x = shortcut = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 1, use_bias=False, name="project")(x)
    x = layers.Add()([shortcut, layers.BatchNormalization()(x)])
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(4, name="logits")(x))
    return compiled(model)


def dense_net():
    keras.utils.set_random_seed(0)
    return compiled(keras.Sequential([
        keras.Input((8, 8, 2)),
        keras.layers.Flatten(),
        keras.layers.Dense(30, activation="relu", name="fc"),
        keras.layers.Dense(4, name="logits"),
    ]))


NETS = {"conv": conv_net, "dense": dense_net}


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model


def trained(model, epochs=2):
    model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0)
    return model


def aware_of(model):
    return trained(compiled(tfl.quantize.aware(model)))


@functools.cache
def aware_net(net):
    """One for several tests, which leave it as it is, and its file."""
    aware = aware_of(NETS[net]())
    return aware, file_of(aware)


def file_of(model):
    return convert.Converter(sources.open_model(model)).convert("int8")


def run(content, inputs, output=0):
    """Returns an output of a file, its step, and its int8 constants."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=content)
    entry = interpreter.get_input_details()[0]
    end = interpreter.get_output_details()[output]
    interpreter.resize_tensor_input(entry["index"], inputs.shape)
    interpreter.allocate_tensors()
    details = interpreter.get_tensor_details()
    weights = [
        (interpreter.get_tensor(d["index"]), d["quantization_parameters"])
        for d in details
        if d["dtype"] == np.int8 and _is_constant(d)
    ]
    interpreter.set_tensor(entry["index"], inputs)
    interpreter.invoke()
    steps = [
        d["quantization"][0] for d in details if d["dtype"] == np.int8
        and tuple(d["shape"]) == tuple(end["shape"])
    ]
    return interpreter.get_tensor(end["index"]), max(steps), weights


def _is_constant(detail):
    return len(detail["quantization_parameters"]["scales"]) and (
        not detail["quantization_parameters"]["zero_points"].any()
        and len(detail["shape"]) > 1 and detail["shape"][0] > 1
        or len(detail["quantization_parameters"]["scales"]) > 1
    )


def kernel(model, name):
    layer = model.get_layer(name)
    return np.asarray(getattr(layer, "layer", layer).kernel)


def test_weights_are_rounded_as_tflite_does():
    weight = RNG.normal(size=(5, 3)).astype("float32")
    weight[0], weight[:, 2] = 0, 0
    found = np.asarray(fake_quantize.rounded_weight(weight, (0,)))
    scales = np.abs(weight).max(0) / 127
    scales[2] = 1
    assert not found[weight == 0].any()
    np.testing.assert_allclose(
        found, np.round(weight / scales) * scales, atol=1e-6
    )
    assert np.abs(found - weight).max() > 1e-4


def test_gradients_pass_inside_the_range():
    import tensorflow as tf

    layer = tfl.quantize.FakeQuantize(limits=(-1.0, 1.0))
    values = tf.constant([-2.0, 0.3, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs = layer(values)
    assert tape.gradient(outputs, values).numpy().tolist() == [0, 1, 0]
    assert abs(float(outputs[1]) - 0.3) <= 1 / 255


def test_ranges_are_moving_averages_of_training_alone():
    layer = tfl.quantize.FakeQuantize(momentum=0.75)
    values = np.array([-1.0, 3.0], "float32")
    np.testing.assert_array_equal(layer(values), values)
    layer(values, training=True)
    assert layer.range == (-1, 3)
    layer(2 * values, training=True)
    assert layer.range == (-1.25, 3.75)
    layer(9 * values)
    assert layer.range == (-1.25, 3.75)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.some(1)
def test_the_file_computes_what_training_saw(net):
    aware, content = aware_net(net)
    found, step, _ = run(content, X)
    difference = np.abs(found - aware.predict(X, verbose=0)) / step
    assert difference.max() < 1.01
    assert (difference > 0.5).mean() < 0.1
    plain = tfl.strip(aware).predict(X, verbose=0)
    assert np.abs(found - plain).max() > 1.01 * step


def test_all_operators_of_the_file_are_int8():
    graph = flatbuffer.read(aware_net("conv")[1]).subgraphs[0]
    types = [
        {graph.tensors[i].type for i in operator.outputs}
        for operator in graph.operators
    ]
    # The last one gives float32 to whoever asked for it.
    assert types == [{9}] * (len(types) - 1) + [{0}]


def test_the_integers_are_those_of_training():
    aware, content = aware_net("dense")
    _, _, weights = run(content, X)
    layer = aware.get_layer("fc")
    rounded = np.asarray(layer.value_of(layer.layer.kernel))
    found, quantization = next(w for w in weights if w[0].shape == (30, 128))
    scales = np.abs(kernel(aware, "fc")).max(0) / 127
    np.testing.assert_allclose(quantization["scales"], scales, rtol=1e-6)
    np.testing.assert_array_equal(found, np.round(rounded / scales).T)


@pytest.mark.parametrize(
    "net", ["dense", pytest.param("conv", marks=pytest.mark.slow)]
)
def test_pruned_weights_stay_zero_pqat(net):
    model = NETS[net]()
    masks = tfl.prune(model, sparsity=0.7)
    aware = aware_of(model)
    assert tfl.masks_of(aware).keys() == masks.keys()
    for key, mask in masks.items():
        found = kernel(aware, key.partition("/")[0])
        np.testing.assert_array_equal(found != 0, mask)
    _, _, weights = run(file_of(aware), X)
    zeros = sum((w == 0).sum() for w, _ in weights)
    assert zeros >= sum((~mask).sum() for mask in masks.values())


@pytest.mark.parametrize("net, pruned", [
    pytest.param("dense", False, id="dense-cqat"),
    pytest.param("conv", True, id="conv-pcqat"),
    pytest.param("conv", False, id="conv-cqat", marks=pytest.mark.slow),
    pytest.param("dense", True, id="dense-pcqat", marks=pytest.mark.slow),
])
def test_clusters_stay_in_training_and_in_the_file(net, pruned):
    model = NETS[net]()
    if pruned:
        tfl.prune(model, sparsity=0.6)
    masks = tfl.masks_of(model)
    keys = list(tfl.cluster(model, clusters=4))
    aware = aware_of(model)
    for key in keys:
        found = kernel(aware, key.partition("/")[0])
        assert len(np.unique(found)) <= 4
        if pruned:
            np.testing.assert_array_equal(found != 0, masks[key])
    found, step, weights = run(file_of(aware), X)
    shapes = {kernel(aware, k.partition("/")[0]).size for k in keys}
    clustered = [w for w, _ in weights if w.size in shapes]
    assert len(clustered) >= len(keys)
    if net == "conv":
        # BatchNormalization may turn the sign of a channel.
        clustered = map(np.abs, clustered)
    assert all(len(np.unique(w)) <= 4 for w in clustered)
    difference = np.abs(found - aware.predict(X, verbose=0)) / step
    assert difference.max() < 1.01


def test_clustered_kernels_of_one_input_channel():
    layer = keras.layers.Conv2D(5, 3, use_bias=False)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(layer(inputs)))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = compiled(keras.Model(inputs, keras.layers.Dense(4)(x)))
    tfl.cluster(model, clusters=4)
    aware = tfl.quantize.aware(model)
    compiled(aware).fit(X[..., :1], Y, epochs=2, verbose=0)
    found, step, weights = run(file_of(aware), X[..., :1])
    size = int(np.prod(layer.kernel.shape))
    kernel, = (w for w, _ in weights if w.size == size)
    assert len(np.unique(np.abs(kernel))) <= 4
    difference = np.abs(found - aware.predict(X[..., :1], verbose=0)) / step
    assert difference.max() < 1.01


def test_slopes_of_prelu_and_several_outputs():
    keras.utils.set_random_seed(0)
    slopes = keras.initializers.RandomUniform(-0.4, 0.4)
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(6, 3)(inputs)
    x = keras.layers.PReLU(slopes, shared_axes=(1, 2))(x)
    x = keras.layers.Dense(5)(keras.layers.Flatten()(x))
    x = keras.layers.PReLU(slopes)(x)
    model = keras.Model(inputs, [
        keras.layers.Dense(2, "softmax")(x), keras.layers.Dense(3)(x)
    ])
    aware = tfl.quantize.aware(model)
    aware.compile(keras.optimizers.Adam(1e-3), ["mse", "mse"])
    aware.fit(X, [X[:, 0, 0], X[:, 0, 1:, 0][:, :3]], verbose=0)
    content = file_of(aware)
    for i, wanted in enumerate(aware.predict(X, verbose=0)):
        found, step, _ = run(content, X, i)
        difference = np.abs(found - wanted) / step
        assert difference.max() < 2.01 and (difference > 0.5).mean() < 0.1
    types = [t.type for t in flatbuffer.read(content).subgraphs[0].tensors]
    assert types.count(0) == 3


def test_a_saved_copy_loads_and_is_exported(tmp_path):
    aware, _ = aware_net("dense")
    aware.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        loaded.predict(X, verbose=0), aware.predict(X, verbose=0)
    )
    report = tfl.export.tflite(
        tmp_path / "m.keras", tmp_path / "m.tflite", "size", "int8", seconds=0
    )
    assert report.shipped.quantize == "int8"


def test_files_are_compared_with_what_was_trained_for_int8():
    aware, _ = aware_net("dense")
    # Random inputs may lie far outside of what training saw.
    x = 50 * X[:4]
    source = sources.open_model(aware, batch_size=1)
    found = samples.Samples.of(source, [x], 1)
    wanted = aware.predict(x, verbose=0)[:, None]
    np.testing.assert_allclose(found.expected("int8")[0], wanted, rtol=1e-5)
    plain = found.expected("float32")[0]
    assert np.abs(plain - wanted).max() > np.abs(wanted).max()


def test_strip_returns_the_plain_model():
    model, plain = conv_net(), tfl.strip(aware_net("conv")[0])
    assert [type(x) for x in plain.layers] == [type(x) for x in model.layers]
    assert not tfl.quantize.is_aware(plain)


def test_layers_are_left_in_float():
    aware = tfl.quantize.aware(dense_net(), exclude="fc")
    assert not isinstance(aware.get_layer("fc"), tfl.quantize.Quantized)
    # What comes from float is rounded by who takes it.
    assert "input_0" in aware.get_layer("logits").ranges
    with pytest.raises(ValueError, match="nowhere"):
        tfl.quantize.aware(dense_net(), exclude="nowhere")


def test_layers_without_a_rule_are_named():
    model = keras.Sequential(
        [keras.Input((4, 3)), keras.layers.LSTM(2, name="lstm")]
    )
    with pytest.warns(UserWarning, match="stay in float.*'lstm"):
        tfl.quantize.aware(model)


def test_models_that_do_not_fit_are_refused(tmp_path):
    aware = tfl.quantize.aware(dense_net())
    with pytest.raises(ValueError, match="not quantised yet"):
        tfl.quantize.aware(aware)
    with pytest.raises(ValueError, match="has not learnt the ranges"):
        tfl.export.tflite(aware, tmp_path / "m.tflite", quantize="int8")
    half = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(2, dtype="mixed_float16")]
    )
    with pytest.raises(ValueError, match="float32"):
        tfl.quantize.aware(half)
