"""Fewer bits: shared values, and int8 that training has seen."""

from tf_lottery.quantize.clustering import cluster as cluster
