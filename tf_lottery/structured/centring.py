"""Layer normalisations made root mean squares, so that widths can shrink."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery import clusters as clusters_lib
from tf_lottery import graph as graph_lib
from tf_lottery import holding
from tf_lottery import weights as weights_lib
from tf_lottery.graph import streams as streams_lib
from tf_lottery.graph import trials
from tf_lottery.layers import MeanSquareNormalization
from tf_lottery.structured import carrying
from tf_lottery.structured import rebuilding
from tf_lottery.structured import shrinking
from tf_lottery.structured import verifying
from tf_lottery.structured.slices import Cut
from tf_lottery.utils import types


@dataclasses.dataclass(frozen=True, eq=False)
class _Centring(Cut):
    """Weights without their mean over channels.

    Keys are `centred`, `untied` tables are transposes of others, `factors` are
    taken up, and what stands `behind` is that of `rebuilding.rebuild`.
    """

    centred: set = dataclasses.field(default_factory=set)
    untied: dict = dataclasses.field(default_factory=dict)
    factors: dict = dataclasses.field(default_factory=dict)
    behind: dict = dataclasses.field(default_factory=dict)

    def values(self, arrays):
        found = dict(arrays)
        for key in self.centred & arrays.keys():
            array = arrays[key]
            if key in self.factors:
                factors = arrays[self.factors[key]].astype("float64")
                array = array * np.ravel(factors)
            found[key] = trials.centred(array)
        for key in self.factors.values():
            found[key] = np.ones_like(arrays[key])
        found |= {a: arrays[b].T for a, b in self.untied.items()}
        return found | {
            f"{layer.name}/kernel": trials.centred(np.eye(layer.units))
            for layer in self.behind.values()
        }


def centre(
    model: keras.Model,
    inputs: types.Arrays = None,
    progress: Callable[[str], Any] | None = None,
) -> keras.Model:
    """Returns a model of which widths behind layer normalisations can shrink.

    A layer normalisation takes the mean over channels out and divides by a
    root mean square. The mean is taken out of the weights instead, of all
    that write into the stream that the normalisation reads: embeddings, dense
    layers, convolutions, attention, position tables, with their biases. Then
    `tf_lottery.layers.MeanSquareNormalization` computes the same, through
    which `plan` and `shrink` remove channels (Ashkboos et al. 2024, SliceGPT,
    arXiv:2401.15024, section 3, where the invariance comes from).

    That holds for pre-norm models: the streams of GPT-2, of Whisper and of
    vision transformers are written by layers that are linear in their
    weights, and read by normalisations alone, a final one included. A layer
    scale, a factor for every channel behind a writer (Touvron et al. 2021,
    CaiT, arXiv:2103.17239, equation 2), is taken up by the writer's weights
    and is one from then on. Behind what is not linear (an activation, or a
    normalisation before the first block) a dense layer takes the mean out,
    if there are three normalisations or more for each. Other streams stay as
    they are, and are named with the reason: what normalisation writes into
    and other layers read (post-norm, as in BERT), a reader without
    normalisation, an output of the model, a weight that holds a mask, whose
    zeros would be filled, or clusters. An embedding that is read by its
    transpose as well is untied, at the cost of a second table.

    The new model computes at inference what `model` does; that is proved in
    float64 before it is returned, see `proof_of`. In training a dropout
    within the stream leaves a mean that is not taken out any more, and
    optimizers are started afresh.

    Args:
        model: A built `keras.Model`, left as it is.
        inputs: See `shrink`.
        progress: See `shrink`.

    Returns:
        A `keras.Model`, compiled if `model` is, and of its class where that
        is made from layers, or inputs and outputs; otherwise Functional.

    Raises:
        ValueError: If no layer normalisation can be replaced; the message
            has the reason for each.
        VerificationError: If equality cannot be proved.

    Warns:
        UserWarning: If some layer normalisations stay, or the new model is a
            plain Functional one instead of one of a class.

    Example:

    >>> inputs = keras.Input((4,))
    >>> x = keras.layers.Dense(8, name="stem")(inputs)
    >>> y = keras.layers.LayerNormalization(name="norm")(x)
    >>> x = x + keras.layers.Dense(8, name="fc")(y)
    >>> x = keras.layers.LayerNormalization(name="final")(x)
    >>> model = keras.Model(inputs, keras.layers.Dense(3)(x))
    >>> tfl.structured.plan(model, ratio=0.5).removed
    0
    >>> centred = tfl.structured.centre(model)
    >>> small = tfl.structured.shrink(
    ...     centred, tfl.structured.plan(centred, ratio=0.5))
    >>> small.get_layer("stem").units, small.count_params()
    (4, 71)
    """
    say = shrinking.check_comparison(inputs, progress)
    graph = graph_lib.trace(model)
    variables = weights_lib.variables(model)
    masks = holding.masks_of(model)
    held = {key for key, mask in masks.items() if not mask.all()}
    held |= clusters_lib.held(variables).keys()
    streams = streams_lib.find(graph, [variables[key] for key in held])
    _report(model, streams)
    centring = _centring(streams, variables)
    say("building the new model")
    twin = rebuilding.rebuild(
        graph, others=centring.others, behind=centring.behind
    )
    shrinking.warn_of_class(
        twin.model, model, "say that normalisations are replaced"
    )
    centring.untied.update(_untied(twin, variables))
    values = {k: ops.convert_to_numpy(v) for k, v in variables.items()}
    exact = centring.values(values)
    carrying.weights(twin, model, exact)
    proof = verifying.prove(
        graph, graph.kept(), centring, twin, exact, say, inputs=inputs
    )
    carrying.training(twin, model, centring, with_state=False)
    verifying.attach(twin.model, proof)
    return twin.model


def _report(model, streams):
    """Says which normalisations stay, and raises if all do."""
    paths = {id(x): key for key, x in weights_lib.layers(model).items()}
    lines = [
        f"  '{paths.get(id(layer), layer.name)}': {why}"
        for layer, why in streams.reasons
    ]
    if not streams.norms:
        raise ValueError(
            f"No layer normalisation of model '{model.name}' can do without "
            "the mean. Received:\n"
            + ("\n".join(lines) or "  a model without any over its last axis")
        )
    if lines:
        warnings.warn(
            f"Some layer normalisations of '{model.name}' stay, and the "
            "widths they read:\n" + "\n".join(lines),
            stacklevel=3,
        )


def _centring(streams, variables):
    ids = {id(variable) for variable in streams.weights}
    others = dict.fromkeys(streams.norms, lambda layer: (
        MeanSquareNormalization.from_config(layer.get_config())
    ))
    others |= dict.fromkeys(streams.tied, lambda layer: (
        type(layer).from_config(layer.get_config() | {"tie_weights": False})
    ))
    keys = {id(v): key for key, v in variables.items()}
    return _Centring(
        {}, {}, {},
        others=others,
        centred={key for place, key in keys.items() if place in ids},
        factors={
            keys[place]: keys[id(v)] for place, v in streams.scales.items()
        },
        behind={
            operation: keras.layers.Dense(
                norm.gamma.shape[-1],
                use_bias=False,
                name=f"without_mean_{place}",
                dtype=norm.dtype_policy,
            )
            for place, (operation, norm) in enumerate(
                streams.projected.items()
            )
        },
    )


def _untied(twin, variables):
    """The tables that only the new model has, and what they are made of."""
    return {
        key: f"{key.rpartition('/')[0]}/embeddings"
        for key in twin.variables
        if key not in variables and key.endswith("reverse_embeddings")
    }
