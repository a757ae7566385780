"""Layouts: what the axes of a weight mean, for every kind of layer."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tf_lottery import weights
from tf_lottery.patterns import layouts
from tf_lottery.patterns.layouts import Layout


@st.composite
def layout_and_shape(draw):
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=5)))
    axes = draw(st.permutations(range(len(shape))))
    first = draw(st.integers(0, len(shape)))
    second = draw(st.integers(first, len(shape)))
    return Layout(tuple(axes[:first]), tuple(axes[first:second])), shape


@settings(max_examples=100, deadline=None)
@given(layout_and_shape())
def test_matrix_and_back(pair):
    layout, shape = pair
    array = np.arange(math.prod(shape)).reshape(shape)
    matrix = layout.to_matrix(array)
    assert matrix.shape == layout.sizes(shape)
    restored = layout.from_matrix(matrix, shape)
    np.testing.assert_array_equal(restored, array)
    assert restored.flags.c_contiguous
    swapped = layout.swapped().to_matrix(array)
    np.testing.assert_array_equal(swapped, matrix.transpose(0, 2, 1))


@settings(max_examples=60, deadline=None)
@given(layout_and_shape())
def test_matrix_holds_each_entry_at_its_place(pair):
    layout, shape = pair
    array = np.arange(math.prod(shape)).reshape(shape)
    matrix = layout.to_matrix(array)
    used = layout.inputs + layout.outputs
    parts = [
        [axis for axis in range(len(shape)) if axis not in used],
        layout.inputs,
        layout.outputs,
    ]
    for index in np.ndindex(*shape):
        place = []
        for axes in parts:
            number = 0
            for axis in axes:
                number = number * shape[axis] + index[axis]
            place.append(number)
        assert matrix[tuple(place)] == array[index]


@pytest.mark.parametrize(
    "ndim, expected",
    [
        (0, Layout((), ())),
        (1, Layout((), (0,))),
        (2, Layout((0,), (1,))),
        (4, Layout((2,), (3,))),
    ],
)
def test_default(ndim, expected):
    assert layouts.default(ndim) == expected


CONV = {"filters": 6, "kernel_size": 3}
L = keras.layers
LAYERS = {
    "dense": (L.Dense(5), (8,), {"kernel": ((0,), (1,))}),
    "conv1d": (L.Conv1D(**CONV), (9, 4), {"kernel": ((1,), (2,))}),
    "conv2d": (L.Conv2D(**CONV), (9, 9, 4), {"kernel": ((2,), (3,))}),
    "conv2d_groups": (
        L.Conv2D(groups=2, **CONV), (9, 9, 4), {"kernel": ((2,), (3,))}
    ),
    "conv3d": (L.Conv3D(**CONV), (9, 9, 9, 4), {"kernel": ((3,), (4,))}),
    "conv1d_transpose": (
        L.Conv1DTranspose(**CONV), (9, 4), {"kernel": ((2,), (1,))}
    ),
    "conv2d_transpose": (
        L.Conv2DTranspose(**CONV), (9, 9, 4), {"kernel": ((3,), (2,))}
    ),
    "conv3d_transpose": (
        L.Conv3DTranspose(**CONV), (9, 9, 9, 4), {"kernel": ((4,), (3,))}
    ),
    "depthwise1d": (
        L.DepthwiseConv1D(3, depth_multiplier=2),
        (9, 4),
        {"kernel": ((0,), (1, 2))},
    ),
    "depthwise2d": (
        L.DepthwiseConv2D(3), (9, 9, 4), {"kernel": ((0, 1), (2, 3))}
    ),
    "separable1d": (
        L.SeparableConv1D(**CONV),
        (9, 4),
        {
            "depthwise_kernel": ((0,), (1, 2)),
            "pointwise_kernel": ((1,), (2,)),
        },
    ),
    "separable2d": (
        L.SeparableConv2D(**CONV),
        (9, 9, 4),
        {
            "depthwise_kernel": ((0, 1), (2, 3)),
            "pointwise_kernel": ((2,), (3,)),
        },
    ),
    "lstm": (
        L.LSTM(3),
        (5, 4),
        {
            "lstm_cell/kernel": ((0,), (1,)),
            "lstm_cell/recurrent_kernel": ((0,), (1,)),
        },
    ),
    "attention": (
        L.MultiHeadAttention(2, 3),
        None,
        {
            "query/kernel": ((0,), (1, 2)),
            "key/kernel": ((0,), (1, 2)),
            "value/kernel": ((0,), (1, 2)),
            "attention_output/kernel": ((0, 1), (2,)),
        },
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layouts_of_layers(name):
    layer, shape, expected = LAYERS[name]
    if shape is None:
        layer.build((None, 5, 8), (None, 5, 8))
    else:
        layer.build((None, *shape))
    found = layouts.layouts_of(weights.inspect(layer, include="*"))
    assert found == {k: Layout(*axes) for k, axes in expected.items()}


@pytest.mark.parametrize(
    "equation, output, inputs, outputs",
    [
        ("ab,bc->ac", 5, (0,), (1,)),
        ("...x,xy->...y", 5, (0,), (1,)),
        ("ab,cb->ac", 5, (1,), (0,)),
        ("abc,bcd->abd", (4, 5), (1,), (0, 2)),
        ("abc,cb->ab", 4, (0,), (1,)),
    ],
)
def test_layouts_of_equations(equation, output, inputs, outputs):
    layer = keras.layers.EinsumDense(equation, output)
    shape = (None, 4, 8) if "abc" in equation else (None, 8)
    layer.build(shape)
    found = layouts.layouts_of(weights.inspect(layer, include="*"))
    assert found == {"kernel": Layout(inputs, outputs)}


def test_layout_of_attention_is_that_of_its_matrix_product():
    """The matrix of a layout computes what the layer computes."""
    rng = np.random.default_rng(0)
    layer = keras.layers.MultiHeadAttention(2, 3)
    layer.build((None, 5, 8), (None, 5, 8))
    found = {w.key: w for w in weights.inspect(layer)}
    layout = layouts.layouts_of(found.values())
    for key, shape in (
        ("query/kernel", (5, 8)), ("attention_output/kernel", (5, 2, 3))
    ):
        x = rng.standard_normal((1, *shape)).astype("float32")
        kernel = keras.ops.convert_to_numpy(found[key].variable)
        matrix = layout[key].to_matrix(kernel)[0]
        plain = x.reshape(5, -1) @ matrix
        actual = keras.ops.convert_to_numpy(found[key].layer(x))
        np.testing.assert_allclose(
            actual.reshape(5, -1), plain, rtol=1e-5, atol=1e-6
        )


def test_layouts_of_models_cover_what_is_prunable():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Embedding(11, 4, name="words"),
            keras.layers.Bidirectional(keras.layers.GRU(3)),
            keras.layers.Dense(2, name="out"),
        ]
    )
    found = weights.inspect(model, exclude="out", include="words")
    keys = weights.prunable(model, exclude="out", include="words")
    assert list(layouts.layouts_of(found)) == list(keys)
    assert layouts.layouts_of(found)["words/embeddings"] == Layout((0,), (1,))


def test_unknown_layers_have_the_default_layout():
    class Mine(keras.layers.Layer):
        def build(self, input_shape):
            self.table = self.add_weight(shape=(2, 3, 4), name="table")

        def get_prunable_weights(self):
            return [self.table]

    layer = Mine()
    layer.build((None, 2))
    found = layouts.layouts_of(weights.inspect(layer, include="*"))
    assert found == {"table": Layout((1,), (2,))}


@pytest.mark.parametrize("axes", [((0,), (0,)), ((1, 1), ()), ((-1,), (0,))])
def test_wrong_axes_are_refused(axes):
    with pytest.raises(ValueError, match="`inputs`"):
        Layout(*axes)


def test_layouts_that_do_not_fit_are_refused_by_name():
    shapes = {"a": (2, 3), "b": (4,)}
    assert layouts.complete(None, shapes)["b"] == Layout((), (0,))
    given = {"a": Layout((1,), (0,)), "c": Layout((5,), (6,))}
    assert layouts.complete(given, shapes)["a"] == given["a"]
    with pytest.raises(ValueError, match="`layouts`.*'b'.*1 axes"):
        layouts.complete({"b": Layout((0,), (1,))}, shapes)
