"""What shrinking costs and gains: ResNet50 and MobileNetV2 at half width.

    python -m tests.benchmarks.structured [--quick] [--json PATH]

Cost: CPU time of the calling thread for tracing, planning and rebuilding
(without copying the weights and without the proof), and CPU time of all
threads for shrinking with the proof, both against building the model with
Keras, in turns. Transformers, of about 100 M parameters, need KerasHub: each
in a process of its own, once after a tiny one, and the peak of memory over
that of the model, against its weights. Latency: the model and the narrowed
one, a ratio of 0.5 with `round_to=8`, through TFLite on one thread, 224x224,
batch 1, CPU time of the calling thread, in turns; the ratio is of minima.
"""

import importlib.util
import json
import sys
import time

import keras

import tf_lottery as tfl
from tests.benchmarks import harness
from tf_lottery.structured import latency
from tf_lottery.structured import rebuilding

_MODELS = {"MobileNetV2": 2.5, "ResNet50": 3.0}
_HIDDEN = {"hidden_dim": 768, "num_layers": 12}
# Backbones of KerasHub: what their sizes are, and what those of a tiny one.
_TRANSFORMERS = {
    "ViT": (
        {"image_shape": (224, 224, 3), "patch_size": 16, "num_heads": 12,
         "mlp_dim": 3072, **_HIDDEN},
        {"image_shape": (32, 32, 3), "patch_size": 16, "num_heads": 2,
         "mlp_dim": 16, "hidden_dim": 8, "num_layers": 1},
    ),
    "Llama": (
        {"vocabulary_size": 32000, "num_query_heads": 12,
         "num_key_value_heads": 4, "intermediate_dim": 2048,
         **_HIDDEN, "num_layers": 8},
        {"vocabulary_size": 32, "num_query_heads": 2,
         "num_key_value_heads": 2, "intermediate_dim": 16, "hidden_dim": 8,
         "num_layers": 1},
    ),
}


def main():
    parser = harness.parser(__doc__)
    parser.add_argument("--one", help="figures of one transformer, as JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(_figures(args.one)))
        return
    rows = []
    for name in _TRANSFORMERS:
        rows += _transformer(name)
    for name, target in _MODELS.items():
        rows += _cost(name, 1 if args.quick else 5)
        rows += _proof(name, 1 if args.quick else 5)
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


def _proof(name, repetitions):
    model = _build(name)
    plan = tfl.structured.plan(model, ratio=0.5, round_to=8)
    times = harness.interleaved(
        {
            "build": lambda: lambda: _build(name),
            "shrink": lambda: lambda: tfl.structured.shrink(model, plan),
        },
        1, repetitions,
    )
    return [
        harness.ratio_row(
            times, "shrink", "build", 4.0,
            f"{name}: shrink with its proof / build",
        )
    ]


def _transformer(name):
    if importlib.util.find_spec("keras_hub") is None:
        return [harness.Row(f"{name}: shrink / build", "no KerasHub")]
    command = [sys.executable, "-m", "tests.benchmarks.structured"]
    _, text = harness.child_cpu([*command, "--one", name])
    found = json.loads(text.splitlines()[-1])
    note = f"{found['params'] / 1e6:.0f} M parameters, {found['dtype']}"
    return [
        harness.Row(f"{name}: {what}", found[key], target, "x", note)
        for key, target, what in (
            ("rebuilt", 3.0, "trace, plan and rebuild / build"),
            ("shrunk", 4.0, "trace, plan and shrink with its proof / build"),
            ("peak", 4.0, "peak of memory / weights"),
        )
    ]


def _figures(name):
    """Costs of one transformer, in builds and in weights."""
    import keras_hub

    make = getattr(keras_hub.models, f"{name}Backbone")
    sizes, tiny = _TRANSFORMERS[name]
    _shrunk(make(**tiny))
    start = time.process_time()
    model = make(**sizes)
    build = time.process_time() - start
    start = time.process_time()
    graph = tfl.graph.trace(model)
    plan = tfl.structured.plan(model, ratio=0.5, round_to=8)
    rebuilding.rebuild(graph, plan.kept(graph))
    rebuilt = time.process_time() - start
    del graph
    with harness.usage() as usage:
        small = _shrunk(model)
    return {
        "params": model.count_params(),
        "dtype": tfl.structured.proof_of(small).dtype,
        "rebuilt": rebuilt / build,
        "shrunk": usage.cpu / build,
        "peak": usage.peak / (4 * model.count_params()),
    }


def _shrunk(model):
    plan = tfl.structured.plan(model, ratio=0.5, round_to=8)
    return tfl.structured.shrink(model, plan)


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
