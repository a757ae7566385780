"""Adversarial examples: inputs changed a little so that a model errs."""

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria import gradients as gradients_lib
from tf_lottery.criteria import heads
from tf_lottery.criteria import losses

NORMS = ("linf", "l2")


def gradients_of(model, loss=None):
    """Returns a function of inputs and labels: the gradients of the inputs.

    It returns a list of tensors. The loss is taken on logits where the model
    ends in a softmax or sigmoid, in inference mode, and is summed over
    examples, so that small gradients do not underflow.
    """
    loss = losses.resolve(model, loss, "robustness")

    def gradients(x, y):
        inputs = keras.tree.flatten(x)
        floating = {
            i: value for i, value in enumerate(inputs) if is_floating(value)
        }
        if not floating:
            raise ValueError(
                "There is no input to attack: only floating inputs can be "
                "changed a little. Received: inputs of dtypes "
                f"{[keras.backend.standardize_dtype(i.dtype) for i in inputs]}"
            )

        def summed(values):
            changed = [values.get(i, value) for i, value in enumerate(inputs)]
            changed = keras.tree.pack_sequence_as(x, changed)
            with heads.recorded(), keras.StatelessScope():
                found = loss(y, model(changed, training=False), None)
            return found * ops.cast(ops.shape(inputs[0])[0], found.dtype)

        found = gradients_lib.of(summed, floating)
        return [
            ops.zeros_like(value) if found[i] is None else found[i]
            for i, value in floating.items()
        ]

    return gradients_lib.compiled(gradients)


def is_floating(array):
    """Whether an input can be changed a little."""
    return keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(array.dtype)
    )


def pgd(
    gradients, x, y, epsilon, steps, step_size, norm="linf", clip=None,
    rng=None,
):
    """Takes steps up the loss and stays in the ball around the inputs.

    Reference: Madry et al. 2018, equation in section 2.1,
    https://arxiv.org/abs/1706.06083. What counts is the last point, as there.
    One step of the length `epsilon` is FGSM, Goodfellow, Shlens and Szegedy
    2015, equation in section 4, https://arxiv.org/abs/1412.6572.

    Radius and steps are in units of `x`; `clip` has the least and the greatest
    value of inputs, numbers or arrays. With `rng` it starts at random inside
    the ball.
    """
    inputs = [ops.convert_to_tensor(i) for i in keras.tree.flatten(x)]
    places = [i for i, value in enumerate(inputs) if is_floating(value)]
    centres = [inputs[i] for i in places]
    points = list(centres)
    if rng is not None:
        points = [
            _into(c, c + _random(rng, c, epsilon, norm), epsilon, norm, clip)
            for c in centres
        ]
    for _ in range(steps):
        for i, point in zip(places, points):
            inputs[i] = point
        found = gradients(keras.tree.pack_sequence_as(x, inputs), y)
        points = [
            _into(c, p + step_size * _direction(g, norm), epsilon, norm, clip)
            for c, p, g in zip(centres, points, found)
        ]
    for i, point in zip(places, points):
        inputs[i] = point
    return keras.tree.pack_sequence_as(x, inputs)


def _direction(gradient, norm):
    if norm == "linf":
        return ops.sign(gradient)
    length = _lengths(gradient)
    return ops.where(length > 0, gradient / ops.where(length > 0, length, 1), 0)


def _into(centre, point, epsilon, norm, clip):
    """The nearest point in the ball, and in the range of the data."""
    if norm == "linf":
        point = ops.clip(point, centre - epsilon, centre + epsilon)
    else:
        moved = point - centre
        length = _lengths(moved)
        point = ops.where(
            length > epsilon,
            centre + moved * (epsilon / ops.maximum(length, 1e-30)),
            point,
        )
    if clip is None:
        return point
    return ops.clip(point, *(ops.cast(edge, point.dtype) for edge in clip))


def _lengths(value):
    """The L2 norm of each example, in a shape to divide by.

    The greatest entry is taken out first: its square might be zero.
    """
    axes = tuple(range(1, len(value.shape)))
    top = ops.max(ops.abs(value), axis=axes, keepdims=True)
    scaled = value / ops.where(top > 0, top, 1)
    return top * ops.sqrt(ops.sum(ops.square(scaled), axes, keepdims=True))


def _random(rng, centre, epsilon, norm):
    """A random point of the ball: uniform, by volume."""
    shape = tuple(centre.shape)
    if norm == "linf":
        return ops.cast(rng.uniform(-epsilon, epsilon, shape), centre.dtype)
    direction = rng.normal(size=shape).reshape(shape[0], -1)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = epsilon * rng.random((shape[0], 1)) ** (1 / direction.shape[1])
    return ops.cast((radius * direction).reshape(shape), centre.dtype)
