"""What it takes to narrow a model: tf_lottery, Torch-Pruning, fasterai.

    python -m tests.benchmarks.shrink_peers [--quick] [--json PATH]

CPU seconds of tracing, planning and rebuilding ResNet-50 and ViT-B/16 at half
the width, without copying weights and without the proof, which the peers do
not have; theirs, of tracing and pruning in place. Processes take turns, and
`again` is noise. Networks are equal but for the classes of the frameworks; the
ViT in Keras averages over its patches, where the other one has a class token.
"""

import statistics

from tests.benchmarks import harness
from tests.benchmarks import peers

_MODELS = {"ResNet50": "resnet50", "ViT-B/16": "vit_b_16"}


def main():
    args = harness.parser(__doc__).parse_args()
    rows = []
    reason = peers.why_not("torch")
    for name, theirs in _MODELS.items():
        rows += _rows(name, None if reason else theirs, 3 if args.quick else 6)
    if reason:
        rows.append(
            harness.Row("Torch-Pruning, fasterai", "skipped", note=reason)
        )
    harness.report(__doc__.splitlines()[0], rows, args.json)


def _rows(name, theirs, turns):
    found = {}
    for _ in range(turns):
        children = [peers.run(None, "shrink_child", name)]
        if theirs:
            children.append(peers.run("torch", "torch_peer", theirs))
        for child in children:
            for tool, seconds in child.items():
                found.setdefault(tool, []).append(seconds)
    return [
        _row(f"{name}: {tool}", values, found["tf_lottery"])
        for tool, values in found.items()
    ]


def _row(what, values, ours):
    failed = [value for value in values if isinstance(value, str)]
    if failed:
        return harness.Row(what, "failed", note=failed[0])
    seconds, left = zip(*values)
    middle = statistics.median(seconds)
    ratio = middle / statistics.median(mine for mine, _ in ours)
    return harness.Row(
        what, middle, unit="s",
        note=f"{min(seconds):.2f} to {max(seconds):.2f}, n={len(seconds)}; "
        f"{ratio:.2f} x tf_lottery; {left[0]:.0%} of the parameters left",
    )


if __name__ == "__main__":
    main()
