"""What scoring costs: SNIP, GraSP and SynFlow on VGG-16.

    python -m tests.benchmarks.criteria [--quick] [--json PATH]

VGG-16 with batch normalisation, 14.7 M weights, 32x32x3 inputs. SNIP and
GraSP score one batch of 64; the unit is the wall-clock time of one
`train_on_batch` of that batch with plain SGD, after a first step that traces
it; their first call, which traces, is reported apart. Memory is the peak of
the resident set over that at the start, as a multiple of the weights' bytes.
SynFlow is a whole `tfl.prune` to a density of 1 %: 100 iterations of scoring
and exact selection, and holding the masks.
"""

import statistics
import time

import keras
import numpy as np

import tf_lottery as tfl
from tests.benchmarks import harness
from tf_lottery import experiments

_BATCH = 64


def main():
    args = harness.parser(__doc__).parse_args()
    model, data = _model_and_data()
    rows = _against_steps(model, data, 3 if args.quick else 9)
    rows += _synflow(model, 5 if args.quick else 100)
    harness.report(__doc__.splitlines()[0], rows, args.json)


def steps():
    """Returns the rows of SNIP and GraSP against steps, quickly."""
    return _against_steps(*_model_and_data(), 3)


def _model_and_data():
    model = experiments.models.vgg_16((32, 32, 3), 100)
    model.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    rng = np.random.default_rng(0)
    return model, (
        rng.normal(size=(_BATCH, 32, 32, 3)).astype("float32"),
        rng.integers(0, 100, _BATCH),
    )


def _against_steps(model, data, repetitions):
    variables = tfl.weights.prunable(model)
    size = sum(4 * int(np.prod(v.shape)) for v in variables.values())
    masks = tfl.constraints.current_masks(variables)
    context = tfl.criteria.make_context(data=data, masks=masks)
    timed, rows = {"step": lambda: model.train_on_batch(*data)}, []
    for name in ("snip", "grasp"):
        with harness.usage() as usage:
            score = tfl.criteria.get(name)(model, variables, context)
        del score
        rows.append(
            harness.Row(f"{name}, first call with tracing", usage.wall,
                        unit="s")
        )
        rows.append(
            harness.Row(f"{name}, peak memory / weights", usage.peak / size,
                        4.0, "x", usage.how)
        )
        prepared = tfl.criteria.get(name).prepare(model, variables, context)
        timed[name] = lambda prepared=prepared: prepared(masks)
    times = harness.interleaved(
        {name: (lambda f=f: f) for name, f in timed.items()},
        1, repetitions, time.perf_counter,
    )
    for name, target in (("snip", 2.5), ("grasp", 6.0)):
        rows.append(
            harness.ratio_row(
                times, name, "step", target, f"{name} / training step"
            )
        )
    step = statistics.median(times["step"])
    return [*rows, harness.Row("training step", step, unit="s")]


def _synflow(model, iterations):
    variables = tfl.weights.prunable(model)
    size = sum(4 * int(np.prod(v.shape)) for v in variables.values())
    with harness.usage() as usage:
        tfl.prune(model, 0.99, criterion="synflow", iterations=iterations)
    target = 180.0 if iterations == 100 else None
    return [
        harness.Row(f"synflow, {iterations} iterations", usage.wall, target,
                    "s"),
        harness.Row("synflow, peak memory / weights", usage.peak / size, 4.0,
                    "x", usage.how),
    ]


if __name__ == "__main__":
    main()
