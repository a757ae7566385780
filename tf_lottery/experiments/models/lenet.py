"""LeNet-300-100 and LeNet-5."""

import keras

from tf_lottery.experiments.models import parts
from tf_lottery.utils import docs


@docs.filled
def lenet_300_100(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """LeNet-300-100: two hidden layers, `fc1` and `fc2`, and `logits`.

    The kernels are drawn from Glorot's normal distribution with a seed, the
    biases are 0. Reference: Frankle and Carbin 2019, figure 2,
    https://arxiv.org/abs/1803.03635.

    {{network}}

    Example:

    >>> model = tfl.experiments.models.lenet_300_100((28, 28, 1))
    >>> model.count_params()
    266610
    """
    seeds = parts.Seeds(seed)
    return keras.Sequential(
        [keras.Input(input_shape), *parts.head((300, 100), classes, seeds)],
        name="lenet_300_100",
    )


@docs.filled
def lenet_5(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """LeNet-5 in its Caffe form: 20 and 50 filters of 5x5, 500 units.

    With ReLU and max-pooling, as pruning papers use it since Han et al.
    2015, https://arxiv.org/abs/1506.02626 (table 1: 431K weights); the
    original is LeCun et al. 1998.

    {{network}}

    Example:

    >>> tfl.experiments.models.lenet_5((28, 28, 1)).count_params()
    431080
    """
    seeds = parts.Seeds(seed)
    layers = [keras.Input(input_shape)]
    for number, filters in enumerate((20, 50), start=1):
        layers += [
            parts.convolution(filters, 5, f"conv{number}", seeds),
            keras.layers.MaxPooling2D(name=f"pool{number}"),
        ]
    layers += parts.head((500,), classes, seeds)
    return keras.Sequential(layers, name="lenet_5")
