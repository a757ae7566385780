"""What compression takes before files are made: MobileNetV2, 1,000 images.

    python -m tests.benchmarks.compress [--quick] [--json PATH]

32x32x3 inputs (`--quick`: alpha 0.35, 200 images), random weights, statistics
of batch normalisation renewed. Seconds are CPU time of all threads: on two
cores that have nothing else to do, the wall time is between half of it and all
of it. Memory is the peak of the resident set over that at the start. The search
is that of `compress` for `"size"`: errors and costs of all channels and
weights, and 30 allocations.
"""

import dataclasses

import keras
import numpy as np

import tf_lottery as tfl
from tests.benchmarks import harness
from tf_lottery import copies
from tf_lottery.compression import channels
from tf_lottery.compression import costs
from tf_lottery.compression import space as space_lib
from tf_lottery.compression import weights
from tf_lottery.search import allocation

_MINUTES, _GRAM = 60, 8 * 1280**2


def main():
    args = harness.parser(__doc__).parse_args()
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        (32, 32, 3), 0.35 if args.quick else 1.0, weights=None
    )
    number = 200 if args.quick else 1000
    x = np.random.default_rng(0).standard_normal(
        (number, 32, 32, 3), "float32"
    )
    labels = np.arange(number) % 1000
    model.compile("sgd", "sparse_categorical_crossentropy")
    tfl.recalibrate(model, x)
    rows = []
    for what, limit, work in (
        ("one compiled pass, which all of them need", None, lambda: (
            model.predict(x[:32], verbose=0)
        )),
        ("sensitivity and search", 5, lambda: _search(model, x)),
        ("`tfl.sensitivity`", 5, lambda: tfl.sensitivity(model, (x, labels))),
        ("`tfl.prune` by \"obc\" to half", 2, lambda: tfl.prune(
            model, 0.5, "obc", data=x, exclude="predictions"
        )),
    ):
        with harness.usage() as usage:
            work()
        rows += _rows(what, limit, usage, 4 * model.count_params())
    if args.quick:
        rows = [dataclasses.replace(row, target=None) for row in rows]
    harness.report(__doc__.splitlines()[0], rows, args.json)


def _search(model, x):
    copy, cost = copies.strip(model), costs.Cost("size", "int8")
    space = space_lib.Space(
        copy, x, channels.Channels(copy, ()),
        weights.Weights(copy, {}, cost.nbytes, (), (), cost.widths),
    )
    space.use(*space.measure(lambda text: None))
    allocator = allocation.Allocator(space.errors, space.cost)
    for number in range(30):
        allocator.within(allocator.whole * 0.95**number)


def _rows(what, limit, usage, nbytes):
    if limit is None:
        return [harness.Row(
            f"{what}, peak memory / weights", usage.peak / nbytes, None, "x",
            usage.how,
        )]
    return [
        harness.Row(what, usage.cpu, limit * _MINUTES, "s",
                    f"wall {usage.wall:.0f} s"),
        harness.Row(
            f"{what}, peak memory less a Gram matrix / weights",
            (usage.peak - _GRAM) / nbytes, 4, "x", usage.how,
        ),
    ]


if __name__ == "__main__":
    main()
