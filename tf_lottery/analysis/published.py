"""Published numbers: what the papers report, to compare runs with.

Accuracies and densities are fractions. `speedup` is the early-stop step of
the dense network divided by that of the ticket, `earlier` one less its
inverse; `gain` is the difference of their accuracies. `recollected` marks
what could not be checked in the paper itself, only in quotations of it.

Sources: Frankle and Carbin 2019, https://arxiv.org/abs/1803.03635, and
Frankle et al. 2019, https://arxiv.org/abs/1903.01611, table 1.
"""

import functools

LOTTERY = "https://arxiv.org/abs/1803.03635"
STABILIZING = "https://arxiv.org/abs/1903.01611"


def _stability(density, accuracies, data_order, pruning):
    """Of tickets and of random masks; L2 distances over unpruned weights."""
    return {
        "source": STABILIZING,
        "density": density,
        "accuracy": dict(
            zip(("dense", "ticket", "random_masks"), accuracies)
        ),
        "data_order_l2": dict(zip(("ticket", "random_masks"), data_order)),
        "pruning_l2": dict(zip(("ticket", "random_masks"), pruning)),
    }


def _conv(iterations, speedup, at, gain, best):
    return {
        "source": LOTTERY,
        "protocol": {
            "iterations": iterations, "batch_size": 60, "trials": 5,
        },
        "recollected": ["early_stop", "gain"],
        "early_stop": {"density": at, "speedup": speedup},
        "gain": {"density": best, "accuracy": gain},
    }


def _deep(iterations, batch_size, *stability):
    return {
        "source": STABILIZING,
        "protocol": {"iterations": iterations, "batch_size": batch_size,
                     "trials": 3},
        "stability": _stability(*stability),
    }


_resnet20 = functools.partial(_deep, 30_000, 128, 0.167)
_vgg19 = functools.partial(_deep, 112_000, 64, 0.022)


def _imagenet(accuracy, density, rewind_epoch, epochs):
    return {
        "source": STABILIZING,
        "dense_accuracy": accuracy,
        "density": density,
        "rewind_epoch": rewind_epoch,
        "epochs": epochs,
    }


PUBLISHED = {
    "lenet-mnist": {
        "source": LOTTERY,
        "protocol": {"iterations": 50_000, "batch_size": 60, "trials": 5},
        "recollected": ["early_stop", "gain", "matches_dense_down_to"],
        "densities": {3: 0.5128, 7: 0.2107, 9: 0.1352, 15: 0.0358},
        "early_stop": {
            "density": 0.2107, "earlier": 0.38, "faster_than_reinit": 2.51,
            "gain_over_reinit": 0.005,
        },
        "gain": {"density": 0.1352, "accuracy": 0.003},
        "matches_dense_down_to": 0.0358,
        "stability": _stability(
            0.1083, (0.98, 0.983, 0.975), (20.7, 58.6), (48.1, 75.7)
        ),
    },
    "conv2-cifar10": _conv(20_000, 3.5, 0.088, 0.034, 0.046),
    "conv4-cifar10": _conv(25_000, 3.5, 0.092, 0.035, 0.111),
    "conv6-cifar10": _conv(30_000, 2.5, 0.151, 0.033, 0.264),
    "resnet20-cifar10": _resnet20(
        (0.905, 0.877, 0.877), (66.4, 66.7), (54.4, 53.4)
    ),
    "resnet20-cifar10-low": _resnet20(
        (0.891, 0.891, 0.861), (7.1, 28.9), (19.8, 26.6)
    ),
    "resnet20-cifar10-warmup": _resnet20(
        (0.896, 0.903, 0.868), (9.5, 37.4), (24.8, 34.6)
    ),
    "vgg19-cifar10-high": _vgg19(
        (0.915, 0.900, 0.902), (285, 245), (216, 212)
    ),
    "vgg19-cifar10-low": _vgg19(
        (0.920, 0.910, 0.880), (36.8, 90.3), (44.0, 66.1)
    ),
    "vgg19-cifar10-warmup": _vgg19(
        (0.923, 0.924, 0.903), (97, 267), (138, 201)
    ),
    "resnet50-imagenet": _imagenet(0.761, 0.2, 6, 90),
    "inceptionv3-imagenet": _imagenet(0.781, 0.3, 6, 171),
    "squeezenet-imagenet": _imagenet(0.548, 0.5, 10, 150),
}


def of(config: dict) -> dict:
    """Returns what a preset's paper reports; `{}` of another experiment."""
    return {} if config.get("changed") else PUBLISHED.get(
        config.get("name"), {}
    )
