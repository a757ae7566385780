"""SynFlow: the flow of ones through absolute weights."""

import re
import warnings
from typing import Any

import keras
import numpy as np
from keras import layers
from keras import ops

from tf_lottery import internals
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.criteria import gradients as gradients_lib
from tf_lottery.criteria import heads
from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Criterion
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.criteria.functional import Functional
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils import layer_kinds
from tf_lottery.utils import types
from tf_lottery.utils.backends import tf

_UNKNOWN_SIZE = 32
# Equal to the identity, or a multiple of it, where nothing is negative.
_HOMOGENEOUS = ("linear", "relu", "leaky_relu")
_GATES = ("sigmoid", "hard_sigmoid")
_BENT_LAYERS = layer_kinds.named(
    "RNN LayerNormalization GroupNormalization RMSNormalization "
    "UnitNormalization"
)
_BENT_OPERATIONS = frozenset(
    "Softmax LogSoftmax Sigmoid Tanh Erf Exp Softplus Softsign Relu6 Elu Selu "
    "Log Sin Cos".split()
)


class SynFlow(Criterion):
    """Synaptic flow: how much of the network's flow goes through a weight.

    Every variable of the model is replaced by its absolute value (kernels,
    biases, and all of BatchNormalization's: gamma, beta, moving mean and
    variance), and one input of ones goes in. With R the sum of the logits,
    the score of a weight is `abs(w * dR/dw)`: the flow over all paths that
    use it. No data is needed. All is computed in float64, whatever the
    precision of the model, because flows overflow float32 in deep networks.

    Activations that layers hold (`activation=`, `keras.layers.ReLU` with a
    maximum) count as the identity, which ReLU is where nothing is negative,
    and so does a softmax or sigmoid at the end of the model. Then flow is
    conserved: what goes through a layer goes through the next. Sigmoids
    inside, most of them gates, are the identity divided by its largest value:
    a gate then lets pass up to all, as it does, where a product of two flows
    would leave the range of numbers after some blocks. Other bent
    operations (softmax attention, recurrent layers, LayerNormalization,
    `ops.gelu` in a model's own code) are computed as they are, with a
    warning: scores order weights there too, but flow is not conserved, so
    that nothing is promised about layer collapse. After training, absolute
    moving means and biases disturb it as well.

    Integer inputs are tokens: each looks up the mean of all rows of its
    `Embedding`, which is what an input of ones for every token would be.

    Reference: Tanaka et al. 2020, https://arxiv.org/abs/2006.05467. Its 100
    iterations are part of the method: once is prone to layer collapse.

    Args:
        input_shape: Tuple of integers, the shape of one input without the
            batch dimension; a list or dict of such for several inputs.
            Defaults to `None`: that of the model; where it leaves dimensions
            open those of the data, or without data 32. For a subclassed
            model that of the data, or else the one it was built with.

    Raises:
        ValueError: When called: if the input's shape is not known, a weight
            has no gradient or a score is not finite.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((2,)),
    ...     keras.layers.Dense(1, name="fc", kernel_initializer="ones"),
    ...     keras.layers.Dense(1, name="out", kernel_initializer="ones")])
    >>> scores = tfl.criteria.score(model, SynFlow())
    >>> scores["fc/kernel"].tolist(), scores["out/kernel"].tolist()
    ([[1.0], [1.0]], [[2.0]])
    """

    name = "synflow"
    iterations = 100

    def __init__(self, input_shape: Any = None) -> None:
        if input_shape is not None and not isinstance(
            input_shape, (tuple, list, dict)
        ) or input_shape == {}:
            checks.refuse(
                "input_shape", input_shape, "a shape, or a list or dict of some"
            )
        self.input_shape = input_shape

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        parts = list(dict.fromkeys(internals.layers.flat(model)))
        embeddings = _embeddings(parts)
        specs = _specs(model, self.input_shape, context)
        functional = Functional(
            model, variables, "float64", replace=_straightened(parts)
        )
        bent = {p.name for p in parts if isinstance(p, _BENT_LAYERS)}

        def absolute(variable, value):
            value = ops.abs(value)
            return _mean_row(value) if id(variable) in embeddings else value

        @functional.function
        def flow(masks):
            values = {
                key: ops.abs(value)
                for key, value in functional.values(masks).items()
            }

            ones = keras.tree.map_structure(
                lambda spec: ops.ones(spec.shape, spec.dtype), specs
            )

            def total(values):
                passed = {
                    key: _mean_row(value)
                    if id(variables[key]) in embeddings else value
                    for key, value in values.items()
                }
                outputs = functional.outputs(passed, ones, absolute)
                split = [heads.split(o) for o in keras.tree.flatten(outputs)]
                bent.update(_bent_operations(split))
                return sum(map(_sum_of, split))

            found = functional.gradients_of(total, values)
            return {key: ops.abs(found[key] * values[key]) for key in values}

        def scores(masks):
            try:
                found = flow(masks)
            except Exception:
                _check_fits(model, specs)
                raise
            if bent:
                _warn(model, bent)
                bent.clear()
            return _finite(gradients_lib.to_arrays(found))

        return scores


def _sum_of(head):
    output = head.output if head.logits is None else head.logits
    return ops.sum(ops.cast(output, "float64"))


def _finite(scores):
    for key, score in scores.items():
        if not np.isfinite(score).all():
            raise ValueError(
                "The flow of criterion 'synflow' leaves the range of float64 "
                f"in weight '{key}', or the weight itself is not finite. Scale "
                "the weights of some layers down (a factor for a whole layer "
                "of a chain does not change the order of scores), or use "
                "another criterion."
            )
    return scores


def _embeddings(parts):
    """Identities of the variables that tokens look up."""
    found = [part for part in parts if isinstance(part, layers.Embedding)]
    return {id(internals.layers.table(part)) for part in found}


def _mean_row(value):
    """Every row the mean of all rows."""
    row = ops.mean(value, 0, keepdims=True)
    return ops.broadcast_to(row, value.shape)


def _straightened(parts):
    """Activations that count as the identity, as attributes to replace."""
    cells = {id(c) for p in parts if isinstance(p, layers.RNN)
             for c in internals.layers.flat(p)}
    replace = []
    for part in parts:
        activation = getattr(part, "activation", None)
        name = getattr(activation, "__name__", None)
        if callable(activation) and id(part) not in cells and (
            name not in _HOMOGENEOUS
        ):
            straight = _scaled if name in _GATES else keras.activations.linear
            replace.append((part, "activation", straight))
        if isinstance(part, layers.ReLU):
            replace.append((part, "max_value", None))
            replace.append((part, "threshold", 0.0))
    return replace


def _scaled(x):
    largest = ops.stop_gradient(ops.max(ops.abs(x)))
    return x / ops.where(largest > 0, largest, ops.ones_like(largest))


def _bent_operations(split):
    """Names of operations of the graph that do not carry flow.

    Other backends have no graph to be read; there, layers alone tell.
    """
    if not backends.is_tensorflow():
        return set()
    graph = tf.compat.v1.get_default_graph()
    ends = {id(head.logits) for head in split}
    return {
        re.sub(r"_\d+$", "", operation.name)
        for operation in graph.get_operations()
        if operation.type in _BENT_OPERATIONS
        and id(operation.inputs[0]) not in ends
    }


def _warn(model, bent):
    warnings.warn(
        f"Model '{model.name}' has parts that conserve no flow: "
        f"{sorted(bent)}. Criterion 'synflow' scores it as it is; it may "
        "prune whole layers, unlike in networks of linear layers, ReLU and "
        "pooling.",
        stacklevel=4,
    )


def _specs(model, shape, context):
    """Returns the structure of the shapes and dtypes of one input."""
    graph = internals.graphs.of_sequential(model) or model
    inputs = internals.graphs.input_structure(graph)
    if shape is not None:
        return _given(shape, inputs)
    is_open = inputs is None or any(
        None in x.shape[1:] for x in keras.tree.flatten(inputs)
    )
    if is_open and context.data is not None:
        data = batches_lib.batches_of(context.data, criterion="synflow")
        x = next(iter(data))[0]
        return keras.tree.map_structure(
            lambda a: _spec(keras.KerasTensor((1, *a.shape[1:]), a.dtype)), x
        )
    if inputs is not None:
        return keras.tree.map_structure(_spec, inputs)
    return _built(model)


def _check_fits(model, specs):
    """Raises a `ValueError` unless a model can be called on such inputs."""
    try:
        model.compute_output_spec(specs)
    # Whatever the model's own code raises.
    except Exception as error:
        shapes = [tuple(x.shape) for x in keras.tree.flatten(specs)]
        raise ValueError(
            f"Criterion 'synflow' cannot call model '{model.name}' on an "
            f"input of ones. Received: inputs of shapes {shapes}, where "
            f"{type(error).__name__}: {error}. Expected: `data`, whose shapes "
            "are taken where the model leaves them open, or "
            "`criterion=tf_lottery.criteria.SynFlow(input_shape=...)`."
        ) from error


def _spec(tensor):
    batch, *rest = tensor.shape
    shape = [batch or 1, *(size or _UNKNOWN_SIZE for size in rest)]
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "string":
        raise ValueError(
            "Criterion 'synflow' needs numbers as inputs. Received: a model "
            "of strings."
        )
    floating = keras.backend.is_float_dtype(dtype)
    return keras.KerasTensor(shape, "float64" if floating else dtype)


def _given(shape, inputs):
    """Returns the specs of shapes the user gave."""
    tensors = _map_shapes(lambda size: keras.KerasTensor((1, *size)), shape)
    inputs = tensors if inputs is None else inputs
    given, known = keras.tree.flatten(tensors), keras.tree.flatten(inputs)
    if len(given) != len(known):
        raise ValueError(
            "Argument `input_shape` must have a shape for each of the "
            f"model's {len(known)} inputs. Received: input_shape={shape!r}"
        )
    specs = [
        _spec(keras.KerasTensor(a.shape, b.dtype))
        for a, b in zip(given, known)
    ]
    return keras.tree.pack_sequence_as(inputs, specs)


def _map_shapes(function, shape):
    """Applies a function to every shape of a structure."""
    try:
        return keras.tree.map_shape_structure(lambda s: function(s[:]), shape)
    # Whatever else stands among them has no slices, or is no size.
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Argument `input_shape` must be a tuple of integers, or a list or "
            f"dict of such. Received: input_shape={shape!r}"
        ) from error


def _built(model):
    """A subclassed model remembers the shape it was built with."""
    shape = (model.get_build_config() or {}).get("input_shape")
    if not shape:
        raise ValueError(
            f"The shape of the inputs of model '{model.name}' is not known. "
            "Pass `criterion=tf_lottery.criteria.SynFlow(input_shape=...)`. "
            "Received: input_shape=None"
        )
    return _given(_map_shapes(lambda size: tuple(size[1:]), shape), None)
