"""The multiplications of files: attention, Conv3D, loops over time."""

import keras
import pytest
from keras import layers

from tf_lottery.export import convert
from tf_lottery.export import flatbuffer
from tf_lottery.export import inspection
from tf_lottery.export import notes
from tf_lottery.export import sources
from tf_lottery.export import work


def content(model, child):
    return convert.Converter(
        sources.open_model(model, 1), child=child
    ).convert()


def test_attention_and_convolutions_of_volumes(child):
    inputs = keras.Input((6, 4))
    attended = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    volume = layers.Reshape((4, 3, 2, 1))(attended)
    outputs = layers.Conv3D(5, 2, padding="same")(volume)
    found = inspection.inspect(
        content(keras.Model(inputs, outputs), child)
    )
    heads = 2 * (2 * 6 * 6 * 3)
    assert found.products == heads + 4 * 3 * 2 * 8 * 5
    assert found.macs == found.products + 4 * 6 * 4 * 6
    assert found.macs == found.effective_macs and not found.unknown
    assert notes.uncounted(found) == []


@pytest.fixture(scope="module")
def loop(child):
    return content(
        keras.Sequential([keras.Input((6, 4)), layers.LSTM(5)]), child
    )


def test_every_step_of_a_loop_counts(loop):
    found = inspection.inspect(loop)
    assert found.macs == 6 * (4 + 5) * 20 and not found.unknown


def test_loops_that_end_who_knows_when_are_told(loop):
    model = flatbuffer.read(loop)
    (test,) = (
        model.subgraphs[op.builtinOptions.condSubgraphIndex]
        for op in model.subgraphs[0].operators
        if flatbuffer.operator_name(model, op) == "WHILE"
    )
    test.operators = [
        op for op in test.operators
        if flatbuffer.operator_name(model, op) != "LESS"
    ]
    found = inspection.inspect(flatbuffer.write(model))
    assert found.macs == (4 + 5) * 20 and found.unknown == {"WHILE": 1}
    assert "1 WHILE" in notes.uncounted(found)[0]


def test_a_graph_that_calls_itself_ends(loop):
    model = flatbuffer.read(loop)
    for operator in model.subgraphs[0].operators:
        if flatbuffer.operator_name(model, operator) == "WHILE":
            operator.builtinOptions.bodySubgraphIndex = 0
    assert work.Work(model, {}).products == 0
