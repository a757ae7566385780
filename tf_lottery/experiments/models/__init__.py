"""The networks of the papers: named layers, seeded weights, logits."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

from tf_lottery.utils import checks

if TYPE_CHECKING:
    import keras

_HOMES = {
    "lenet_300_100": "lenet",
    "lenet_5": "lenet",
    "conv_2": "conv",
    "conv_4": "conv",
    "conv_6": "conv",
    "resnet_8": "resnet",
    "resnet_20": "resnet",
    "resnet_20_narrow": "resnet",
    "vgg_16": "vgg",
    "vgg_19": "vgg",
    "resnet_50": "imagenet",
    "inception_v3": "imagenet",
    "squeezenet": "imagenet",
}
MODELS = tuple(_HOMES)


def get(name: str) -> Callable[..., "keras.Model"]:
    """Returns the function that builds the model of that name.

    Args:
        name: String, one of `MODELS`.

    Returns:
        Function of `(input_shape, classes, seed)`.

    Raises:
        ValueError: If there is no such model.
    """
    checks.choice("model", name, MODELS)
    # Presets name models, and are listed without importing Keras.
    home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(home, name)


def __getattr__(name: str) -> Any:
    if name in MODELS:
        return get(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*MODELS, "MODELS", "get"])
