"""Statistics of batch normalisation, estimated anew."""

import contextlib

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.utils import backends
from tf_lottery.utils import types


def normalizations(model):
    """Returns the layers whose statistics training changes, as a list."""
    weights_lib.check_built(model)
    return [
        layer
        for layer in internals.layers.flat(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
    ]


class Recalibration:
    """Estimates a model's statistics of batch normalisation again and again.

    Every batch is normalised as in training; everything else runs as in
    inference. Means and variances of the batches are pooled. Frozen layers
    keep theirs, and labels are ignored.
    """

    def __init__(self, model, data, batch_size=512):
        self.layers = normalizations(model)
        self._batches = batches_lib.batches_of(
            batches_lib.labelled(data), batch_size=batch_size,
            criterion="recalibration",
        )
        self._sums = [_Sums(layer) for layer in self.layers]

        def forward(x):
            model(x, training=False)

        self._run = backends.compiled(forward)

    def __call__(self):
        """Estimates the statistics for the weights as they are now."""
        if not self.layers:
            return
        for sums in self._sums:
            sums.clear()
        with contextlib.ExitStack() as stack:
            for sums in self._sums:
                stack.enter_context(sums.recording())
            for x, _, _ in self._batches:
                self._run(x)
        for sums in self._sums:
            sums.assign()


def recalibrate(
    model: keras.Model, data: types.Data | np.ndarray, batch_size: int = 512
) -> int:
    """Estimates a model's statistics of batch normalisation anew.

    Where weights were removed, or put together from others, layers pass on
    other values than those that the statistics were taken of. Pruning and
    shrinking without training further lose less once they are renewed.

    References: the evaluation of Izmailov et al. 2018, section 3.2,
    https://arxiv.org/abs/1803.05407; for lines between networks, Jordan et
    al. 2022, https://arxiv.org/abs/2211.08403; after pruning, Frantar and
    Alistarh 2022, section 5, https://arxiv.org/abs/2208.11580.

    Args:
        model: A built `keras.Model`; the moving means and variances of its
            trainable `BatchNormalization` layers are changed, nothing else.
        data: Array of inputs, or arrays `(x, y)`, a batched
            `tf.data.Dataset` or a `keras.utils.PyDataset`, whose labels are
            ignored.
        batch_size: Integer, for data that are arrays. Defaults to 512.

    Returns:
        Integer, of how many layers there are new statistics.

    Raises:
        ValueError: If the model is not built, there are no data, or
            statistics are not finite. The model is then as it was.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((1,)), keras.layers.BatchNormalization()])
    >>> tfl.recalibrate(model, np.array([[1.0], [3.0]], "float32"))
    1
    >>> [float(w[0]) for w in model.get_weights()[2:]]
    [2.0, 1.0]
    """
    renewal = Recalibration(model, data, batch_size)
    moving = [
        variable for layer in renewal.layers
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
    before = [ops.convert_to_numpy(variable).copy() for variable in moving]
    try:
        renewal()
        _check_finite(moving)
    # Interrupted, too: on the way they are those of one batch.
    except BaseException:
        for variable, value in zip(moving, before):
            variable.assign(value)
        raise
    return len(renewal.layers)


def _check_finite(variables):
    for variable in variables:
        if not np.isfinite(ops.convert_to_numpy(variable)).all():
            raise ValueError(
                f"Statistics of batch normalisation ('{variable.path}') are "
                "not finite. Check the model's weights and the data for NaN "
                "and infinity."
            )


class _Sums:
    """Sums over the batches that one layer sees."""

    def __init__(self, layer):
        self.layer = layer
        shape, dtype = layer.moving_mean.shape, "float64"
        if keras.backend.backend() == "jax":
            dtype = "float32"
        self.mean = keras.Variable(np.zeros(shape), False, dtype)
        self.square = keras.Variable(np.zeros(shape), False, dtype)
        self.number = keras.Variable(0.0, False, dtype)

    def clear(self):
        for variable in (self.mean, self.square, self.number):
            variable.assign(ops.zeros(variable.shape, variable.dtype))

    @contextlib.contextmanager
    def recording(self):
        """Lets the layer run as in training and add up what it measures."""
        def change(call):
            def recorded(inputs, *args, **kwargs):
                outputs = call(inputs, *args, **{**kwargs, "training": True})
                self._add(ops.shape(inputs)[0])
                return outputs

            return recorded

        # With momentum 0 the moving statistics are those of the batch.
        with (
            internals.layers.call_replaced(self.layer, change),
            internals.layers.replaced(self.layer, "momentum", 0.0),
        ):
            yield

    def _add(self, number):
        dtype = self.number.dtype
        number = ops.cast(number, dtype)
        mean = ops.cast(self.layer.moving_mean, dtype)
        variance = ops.cast(self.layer.moving_variance, dtype)
        self.mean.assign_add(number * mean)
        self.square.assign_add(number * (variance + ops.square(mean)))
        self.number.assign_add(number)

    def assign(self):
        number = ops.convert_to_numpy(self.number)
        if not number:
            return
        mean = ops.convert_to_numpy(self.mean) / number
        square = ops.convert_to_numpy(self.square) / number
        self.layer.moving_mean.assign(mean)
        self.layer.moving_variance.assign(np.maximum(square - mean**2, 0.0))
