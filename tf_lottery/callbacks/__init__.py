"""Callbacks that put time on pruning."""

from tf_lottery.callbacks.dynamic_sparse_training import (
    DynamicSparseTraining as DynamicSparseTraining,
)
from tf_lottery.callbacks.early_bird import EarlyBird as EarlyBird
from tf_lottery.callbacks.gradual_pruning import (
    GradualPruning as GradualPruning,
)
from tf_lottery.callbacks.iterative_magnitude_pruning import (
    IterativeMagnitudePruning as IterativeMagnitudePruning,
)
from tf_lottery.callbacks.sparsity_board import SparsityBoard as SparsityBoard
