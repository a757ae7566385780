"""Child of `shrink_peers`: Torch-Pruning and fasterai, printed as JSON.

    python -m tests.benchmarks.torch_peer MODEL REPETITIONS

CPU seconds of tracing and pruning half of the channels of ResNet-50 or
ViT-B/16, the model built before.
"""

import contextlib
import json
import os
import sys
import time

import torch
import torch_pruning as tp
import torchvision
from fasterai.core.criteria import large_final
from fasterai.prune.pruner import Pruner

_IMAGES = torch.zeros(1, 3, 224, 224)


def main():
    name, repetitions = sys.argv[1], int(sys.argv[2])
    tools = {"Torch-Pruning 1.6.1": torch_pruning, "fasterai 0.4.1": fasterai}
    found = {tool: [] for tool in tools}
    for _ in range(repetitions):
        for tool, prune in tools.items():
            model = getattr(torchvision.models, name)().eval()
            start = time.process_time()
            try:
                with open(os.devnull, "w") as nowhere:
                    with contextlib.redirect_stdout(nowhere):
                        prune(model)
                found[tool].append(time.process_time() - start)
            except Exception as error:
                lines = str(error).strip().splitlines() or [""]
                found[tool] = f"{type(error).__name__}: {lines[0]}"[:100]
        tools = {t: p for t, p in tools.items() if not isinstance(found[t], str)}
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def torch_pruning(model):
    last = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
    heads = {
        m: m.num_heads for m in model.modules()
        if isinstance(m, torch.nn.MultiheadAttention)
    }
    tp.pruner.MagnitudePruner(
        model, _IMAGES, tp.importance.MagnitudeImportance(), pruning_ratio=0.5,
        round_to=8, ignored_layers=[last], num_heads=heads,
    ).step()


def fasterai(model):
    Pruner(model, 0.5, "local", large_final, example_inputs=_IMAGES)\
        .prune_model()


if __name__ == "__main__":
    main()
