"""Shares of a file's cycles, by Vela."""

from tests.export.test_ethos_u import needs_vela
from tests.export.test_tflite import dense_net
from tests.export.test_tflite import normal
from tf_lottery.export import convert
from tf_lottery.export import shares
from tf_lottery.export import sources
from tf_lottery.export import targets


@needs_vela
def test_cycles_of_vela_by_what_a_layer_waits_for(child):
    content = convert.Converter(
        sources.open_model(dense_net(sparsity=0), batch_size=1),
        [normal(dense_net())], child=child, dtypes=("int8", "int8"),
    ).convert("int8")
    first, last = shares.of(content, targets.get("ethos-u55-128"))
    assert (first.weights, last.weights) == (512 * 256, 2560)
    assert first.reads > 0.9 > 0.2 > first.computes > 0
