"""Shares of a file's time: of operators on their own, or by Vela."""

import numpy as np
import pytest

from tests.export.test_ethos_u import needs_vela
from tests.export.test_tflite import conv_net
from tests.export.test_tflite import dense_net
from tests.export.test_tflite import normal
from tf_lottery.export import children
from tf_lottery.export import convert
from tf_lottery.export import flatbuffer
from tf_lottery.export import shares
from tf_lottery.export import sources
from tf_lottery.export import targets

# Weights of the layers of `conv_net` but the transposed one, in order.
SIZES = [432, 144, 1024, 27648, 160]


def converted(model, quantize, child, **options):
    source = sources.open_model(model, **options)
    return convert.Converter(source, [normal(model)], child=child).convert(
        quantize
    )


@pytest.mark.parametrize("quantize", ["float32", "float16", "int8"])
def test_the_layer_that_takes_longest_has_the_largest_share(
    quantize, child, monkeypatch
):
    monkeypatch.setattr(shares, "_SECONDS", 0.2)
    content = converted(conv_net(0), quantize, child)
    found = shares.of(content, targets.get("cpu"))
    assert [share.weights for share in found] == SIZES
    assert all(share.computes >= 0 == share.reads for share in found)
    assert max(found, key=lambda s: s.computes).weights == 27648
    assert 0.2 < sum(share.computes for share in found) < 1.2


def test_pieces_that_do_not_run_leave_no_shares(child, monkeypatch):
    def refuse(*args):
        raise children.RuntimeFailure("no such operator")

    content = converted(dense_net(), "float32", child)
    monkeypatch.setattr(children.Runtime, "measure", refuse)
    with pytest.warns(UserWarning, match="alone: no such operator"):
        assert shares.of(content, targets.get("cpu")) == []


def test_pieces_compute_what_the_layers_do(child):
    model = conv_net(0)
    content = converted(model, "float32", child, batch_size=1)
    graph = flatbuffer.read(content).subgraphs[0]
    shapes = {str(i): t.shape for i, t in enumerate(graph.tensors)}
    for number, (layer, halves) in enumerate(zip(
        (0, 2, 3, 4, 7), (144, 72, 256, 6912, 40)
    )):
        layer = model.layers[layer]
        piece, size = shares._piece(content, shapes, number, False)
        assert size == SIZES[number] and len(piece) < len(content)
        x = np.random.default_rng(0).normal(size=(1, *layer.input.shape[1:]))
        found, = child.run(piece, [x.astype("float32")])
        if number:  # The first one has batch normalisation in it.
            np.testing.assert_allclose(
                found[0], layer(x), rtol=1e-3, atol=1e-5
            )
        half, left = shares._piece(content, shapes, number, True)
        assert left == halves
        less = flatbuffer.read(half).subgraphs[0]
        x = x[..., : less.tensors[less.inputs[0]].shape[-1]]
        less, = child.run(half, [x.astype("float32")])
        assert less.shape[-1] in (found.shape[-1], -(-found.shape[-1] // 2))


@needs_vela
def test_cycles_of_vela_by_what_a_layer_waits_for(child):
    content = convert.Converter(
        sources.open_model(dense_net(sparsity=0), batch_size=1),
        [normal(dense_net())], child=child, dtypes=("int8", "int8"),
    ).convert("int8")
    first, last = shares.of(content, targets.get("ethos-u55-128"))
    assert (first.weights, last.weights) == (512 * 256, 2560)
    assert first.reads > 0.9 > 0.2 > first.computes > 0
