"""The graph of a model, from its inputs to its outputs."""

import contextlib
import functools
import itertools

import keras
import numpy as np
import tensorflow as tf

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.paths import reachability
from tf_lottery.paths import values as values_lib
from tf_lottery.paths.values import Value
from tf_lottery.utils import layer_kinds

# What a free dimension becomes, by the rank of the input: large enough for
# every weight of a kernel to meet data in the smallest feature map.
_SIZES = {2: 32, 3: 64, 4: 128, 5: 32}
# Loops over time are followed step by step, and any two steps are alike.
_TIME_STEPS = 8


class Trace:
    """A model's graph, to ask which weights lie on a path from its inputs.

    It is traced once, and never run.

    Raises:
        ValueError: If the shapes of its inputs are not known, or it cannot
            be traced.
    """

    def __init__(self, model, inputs=None):
        self._function = _trace(model, inputs)
        self._keys = {
            id(variable.value.handle): key
            for key, variable in weights_lib.variables(model).items()
        }

    def live(self, masks):
        """Returns which weights lie on a path, of those that have a mask."""
        found = {key: np.zeros(mask.shape, bool) for key, mask in masks.items()}
        source = tf.zeros(())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(source)
            reached = self._reached({
                key: values_lib.Mask(
                    functools.partial(_leaf, mask, found[key]), source, key
                )
                for key, mask in masks.items()
            })
        tape.gradient(reached, source)
        return found

    def ends(self, masks):
        """Returns the keys at which paths end, `None` if one leads through."""
        ends = []
        reached = self._reached({
            key: values_lib.Mask(
                lambda _, mask=mask: _floats(mask), tf.zeros(()), key
            )
            for key, mask in masks.items()
        }, ends)
        if any(bool(live.numpy().any()) for live in reached):
            return None
        return {mask.key for mask in ends}

    def _reached(self, masks, ends=None):
        """Follows paths under a dict from weight key to `Mask`."""
        graph = self._function.graph
        captured = {id(inner): outer for outer, inner in graph.captures}
        arguments = [
            self._captured(captured[id(tensor)], masks)
            if id(tensor) in captured
            else Value(tf.ones(tensor.shape), depends=True)
            for tensor in graph.inputs
        ]
        outputs = reachability.evaluate(graph, arguments, ends)
        return [value.live for value in outputs if value.depends]

    def _captured(self, tensor, masks):
        if tensor.dtype != tf.resource:
            return values_lib.constant(tensor)
        return Value(mask=masks.get(self._keys.get(id(tensor))))


def _leaf(mask, live, source):
    """The mask as floats; adds to `live` where gradients come back to it.

    Made where the weight is read, it meets its gradient before those of the
    layers ahead are made: all at once would take the memory of the weights.
    """
    @tf.custom_gradient
    def leaf(source):
        def write(flow):
            flow = tf.convert_to_tensor(flow).numpy()
            np.logical_or(live, mask & (flow > 0), out=live)
            return tf.zeros_like(source)

        return _floats(mask), write

    return leaf(source)


def _floats(mask):
    # Made of booleans; TensorFlow would convert them to floats in Python.
    return tf.cast(tf.constant(mask), tf.float32)


def _trace(model, inputs):
    """Traces a model on the inputs given, or the first that it accepts."""
    problem = None
    tried = _inputs(model) if inputs is None else [((_specs(inputs),), {})]
    for args, kwargs in tried:
        try:
            return _traced(model, args, kwargs)
        except Exception as error:  # Whatever the model's own code raises.
            problem = error
    shapes = [tuple(x.shape) for x in keras.tree.flatten((args, kwargs))]
    raise ValueError(
        f"Paths cannot be followed through model '{model.name}': "
        "it does not run on inputs of the sizes tried. Received: inputs of "
        f"shapes {shapes}, where {type(problem).__name__}: "
        f"{problem}. Expected: `inputs`, a batch that the model takes."
    ) from problem


def _specs(inputs):
    return keras.tree.map_structure(
        lambda x: tf.TensorSpec(
            (1, *np.shape(x)[1:]), keras.backend.standardize_dtype(x.dtype)
        ),
        inputs,
    )


def _traced(model, args, kwargs):
    structure = (args, kwargs)

    def forward(*flat):
        args, kwargs = keras.tree.pack_sequence_as(structure, flat)
        # Losses and updates of states stay in this scope.
        with keras.StatelessScope(collect_losses=True):
            outputs = model(*args, training=False, **kwargs)
        return [tf.convert_to_tensor(x) for x in keras.tree.flatten(outputs)]

    function = tf.function(forward, autograph=False)
    with _without_normalization(model), internals.layers.losses_kept(model):
        return function.get_concrete_function(*keras.tree.flatten(structure))


@contextlib.contextmanager
def _without_normalization(model):
    """Lets layers of normalisation pass their inputs on meanwhile.

    Their means would make every unit depend on its dead neighbours.
    """
    calls = [kind.call for kind in layer_kinds.NORMALIZATIONS]
    # Past Keras' `__setattr__`, which would track what it is given.
    attributes = [
        vars(layer) for layer in internals.layers.flat(model)
        if type(layer).call in calls and "call" not in vars(layer)
    ]
    for found in attributes:
        found["call"] = lambda inputs, **kwargs: inputs
    try:
        yield
    finally:
        for found in attributes:
            del found["call"]


def _inputs(model):
    """Yields arguments to call a model with, of more and more elements."""
    symbols = getattr(model, "inputs", None)
    if symbols:
        found = model.input if hasattr(model, "input") else symbols[0]
        kinds, structure = [None], ((found,), {})
    else:
        kinds, structure = ["float32", "int32"], _built_with(model)
    symbols = keras.tree.flatten(structure)
    is_free = any(None in symbol.shape[1:] for symbol in symbols)
    is_recurrent = any(
        isinstance(layer, keras.layers.RNN)
        for layer in internals.layers.flat(model)
    )
    sizes = dict.fromkeys(_SIZES, _TIME_STEPS) if is_recurrent else _SIZES
    scales = [1, 2, 4, 8] if is_free else [1]
    for scale, kind in itertools.product(scales, kinds):
        yield keras.tree.map_structure(
            lambda symbol: _spec(symbol, scale, sizes, kind), structure
        )


def _spec(symbol, scale, sizes, kind):
    free = scale * sizes.get(len(symbol.shape), _TIME_STEPS)
    batch, *shape = symbol.shape
    shape = [free if size is None else size for size in shape]
    return tf.TensorSpec([batch or 1, *shape], kind or symbol.dtype)


def _built_with(model):
    """Returns the arguments of a subclassed model's call, as symbols."""
    config = model.get_build_config()
    if not config:
        raise ValueError(
            f"Paths cannot be followed through model '{model.name}': the "
            "shape of its inputs is not known. Call it on a batch of data, "
            "or build it by `model.build(input_shape)`."
        )

    def symbol(shape):
        return keras.KerasTensor((None, *shape[1:]))

    if "shapes_dict" not in config:
        found = keras.tree.map_shape_structure(symbol, config["input_shape"])
        return (found,), {}
    return (), {
        name.removesuffix("_shape"): keras.tree.map_shape_structure(
            symbol, shape
        )
        for name, shape in config["shapes_dict"].items()
        if shape is not None
    }
