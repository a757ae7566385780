"""Child of `shrink_peers`: Torch-Pruning and fasterai, printed as JSON.

    python -m tests.benchmarks.torch_peer MODEL

CPU seconds of tracing and pruning half of the channels of ResNet-50 or
ViT-B/16, the model built before, and the share of parameters that is left.
"""

import contextlib
import io
import json
import sys
import time

import torch
import torch_pruning as tp
import torchvision
from fasterai.core.criteria import large_final
from fasterai.prune.pruner import Pruner

_IMAGES = torch.zeros(1, 3, 224, 224)


def main():
    # Several threads spin while they wait for work, which would count.
    torch.set_num_threads(1)
    found = {}
    # What a process does once is in the first turn.
    for _ in range(2):
        for tool, prune in (
            ("Torch-Pruning 1.6.1", torch_pruning),
            ("fasterai 0.4.1", fasterai),
        ):
            found[tool] = _seconds(prune)
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def _seconds(prune):
    model = getattr(torchvision.models, sys.argv[1])().eval()
    size, start = _size(model), time.process_time()
    try:
        # It prints.
        with contextlib.redirect_stdout(io.StringIO()):
            prune(model)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0]}"[:100]
    seconds = time.process_time() - start
    return seconds, _size(model) / size


def _size(model):
    return sum(p.numel() for p in model.parameters())


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
