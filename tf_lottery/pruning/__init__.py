"""Pruning: the weights, the rule, how many are kept, in one sentence."""

from tf_lottery.pruning.prune import prune as prune
