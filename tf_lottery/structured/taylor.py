"""The Taylor criterion on groups: what the loss loses with a unit."""

import numpy as np
from keras import ops

from tf_lottery import backends


def score(graph, members, data):
    """Returns the score of every class by the Taylor criterion.

    The square of the sum of weight times gradient over a slice, Molchanov et
    al. 2019, eq. 8, https://arxiv.org/abs/1906.10771; the mean over members
    and over batches.

    Args:
        graph: `tf_lottery.graph.Graph` of a compiled model.
        members: List of the bindings that count.
        data: Tuple `(x, y)` or iterable of such batches.

    Returns:
        Float array over the ids of the graph, NaN where there is no score.

    Raises:
        ValueError: If there are no data or the model is not compiled.
    """
    members = [b for b in members if b.variable.trainable]
    variables = list({id(b.variable): b.variable for b in members}.values())
    total, batches = np.zeros(graph.size), 0
    for x, y in _batches(data):
        found = _gradients(graph.model, variables, x, y)
        products = {
            id(v): ops.convert_to_numpy(v).astype("float64") * g
            for v, g in zip(variables, found)
        }

        def contribution(binding):
            values = products[id(binding.variable)]
            rest = [i for i in range(values.ndim) if i != binding.axis]
            return values.sum(axis=tuple(rest))

        total += _mean_square(graph, members, contribution)
        batches += 1
    return total / max(batches, 1)


def _mean_square(graph, members, reduce):
    """Mean over the members of each class of the square of their sum."""
    total = np.zeros(graph.size)
    count = np.zeros(graph.size)
    for binding in members:
        ids = np.asarray(binding.ids)
        total += np.square(np.bincount(ids, reduce(binding), graph.size))
        count += np.bincount(ids, minlength=graph.size) > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)


def _batches(data):
    if data is None:
        raise ValueError(
            "Criterion 'taylor' needs `data`: a tuple `(x, y)` or an iterable "
            "of such batches. Received: data=None"
        )
    return [data] if isinstance(data, tuple) else data


def _gradients(model, variables, x, y):
    backends.check_tensorflow("Criterion 'taylor' of a plan takes")
    import tensorflow as tf

    if not model.compiled:
        raise ValueError(
            "Criterion 'taylor' needs a compiled model: its loss is "
            f"differentiated. Received: model '{model.name}', not compiled."
        )
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=False))
    found = tape.gradient(
        loss, [v.value for v in variables], unconnected_gradients="zero"
    )
    return [np.asarray(tf.convert_to_tensor(g), "float64") for g in found]
