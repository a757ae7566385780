"""The networks of the papers: named layers, seeded weights, logits."""

from tf_lottery.experiments.models.conv import conv_2 as conv_2
from tf_lottery.experiments.models.conv import conv_4 as conv_4
from tf_lottery.experiments.models.conv import conv_6 as conv_6
from tf_lottery.experiments.models.imagenet import inception_v3 as inception_v3
from tf_lottery.experiments.models.imagenet import resnet_50 as resnet_50
from tf_lottery.experiments.models.imagenet import squeezenet as squeezenet
from tf_lottery.experiments.models.lenet import lenet_300_100 as lenet_300_100
from tf_lottery.experiments.models.lenet import lenet_5 as lenet_5
from tf_lottery.experiments.models.resnet import resnet_8 as resnet_8
from tf_lottery.experiments.models.resnet import resnet_20 as resnet_20
from tf_lottery.experiments.models.vgg import vgg_16 as vgg_16
from tf_lottery.experiments.models.vgg import vgg_19 as vgg_19

MODELS = {
    builder.__name__: builder
    for builder in (
        lenet_300_100, lenet_5, conv_2, conv_4, conv_6, resnet_8, resnet_20,
        vgg_16, vgg_19, resnet_50, inception_v3, squeezenet,
    )
}


def get(name):
    """Returns the function that builds the model of that name.

    Args:
        name: String, one of `MODELS`.

    Returns:
        Function of `(input_shape, classes, seed)`.

    Raises:
        ValueError: If there is no such model.
    """
    if name not in MODELS:
        raise ValueError(
            f"Argument `model` must be one of {sorted(MODELS)}. "
            f"Received: model={name!r}"
        )
    return MODELS[name]
