"""The masks of a layer, by the names of its weights.

A layer remembers which of its weights have a mask, so that one that Keras
replaces (`quantize`) is noticed. Under TensorFlow the masks become part of
the layer's `tf.train.Checkpoint` this way.
"""

import types

import numpy as np

from tf_lottery import constraints
from tf_lottery import internals
from tf_lottery.utils import backends
from tf_lottery.utils.backends import tf

_NAME = "_tf_lottery_home"


def settle(layer, variable):
    """Remembers the mask of a weight of a layer."""
    if not hasattr(layer, _NAME):
        setattr(layer, _NAME, _new_home())
    home = getattr(layer, _NAME)
    home.weights[variable.name] = variable
    mask = constraints.keep_of(variable).mask
    # With an ending of its own: a weight may be called `name` or `weights`.
    setattr(home, f"{variable.name}_mask", mask)


def are_in(model):
    """Whether a layer of a model remembers a mask."""
    return any(
        getattr(layer, _NAME).weights for layer in internals.layers.flat(model)
        if hasattr(layer, _NAME)
    )


def leave(layer, variable):
    """Forgets the mask of a weight of a layer."""
    home = getattr(layer, _NAME, None)
    if home is None or home.weights.pop(variable.name, None) is None:
        return
    delattr(home, f"{variable.name}_mask")
    if not home.weights:
        delattr(layer, _NAME)


def move(layer):
    """Gives the masks of weights that a layer replaced to their successors.

    Returns the names of weights without one of their shape: theirs is lost.
    """
    home, lost = getattr(layer, _NAME, None), []
    if home is None:
        return lost
    own = {variable.name: variable for variable in layer.variables}
    ids = {id(variable) for variable in layer.variables}
    for name, old in list(home.weights.items()):
        mask = constraints.mask_of(old)
        if id(old) in ids or mask is None:
            continue
        leave(layer, old)
        constraints.detach(old)
        new = own.get(name)
        if new is not None and tuple(new.shape) == np.shape(mask):
            constraints.attach(new).assign(mask)
            constraints.project(new)
            settle(layer, new)
        else:
            lost.append(name)
    return lost


def _new_home():
    if backends.is_tensorflow():
        home = tf.Module()
    else:
        home = types.SimpleNamespace()
    # Untracked: the weights belong to the layer.
    object.__setattr__(home, "weights", {})
    return home
