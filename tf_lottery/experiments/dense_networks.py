"""Dense networks that cost as much as a ticket, and no more."""

import bisect
import dataclasses
import math

import keras

from tf_lottery import masks as masks_lib
from tf_lottery import weights as weights_lib
from tf_lottery.experiments import bench as bench_lib
from tf_lottery.experiments import budgets


def equal_parameters(bench, ticket):
    """Trains a narrower dense network as long as the ticket; returns logs.

    All hidden layers are narrower by one factor, so that as many weights are
    left as the ticket keeps, or a few less: the small dense network of Zhu and
    Gupta 2018, https://arxiv.org/abs/1710.01878.
    """
    kept, preset = masks_lib.count(ticket.masks), bench.preset
    other = bench_lib.Bench(
        preset, bench.data, bench.number, bench.progress,
        lambda model: narrowed(model, kept, preset.exclude),
    )
    return other.fit(preset.epochs_per_round)


def equal_compute(bench, ticket):
    """Trains the dense network for a ticket's share of steps; returns logs.

    Steps times density are those of the ticket, as if pruned weights cost
    nothing; the schedule moves with the end. (Liu et al. 2019,
    https://arxiv.org/abs/1810.05270, train small networks longer instead.)
    """
    preset = dataclasses.replace(
        bench.preset, rewind_to=0, also_rewind_to=(), middle_rounds=1.0
    )
    density = masks_lib.density(ticket.masks)
    epochs = max(1, round(density * preset.epochs_per_round))
    short = budgets.with_epochs(preset, epochs)
    other = bench_lib.Bench(short, bench.data, bench.number, bench.progress)
    return other.fit(epochs)


def narrowed(model, kept, exclude=()):
    """Returns an untrained, narrower copy of at most `kept` prunable weights.
    """
    steps = 1 << 20
    factor = bisect.bisect_right(
        range(steps), kept,
        key=lambda n: _count(_scaled(model, n / steps), exclude),
    ) - 1
    return _scaled(model, max(factor, 0) / steps)


def _scaled(model, factor):
    """A copy whose layers, but the last one with units, have fewer units."""
    wide = [
        layer.name for layer in model.layers
        if {"units", "filters"} & vars(layer).keys()
    ][:-1]

    def clone(layer):
        config = layer.get_config()
        for name in ("units", "filters"):
            if layer.name in wide and name in config:
                config[name] = max(1, round(factor * config[name]))
        return type(layer).from_config(config)

    return keras.models.clone_model(model, clone_function=clone)


def _count(model, exclude):
    return sum(
        math.prod(weight.shape)
        for weight in weights_lib.prunable(model, exclude).values()
    )


MAKERS = {
    "equal_parameters": equal_parameters,
    "equal_compute": equal_compute,
}
