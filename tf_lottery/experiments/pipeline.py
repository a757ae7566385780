"""Training batches and test accuracy at the least cost.

The whole data set stays in memory, a batch is gathered by index inside
`tf.data`, and the order of the examples follows from the optimizer's step
alone: every round, every control and a run that was interrupted see the same
batch at the same step.
"""

import functools

import keras
import numpy as np

from tf_lottery.utils import backends
from tf_lottery.utils.backends import tf

_CHUNK = 5000
_SMALL = 28 * 28


def order(seed, step, steps, batch_size, examples):
    """Returns which examples some steps use, `(steps, batch_size)`.

    The examples are an endless chain of permutations, so that all batches are
    full and none is left out.
    """
    start, count = step * batch_size, steps * batch_size
    first, last = start // examples, (start + count - 1) // examples
    chain = np.concatenate([
        np.random.default_rng((seed, i)).permutation(examples)
        for i in range(first, last + 1)
    ])
    start -= first * examples
    return chain[start:start + count].reshape(steps, batch_size)


class Batches(keras.callbacks.Callback):
    """A data set for `fit` whose batches depend on the optimizer's step.

    At the beginning of an epoch it looks up the step, so that a rewound model
    gets the data of the step it was rewound to; place it after the pruning
    callback. `dataset` is endless, so that one iterator serves the whole of
    `fit`: pass `steps_per_epoch=steps` with it. `augment(x, seed)` returns a
    changed batch of inputs; `seed` is a tensor of two integers.
    """

    def __init__(self, x, y, batch_size, steps, seed=0, augment=None):
        super().__init__()
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.examples = len(x)
        self._indices = tf.Variable(self.order(0), dtype="int32")
        self._position = tf.Variable(0)
        self._first = tf.Variable(0)
        self._seed = tf.Variable(seed, dtype="int32")
        x, y = tf.constant(x), tf.constant(y)

        def gather(_):
            # The batch is found when it is asked for, never ahead of time.
            after = self._position.assign_add(1)
            batch = self._indices[(after - 1) % steps]
            inputs = tf.gather(x, batch)
            if augment is not None:
                seeds = self._seed.read_value(), self._first + after - 1
                inputs = augment(inputs, seeds)
            return inputs, tf.gather(y, batch)

        self.dataset = _plain(tf.data.Dataset.counter().map(gather))

    def order(self, step):
        return order(
            self.seed, step, self.steps, self.batch_size, self.examples
        )

    def reseed(self, seed):
        self.seed = seed
        self._seed.assign(seed)

    def on_epoch_begin(self, epoch, logs=None):
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        self._indices.assign(self.order(step))
        self._position.assign(0)
        self._first.assign(step)


class TestAccuracy(keras.callbacks.Callback):
    """Writes `test_accuracy` into the logs of every epoch.

    It comes before the callback that rewinds at the end of a round.
    """

    __test__ = False

    def __init__(self, batches):
        super().__init__()
        self._batches = batches

    def set_model(self, model):
        # Later fits of the same model use the function traced before.
        if model is self._model:
            return
        super().set_model(model)

        @tf.function(reduce_retracing=True)
        def hits(x, y):
            found = tf.argmax(model(x, training=False), -1, y.dtype)
            return tf.math.count_nonzero(found == y)

        self._hits = hits

    def on_epoch_end(self, epoch, logs=None):
        hits = examples = 0
        for x, y in self._batches:
            hits += int(self._hits(x, y))
            examples += len(y)
        logs["test_accuracy"] = hits / examples


def chunks(x, y):
    """Returns a few large batches of arrays, as a list of pairs of tensors."""
    # What convolutions make of colour images takes 20 times their memory.
    size = _CHUNK if np.prod(x.shape[1:]) <= _SMALL else _CHUNK // 10
    return [
        (tf.constant(x[i:i + size]), tf.constant(y[i:i + size]))
        for i in range(0, len(x), size)
    ]


def evaluation(x, y):
    """Returns a `tf.data.Dataset` of few large batches, for `evaluate`."""
    parts = [
        tf.data.Dataset.from_tensors(chunk) for chunk in chunks(x, y)
    ]
    return _plain(functools.reduce(tf.data.Dataset.concatenate, parts))


def _plain(dataset):
    """Switches off what costs more than it brings to batches in memory."""
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_optimization.apply_default_optimizations = False
    return backends.unbuffered(dataset.with_options(options))
