"""Controls: what a ticket is worth is measured against these.

A winning ticket is a claim about two things, the masks and the weights they
were found with. Each control takes one of them away.
"""

import dataclasses
import zlib

import keras
import numpy as np
from keras import ops

from tf_lottery import masks as masks_lib
from tf_lottery import weights as weights_lib


def random_reinitialize(ticket, model, seed=0):
    """Returns a ticket with the same masks and new random initial weights.

    Every weight and bias is drawn from its layer's own initializer, as if
    the model had been made anew. Reference: Frankle and Carbin 2019, section
    2, https://arxiv.org/abs/1803.03635.

    Args:
        ticket: `tf_lottery.Ticket`.
        model: The `keras.Model` the ticket is for; it is left as it is.
        seed: Integer. Every weight has a stream of its own. Defaults to 0.

    Returns:
        A `tf_lottery.Ticket` at step 0 with a fresh optimizer.

    Raises:
        ValueError: If the ticket does not fit the model, or the initializer
            of a trainable weight is not known.
    """
    ticket.check_fits(model)
    weights = dict(ticket.snapshot.weights)
    for weight in weights_lib.inspect(model):
        initializer = _initializer(weight)
        if weight.layer.trainable and initializer is not None:
            weights[weight.key] = _draw(weight, initializer, seed)
    start = ticket.snapshot
    return _derive(
        ticket, "random_reinitialize", seed,
        snapshot=dataclasses.replace(
            start,
            step=0,
            weights=weights,
            # The state at step 0 is a fresh one, with the learning rate that
            # training began with.
            optimizer=[] if start.step else start.optimizer,
        ),
    )


def random_masks(ticket, seed=0):
    """Returns a ticket with random masks of equal density in every weight.

    The weights to start from are the ticket's. Reference: Frankle and Carbin
    2019, appendix E, https://arxiv.org/abs/1803.03635; Frankle et al. 2019,
    https://arxiv.org/abs/1903.01611.

    Args:
        ticket: `tf_lottery.Ticket`.
        seed: Integer. Every weight has a stream of its own. Defaults to 0.

    Returns:
        A `tf_lottery.Ticket`.
    """
    return _derive(
        ticket, "random_masks", seed,
        masks=masks_lib.shuffle(ticket.masks, seed),
    )


def _derive(ticket, control, seed, **changes):
    provenance = {**ticket.provenance, "control": control, "seed": seed}
    return dataclasses.replace(
        ticket, metrics={}, provenance=provenance, **changes
    )


def _draw(weight, initializer, seed):
    """Draws a weight from its layer's own initializer."""
    if hasattr(initializer, "get_config"):
        config = initializer.get_config()
        if "seed" in config:
            stream = (seed, zlib.crc32(weight.key.encode()))
            rng = np.random.default_rng(stream)
            config["seed"] = int(rng.integers(2**31))
        initializer = type(initializer).from_config(config)
    value = initializer(tuple(weight.variable.shape), weight.variable.dtype)
    value = np.array(ops.convert_to_numpy(value))
    if weight.variable.name == "bias" and getattr(
        weight.layer, "unit_forget_bias", False
    ):
        units = len(value) // 4
        value[units:2 * units] = 1.0
    return value


def _initializer(weight):
    """Returns a weight's initializer; `None` where a state shall stay."""
    name, layer = weight.variable.name, weight.layer
    stems = [name, name.removesuffix("_kernel")]
    if name == "kernel":
        stems.append("depthwise")
    for stem in stems:
        found = getattr(layer, f"{stem}_initializer", None)
        if found is not None:
            return keras.initializers.get(found)
    if not weight.variable.trainable:
        return None
    raise ValueError(
        f"The initializer of '{weight.key}' is not known: layer "
        f"'{layer.name}' ({type(layer).__name__}) has no attribute "
        f"'{name}_initializer'. Keep the initializer that the layer's "
        "`build` uses in an attribute of this name."
    )
