"""What shrinking costs and gains: ResNet50 and MobileNetV2 at half width.

    python -m tests.benchmarks.structured [--quick] [--json PATH]

Cost: CPU time of the calling thread for tracing, planning and rebuilding
(without copying the weights and without the proof), against building the
model with Keras, in turns. Latency: the model and the narrowed one, a ratio
of 0.5 with `round_to=8`, through TFLite on one thread, 224x224, batch 1, CPU
time of the calling thread, in turns; the ratio is of minima.
"""

import time

import keras

import tf_lottery as tfl
from tests.benchmarks import harness
from tf_lottery.structured import latency
from tf_lottery.structured import rebuilding

_MODELS = {"MobileNetV2": 2.5, "ResNet50": 3.0}


def main():
    args = harness.parser(__doc__).parse_args()
    rows = []
    for name, target in _MODELS.items():
        rows += _cost(name, 1 if args.quick else 5)
        rows += _latency(name, target, 9 if args.quick else 41)
    harness.report(__doc__.splitlines()[0], rows, args.json)


def _build(name):
    return getattr(keras.applications, name)(weights=None)


def _cost(name, repetitions):
    def build():
        return lambda: _build(name)

    def plan_and_rebuild():
        model = _build(name)

        def run():
            graph = tfl.graph.trace(model)
            plan = tfl.structured.plan(model, ratio=0.5, round_to=8)
            rebuilding.rebuild(graph, plan.kept(graph))

        return run

    times = harness.interleaved(
        {"build": build, "plan": plan_and_rebuild}, 1, repetitions,
        time.thread_time,
    )
    return [
        harness.ratio_row(
            times, "plan", "build", 3.0,
            f"{name}: trace, plan and rebuild / build",
        )
    ]


def _latency(name, target, repetitions):
    model = _build(name)
    graph = tfl.graph.trace(model)
    plan = tfl.structured.plan(model, ratio=0.5, round_to=8)
    interpreters = [
        latency.interpreter_of(graph, kept)
        for kept in (graph.kept([]), plan.kept(graph))
    ]
    dense, narrow = latency.compare(interpreters, repetitions, seconds=60)
    # The goal is a gain: the share of the time that is left must not exceed
    # its inverse.
    return [
        harness.Row(
            f"{name}: latency, narrow / dense", narrow / dense, 1 / target,
            "x", f"{dense:.2f} -> {narrow:.2f} ms: {dense / narrow:.2f}x",
        )
    ]


if __name__ == "__main__":
    main()
