"""Child of `shrink_peers`: tf_lottery. Arguments: model, repetitions."""

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
    rebuilding.rebuild(graph, plan.kept(graph))


def main():
    name, repetitions = sys.argv[1], int(sys.argv[2])
    found = {"tf_lottery": [], "tf_lottery again": []}
    for _ in range(repetitions):
        for tool in found:
            model = _MODELS[name]()
            start = time.process_time()
            narrowed(model)
            found[tool].append(time.process_time() - start)
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
