"""What lies around a step of an optimizer, so that pruned weights stay zero."""

import contextlib

import keras
from keras import ops

from tf_lottery import constraints
from tf_lottery import internals
from tf_lottery.optimizers import slots

# A weight of 0 with gradient 0 and slots 0 stays exactly 0 under these: each
# weight's update follows from its own gradient and slots alone.
_KEEP_ZERO = {
    getattr(keras.optimizers, name) for name in (
        "SGD RMSprop Adam AdamW Adamax Nadam Adagrad Adadelta Lion Lamb "
        "Adafactor"
    ).split()
}


def masked_gradient(gradient, variable):
    """Returns a gradient that is zero where a variable is pruned."""
    keep = constraints.keep_of(variable)
    if gradient is None or keep is None or keep.in_layer:
        return gradient
    # In the dtype of the weight, as Keras casts it too.
    gradient = ops.cast(ops.convert_to_tensor(gradient), variable.dtype)
    return keep.gradient(gradient)


@contextlib.contextmanager
def enforcing(optimizer, held):
    """Leaves out a projection that would find nothing to do.

    It is half of what holding costs. A constraint of the user's may revive
    weights, so theirs is followed by ours all the same.
    """
    keep_zero = all(
        internals.optimizers.kind(leaf) in _KEEP_ZERO
        for leaf in slots.leaves(optimizer)
    )
    for variable, keep in held:
        keep.enforced = True
        if keep_zero and keep.constraint is None:
            variable.constraint = None
    try:
        yield
    finally:
        for variable, keep in held:
            keep.enforced = False
            variable.constraint = keep


def averages(optimizer):
    """Returns pairs of a moving average of a weight and the weight's mask.

    Optimizers that mix weights move pruned ones before they are projected,
    and the average is taken in between.
    """
    return [
        (average, keep.value)
        for leaf in slots.leaves(optimizer) if leaf.use_ema
        for variable, average in zip(
            internals.optimizers.variables(leaf),
            internals.optimizers.averages(leaf),
        )
        if (keep := constraints.keep_of(variable)) and not keep.in_layer
    ]


def masked_averages(optimizer, state):
    """Returns the values of an optimizer's variables, averages masked."""
    masks = {id(average): mask for average, mask in averages(optimizer)}
    return [
        constraints.masked(masks[id(variable)], value)
        if id(variable) in masks else value
        for variable, value in zip(optimizer.variables, state)
    ]
