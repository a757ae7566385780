"""Controls: what a ticket is worth is measured against these.

A winning ticket is a claim about two things, the masks and the weights they
were found with. Each control takes one of them away, or a part of it.

Those of Zhou et al. 2019, "Deconstructing Lottery Tickets: Zeros, Signs, and
the Supermask" (section 4, https://arxiv.org/abs/1905.01067), start from other
values under the same masks, with the signs of the ticket's or without:
`random_reinitialize` ("reinit"), `reshuffle` and `constant`. Its "rewind" is
the ticket itself. Its supermasks are masks on weights that are not trained:
apply a ticket, or one of these controls, and evaluate.

>>> model = keras.Sequential(
...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
>>> model.compile("sgd", "mse")
>>> ticket = tfl.Ticket.of(model, {"fc/kernel": np.eye(8, 5, dtype=bool)})
>>> supermask = tfl.controls.constant(ticket)
>>> supermask.apply(model)
>>> loss = model.evaluate(np.ones((4, 8)), np.ones((4, 5)), verbose=0)
"""

import dataclasses
import zlib

import keras
import numpy as np
from keras import ops

from tf_lottery import masks as masks_lib
from tf_lottery import weights as weights_lib
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.utils import checks


def random_reinitialize(
    ticket: ticket_lib.Ticket,
    model: keras.Model,
    seed: int = 0,
    signed: bool = False,
) -> ticket_lib.Ticket:
    """Returns a ticket with the same masks and new random initial weights.

    Every weight and bias is drawn from its layer's own initializer, as if
    the model had been made anew. Reference: Frankle and Carbin 2019, section
    2, https://arxiv.org/abs/1803.03635; with signs, Zhou et al. 2019, section
    4, https://arxiv.org/abs/1905.01067.

    Args:
        ticket: `tf_lottery.Ticket`.
        model: The `keras.Model` the ticket is for; it is left as it is.
        seed: Integer. Every weight has a stream of its own. Defaults to 0.
        signed: Boolean, whether masked weights get the signs that they have
            in the ticket: only magnitudes are new. Defaults to `False`.

    Returns:
        A `tf_lottery.Ticket` at step 0 with a fresh optimizer.

    Raises:
        ValueError: If the ticket does not fit the model, or the initializer
            of a trainable weight is not known.
    """
    _check(ticket, seed)
    checks.flag("signed", signed)
    ticket.check_fits(model)
    weights = dict(ticket.snapshot.weights)
    for weight in weights_lib.inspect(model):
        initializer = _initializer(weight)
        if weight.layer.trainable and initializer is not None:
            value = _draw(weight, initializer, seed)
            if signed and weight.key in ticket.masks:
                value = np.abs(value) * np.sign(weights[weight.key])
            weights[weight.key] = value
    start = ticket.snapshot
    name = "signed_reinitialize" if signed else "random_reinitialize"
    return _derive(
        ticket, name, seed,
        snapshot=dataclasses.replace(
            start,
            step=0,
            weights=weights,
            # The state at step 0 is a fresh one, with the learning rate that
            # training began with.
            optimizer=[] if start.step else start.optimizer,
        ),
    )


def reshuffle(
    ticket: ticket_lib.Ticket, seed: int = 0, signed: bool = False
) -> ticket_lib.Ticket:
    """Returns a ticket whose kept initial values change places in a layer.

    The values of the survivors of each weight are permuted among its
    survivors; what has no mask stays. Reference: "reshuffle" of Zhou et al.
    2019, section 4, https://arxiv.org/abs/1905.01067.

    Args:
        ticket: `tf_lottery.Ticket`.
        seed: Integer. Every weight has a stream of its own. Defaults to 0.
        signed: Boolean, whether every place keeps its sign, so that only
            magnitudes are permuted. Defaults to `False`.

    Returns:
        A `tf_lottery.Ticket` at the same step. After step 0 the optimizer is
        a fresh one, because slots belong to the values.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> ticket = tfl.Ticket.of(model, {"fc/kernel": np.eye(8, 5, dtype=bool)})
    >>> control = tfl.controls.reshuffle(ticket, signed=True)
    >>> control.provenance["control"]
    'signed_reshuffle'
    """

    def change(key, value, mask):
        kept = value[mask]
        moved = _stream(key, seed).permutation(kept)
        value[mask] = np.abs(moved) * np.sign(kept) if signed else moved

    return _with_values(ticket, "reshuffle", seed, signed, change)


def constant(
    ticket: ticket_lib.Ticket, seed: int = 0, signed: bool = True
) -> ticket_lib.Ticket:
    """Returns a ticket that starts from one magnitude for each layer.

    It is the standard deviation of the layer's initial values: of all of
    them, pruned ones included, where the ticket still has these, else of the
    survivors. Reference: "constant" of Zhou et al. 2019, section 4,
    https://arxiv.org/abs/1905.01067.

    Args:
        ticket: `tf_lottery.Ticket`.
        seed: Integer. Every weight has a stream of its own; it matters only
            without signs. Defaults to 0.
        signed: Boolean, whether every weight keeps its sign. If not, the
            signs of the layer are permuted. Defaults to `True`.

    Returns:
        A `tf_lottery.Ticket` at the same step. After step 0 the optimizer is
        a fresh one, because slots belong to the values.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> ticket = tfl.Ticket.of(model, {"fc/kernel": np.eye(8, 5, dtype=bool)})
    >>> values = tfl.controls.constant(ticket).snapshot.weights["fc/kernel"]
    >>> len(np.unique(np.abs(values)))
    1
    """

    def change(key, value, mask):
        # The weights of a model that is pruned already are zeros there.
        known = np.ones_like(mask) if value[~mask].any() else mask
        initial = value[known]
        signs = np.sign(initial)
        if not signed:
            signs = _stream(key, seed).permutation(signs)
        deviation = initial.astype("float64").std() if initial.size else 0.0
        value[known] = signs * np.asarray(deviation, value.dtype)

    return _with_values(ticket, "constant", seed, signed, change)


def random_masks(
    ticket: ticket_lib.Ticket, seed: int = 0
) -> ticket_lib.Ticket:
    """Returns a ticket with random masks of equal density in every weight.

    The weights to start from are the ticket's. Reference: Frankle and Carbin
    2019, appendix E, https://arxiv.org/abs/1803.03635; Frankle et al. 2019,
    https://arxiv.org/abs/1903.01611.

    Args:
        ticket: `tf_lottery.Ticket`.
        seed: Integer. Every weight has a stream of its own. Defaults to 0.

    Returns:
        A `tf_lottery.Ticket` with unstructured masks.
    """
    return _with_random_masks(ticket, "random_masks", seed)


def shuffle_masks(
    ticket: ticket_lib.Ticket, seed: int = 0
) -> ticket_lib.Ticket:
    """Returns a ticket whose masks are permuted within each weight.

    The layerwise shuffling of Frankle et al. 2021, section 4,
    https://arxiv.org/abs/2009.08576, which methods that prune at
    initialization must beat and do not. A permuted mask is a random one of
    the same density: this is `random_masks` under that paper's name, and
    draws the same masks.

    Args:
        ticket: `tf_lottery.Ticket`.
        seed: Integer. Every weight has a stream of its own. Defaults to 0.

    Returns:
        A `tf_lottery.Ticket` with unstructured masks.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> ticket = tfl.Ticket.of(model, {"fc/kernel": np.eye(8, 5, dtype=bool)})
    >>> control = tfl.controls.shuffle_masks(ticket)
    >>> int(control.masks["fc/kernel"].sum())
    5
    """
    return _with_random_masks(ticket, "shuffle_masks", seed)


def _check(ticket, seed):
    ticket_lib.check(ticket)
    checks.seed("seed", seed)


def _with_random_masks(ticket, control, seed):
    _check(ticket, seed)
    return _derive(
        ticket, control, seed,
        masks=masks_lib.shuffle(ticket.masks, seed),
        pattern="unstructured",
    )


def _with_values(ticket, control, seed, signed, change):
    """Changes copies of the masked weights of a ticket in place."""
    _check(ticket, seed)
    checks.flag("signed", signed)
    start = ticket.snapshot
    weights = dict(start.weights)
    for key, mask in ticket.masks.items():
        weights[key] = np.array(weights[key])
        change(key, weights[key], mask)
    return _derive(
        ticket, f"signed_{control}" if signed else control, seed,
        snapshot=dataclasses.replace(
            start,
            weights=weights,
            optimizer=[] if start.step else start.optimizer,
        ),
    )


def _derive(ticket, control, seed, **changes):
    provenance = {**ticket.provenance, "control": control, "seed": seed}
    return dataclasses.replace(
        ticket, metrics={}, verdict="", provenance=provenance, **changes
    )


def _stream(key, seed):
    return np.random.default_rng((seed, zlib.crc32(key.encode())))


def _draw(weight, initializer, seed):
    """Draws a weight from its layer's own initializer."""
    if hasattr(initializer, "get_config"):
        config = initializer.get_config()
        if "seed" in config:
            stream = _stream(weight.key, seed)
            config["seed"] = int(stream.integers(2**31))
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
