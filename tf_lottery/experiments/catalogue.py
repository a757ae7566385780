"""The experiments of the papers."""

import dataclasses
from typing import Any

from tf_lottery.experiments import presets
from tf_lottery.utils import checks

# Epochs of 1,281,167 images in batches of 1,024.
_IMAGENET_EPOCH = 1251
# Section 4 of the paper names weight decay and augmentation; the factor is
# the one of open_lth, the authors' later code.
_DEEP: dict[str, Any] = dict(
    dataset="cifar10",
    optimizer="sgd",
    momentum=0.9,
    weight_decay=1e-4,
    augment="crop-flip",
    rate={"*": 0.2},
    exclude=("logits",),
    scope="global",
    control_trials=1,
    control_every=0,
    save_freq="epoch",
)
_RESNET_20: dict[str, Any] = dict(
    model="resnet_20",
    batch_size=128,
    iterations=30_000,
    evaluate_every=500,
    drops=(2 / 3, 5 / 6),
    rounds=12,
    **_DEEP,
)
_VGG_19: dict[str, Any] = dict(
    model="vgg_19",
    batch_size=64,
    iterations=112_000,
    evaluate_every=1000,
    drops=(0.5, 0.75),
    rounds=20,
    **_DEEP,
)
_IMAGENET: dict[str, Any] = {
    **_DEEP,
    "dataset": "imagenet2012",
    "augment": "none",
    "batch_size": 1024,
    "evaluate_every": _IMAGENET_EPOCH,
    "compare": ("random-reinit", "random-mask", "one-shot"),
    "exclude": (),
}


def _conv(layers, learning_rate, iterations, rate):
    return presets.Preset(
        f"conv{layers}-cifar10",
        f"Conv-{layers} on CIFAR-10, arXiv 1803.03635.",
        dataset="cifar10",
        model=f"conv_{layers}",
        learning_rate=learning_rate,
        iterations=iterations,
        rate={"conv*": rate, "fc*": 0.2, "logits": 0.1},
        rounds=25,
        control_every=0,
    )


def _imagenet(name, summary, epochs, rewind, **changes):
    return presets.Preset(
        name,
        summary,
        iterations=epochs * _IMAGENET_EPOCH,
        rewind_to=f"{rewind * _IMAGENET_EPOCH}it",
        **{**_IMAGENET, **changes},
    )


PRESETS: dict[str, presets.Preset] = {
    preset.name: preset
    for preset in (
        presets.Preset(
            "lenet-digits",
            "LeNet-300-100 on 1,797 handwritten digits that come with "
            "tf_lottery; about two minutes.",
            dataset="digits",
            batch_size=50,
            # Fewer would end before the early stop of sparse tickets.
            iterations=1200,
            evaluate_every=20,
            rounds=15,
            trials=3,
            control_trials=2,
            control_every=0,
        ),
        presets.Preset(
            "lenet-mnist",
            "LeNet-300-100 on MNIST, the protocol of arXiv 1803.03635; "
            "about an hour a trial, most of it for the controls.",
            dataset="mnist",
            control_every=0,
        ),
        presets.Preset(
            "lenet-fashion",
            "LeNet-300-100 on Fashion-MNIST, otherwise as lenet-mnist.",
            dataset="fashion_mnist",
            control_every=0,
        ),
        presets.Preset(
            "lenet5-mnist",
            "LeNet-5 (Caffe) on MNIST, otherwise as lenet-mnist.",
            dataset="mnist",
            model="lenet_5",
            control_every=0,
        ),
        _conv(2, learning_rate=2e-4, iterations=20_000, rate=0.1),
        _conv(4, learning_rate=3e-4, iterations=25_000, rate=0.1),
        _conv(6, learning_rate=3e-4, iterations=30_000, rate=0.15),
        presets.Preset(
            "resnet20-cifar10",
            "ResNet-20 on CIFAR-10, learning rate 0.1 (\"Resnet-18\" of "
            "arXiv 1803.03635), rewound to step 500 (1903.01611).",
            learning_rate=0.1,
            rewind_to="500it",
            **_RESNET_20,
        ),
        presets.Preset(
            "resnet20-cifar10-low",
            "ResNet-20 on CIFAR-10, learning rate 0.01, rewound to 0.",
            learning_rate=0.01,
            **_RESNET_20,
        ),
        presets.Preset(
            "resnet20-cifar10-warmup",
            "ResNet-20 on CIFAR-10, learning rate 0.03 after 20,000 steps "
            "of warm-up, rewound to 0.",
            learning_rate=0.03,
            warmup=2 / 3,
            **_RESNET_20,
        ),
        presets.Preset(
            "vgg19-cifar10-low",
            "VGG-19 on CIFAR-10, learning rate 0.01, rewound to 0.",
            learning_rate=0.01,
            **_VGG_19,
        ),
        presets.Preset(
            "vgg19-cifar10-high",
            "VGG-19 on CIFAR-10, learning rate 0.1, rewound to 0: no "
            "winning tickets in the paper.",
            learning_rate=0.1,
            **_VGG_19,
        ),
        presets.Preset(
            "vgg19-cifar10-warmup",
            "VGG-19 on CIFAR-10, learning rate 0.1 after 10,000 steps of "
            "warm-up, rewound to 0.",
            learning_rate=0.1,
            warmup=10 / 112,
            **_VGG_19,
        ),
        _imagenet(
            "resnet50-imagenet",
            "ResNet-50 on your prepared ImageNet, 90 epochs, rewound to "
            "epoch 6 (arXiv 1903.01611).",
            epochs=90,
            rewind=6,
            model="resnet_50",
            learning_rate=0.4,
            drops=(1 / 3, 2 / 3, 8 / 9),
            warmup=5 / 90,
            rounds=7,
        ),
        _imagenet(
            "inceptionv3-imagenet",
            "Inception-v3 on your prepared ImageNet, 171 epochs, rewound to "
            "epoch 6; learning rate ours.",
            epochs=171,
            rewind=6,
            model="inception_v3",
            image_size=299,
            learning_rate=0.4,
            decay="cosine",
            warmup=5 / 171,
            rounds=5,
        ),
        _imagenet(
            "squeezenet-imagenet",
            "SqueezeNet on your prepared ImageNet, 150 epochs, rewound to "
            "epoch 10; learning rate ours.",
            epochs=150,
            rewind=10,
            model="squeezenet",
            learning_rate=0.04,
            weight_decay=2e-4,
            decay="linear",
            rounds=3,
        ),
    )
}


def preset(
    name: str, protocol: str = "full", **changes: Any
) -> presets.Preset:
    """Returns the preset of that name.

    Args:
        name: String, one of `PRESETS`.
        protocol: `"full"`, or `"cheap"`: four rounds prune as much as 15 of
            the full protocol, and those between the first and the last train
            two thirds as long. Tickets of 3.6 % of LeNet-300-100 take a
            quarter of the steps. Defaults to `"full"`.
        **changes: Values of `Preset` to replace; `None` leaves one as it is.

    Raises:
        ValueError: If there is no such preset, or a value is invalid.

    Example:

    >>> cheap = preset("lenet-mnist", "cheap")
    >>> cheap.rounds, cheap.middle_rounds, cheap.rate
    (4, 0.6667, {'*': 0.5669, 'logits': 0.3264})
    """
    checks.choice("name", name, PRESETS)
    checks.choice("protocol", protocol, PROTOCOLS)
    changes = {k: v for k, v in changes.items() if v is not None}
    return dataclasses.replace(
        PRESETS[name], **PROTOCOLS[protocol](PRESETS[name]) | changes
    )


def _cheap(full):
    return {
        "rounds": max(1, round(full.rounds / _MERGED)),
        "rate": {
            layer: round(1 - (1 - rate) ** _MERGED, 4)
            for layer, rate in full.rate.items()
        },
        "middle_rounds": 0.6667,
    }


# The rounds that one round of the cheap protocol prunes as much as: 15, which
# leave the papers' 3.6 %, in 4.
_MERGED = 15 / 4
PROTOCOLS = {"full": lambda full: {}, "cheap": _cheap}
