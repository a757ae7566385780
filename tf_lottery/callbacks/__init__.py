"""Callbacks that put time on pruning."""

from tf_lottery.callbacks.iterative_magnitude_pruning import (
    IterativeMagnitudePruning as IterativeMagnitudePruning,
)
