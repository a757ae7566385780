"""Fewer bits: shared values, and int8 that training has seen."""

from tf_lottery.quantize.aware import aware as aware
from tf_lottery.quantize.aware import check_trained as check_trained
from tf_lottery.quantize.aware import is_aware as is_aware
from tf_lottery.quantize.clustering import cluster as cluster
from tf_lottery.quantize.fake_quantize import FakeQuantize as FakeQuantize
from tf_lottery.quantize.folding import frozen as frozen
from tf_lottery.quantize.quantized import Quantized as Quantized
