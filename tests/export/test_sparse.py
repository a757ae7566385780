"""Sparse tensors and the edits of a file: what is stored is what was given."""

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import keras
import numpy as np
import pytest

from tf_lottery.export import convert
from tf_lottery.export import encoding
from tf_lottery.export import entropy
from tf_lottery.export import flatbuffer
from tf_lottery.export import inspection
from tf_lottery.export import sources
from tf_lottery.export import sparse

_FEW = hypothesis.settings(max_examples=25, deadline=None)
_DENSE = hypothesis.extra.numpy.arrays(
    "float32",
    hypothesis.extra.numpy.array_shapes(min_dims=1, max_dims=4, max_side=7),
    elements=st.sampled_from([0.0, 0.0, 0.0, 1.5, -2.0]),
)


def restored(found):
    return sparse.decode(found.values, found.shape, sparse.parameters(found))


@_FEW
@hypothesis.given(_DENSE, st.data())
def test_every_axis_can_be_the_sparse_one(dense, data):
    axis = data.draw(st.integers(0, dense.ndim - 1))
    found = sparse.encode(dense, axis)
    assert len(found.values) == np.count_nonzero(dense)
    np.testing.assert_array_equal(restored(found), dense)


@_FEW
@hypothesis.given(_DENSE, st.sampled_from([2, 4]))
def test_blocks_keep_whole_blocks(dense, block):
    dense = np.repeat(dense, block, axis=-1)
    dense[..., ::block] *= 0
    found = sparse.encode(dense, block=block)
    kept = dense.reshape(-1, block).any(1).sum()
    assert len(found.indices) == kept and len(found.values) == block * kept
    np.testing.assert_array_equal(restored(found), dense)


@_FEW
@hypothesis.given(_DENSE)
def test_the_smallest_encoding_is_no_larger_than_any(dense):
    found = sparse.smallest(dense)
    assert found.nbytes == min(
        sparse.encode(dense, axis).nbytes for axis in range(dense.ndim)
    )
    np.testing.assert_array_equal(restored(found), dense)


@pytest.mark.parametrize(
    "length, width", [(256, 1), (257, 2), (65536, 2), (65537, 4)]
)
def test_indices_are_as_narrow_as_the_axis_allows(length, width):
    dense = np.zeros((1, length), "float32")
    dense[0, -1] = 1
    assert sparse.encode(dense).arrays[2].itemsize == width


@pytest.fixture(scope="module")
def lenet(child):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((40,)),
            keras.layers.Dense(64, "relu", name="fc1"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    model.layers[0].kernel.assign(
        kernel * (np.abs(kernel) > np.quantile(np.abs(kernel), 0.8))
    )
    source = sources.open_model(model)
    content = convert.Converter(source, child=child).convert()
    return model, content


@pytest.mark.slow
def test_a_file_keeps_what_it_holds_when_written_again(lenet):
    model, content = lenet
    again = flatbuffer.write(flatbuffer.read(content))
    a, b = inspection.inspect(content), inspection.inspect(again)
    assert a.constants == b.constants and a.operators == b.operators
    assert a.signatures == b.signatures == ["serving_default"]


def test_weights_lie_at_multiples_of_16(lenet):
    model, content = lenet
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    place = content.find(kernel.T.tobytes())
    assert place > 0 and place % 16 == 0


def test_inspect_counts_as_numpy_does(lenet):
    model, content = lenet
    found = inspection.inspect(content)
    kernels = {
        tuple(reversed(layer.kernel.shape)): keras.ops.convert_to_numpy(
            layer.kernel
        )
        for layer in model.layers
    }
    for constant in found.constants:
        kernel = kernels[constant.shape]
        assert constant.zeros == kernel.size - np.count_nonzero(kernel)
        assert constant.macs == kernel.size == constant.size
        assert constant.nbytes == kernel.nbytes and not constant.sparse
    assert found.macs == 40 * 64 + 64 * 10
    assert found.effective_macs == sum(
        np.count_nonzero(kernel) for kernel in kernels.values()
    )


@pytest.mark.parametrize("form", encoding.FORMS)
def test_an_edited_file_holds_the_same_weights(lenet, form):
    _, content = lenet
    model = flatbuffer.read(content)
    before = [
        encoding.dense_values(model, weight)
        for weight in flatbuffer.weights(model)
    ]
    places = {(w.graph, w.index): form for w in flatbuffer.weights(model)}
    encoding.apply(model, places)
    again = flatbuffer.read(flatbuffer.write(model))
    found = flatbuffer.weights(again)
    assert all(weight.tensor.sparsity is not None for weight in found)
    assert [len(weight.via) for weight in found] == [
        int(form == "densify")
    ] * 2
    for weight, values in zip(found, before):
        np.testing.assert_array_equal(
            encoding.dense_values(again, weight), values
        )


def test_dense_layers_keep_their_operator_version(lenet):
    _, content = lenet
    model = flatbuffer.read(content)
    first = flatbuffer.weights(model)[0]
    encoding.apply(model, {(first.graph, first.index): "direct"})
    found = inspection.inspect(flatbuffer.write(model)).constants
    assert sorted((c.sparse, c.version) for c in found) == [
        (False, 1), (True, 8)
    ]


def test_the_bound_is_that_of_the_formula(lenet):
    _, content = lenet
    bound = entropy.bound(content)
    saved = 0
    for constant in inspection.inspect(content).constants:
        n, zeros = constant.size, constant.zeros
        p = zeros / n
        bits = 0 if p in (0, 1) else -n * (
            p * np.log2(p) + (1 - p) * np.log2(1 - p)
        )
        saved += max(0, 4 * n - bits / 8 - 4 * (n - zeros))
    assert bound == pytest.approx(len(content) - saved, abs=2)


@pytest.mark.parametrize("damage", ["empty", "other", "cut", "flipped"])
def test_damaged_files_are_named(lenet, tmp_path, damage):
    _, content = lenet
    path = tmp_path / "m.tflite"
    path.write_bytes(
        {
            "empty": b"",
            "other": b"PK" + content[2:4] + b"\3\4zip" + content[8:],
            "cut": content[-300:-100],
            "flipped": content[:4] + b"TFL3" + b"\xff" * 200,
        }[damage]
    )
    with pytest.raises(ValueError, match="m.tflite"):
        inspection.inspect(path)
