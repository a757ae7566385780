"""Child of `shrink_peers`: tf_lottery. Argument: model."""

import json
import sys
import time

import keras

import tf_lottery as tfl
from tests.benchmarks import models
from tf_lottery.structured import rebuilding

_MODELS = {
    "ResNet50": lambda: keras.applications.ResNet50(weights=None),
    "ViT-B/16": models.vit,
}


def narrowed(model):
    graph = tfl.graph.trace(model)
    plan = tfl.structured.plan(model, ratio=0.5, round_to=8)
    return rebuilding.rebuild(graph, plan.kept(graph)).model


def main():
    found = {}
    # What a process does once is in the first turn.
    for tool in ("first", "tf_lottery", "tf_lottery again"):
        model = _MODELS[sys.argv[1]]()
        start = time.process_time()
        small = narrowed(model)
        seconds = time.process_time() - start
        found[tool] = seconds, small.count_params() / model.count_params()
    del found["first"]
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
