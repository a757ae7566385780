"""Latency of exported files, one thread, CPU time, taking turns.

    python -m tests.benchmarks.export_latency [--quick] [--json PATH]

Two dense layers of 1024, 90 % sparse, and MobileNetV1 at 224 pixels with a
tenth of the multiplications. Weights that fit in the processor's cache make
dense layers fast: so the dense layers are also measured cold.
"""

import pathlib
import tempfile

from tests.benchmarks import export_nets
from tests.benchmarks import harness
from tf_lottery import export


def main():
    args = harness.parser(__doc__).parse_args()
    seconds = 0.5 if args.quick else 3.0
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        rows = dense_layers(place, seconds) + narrow(place, seconds)
    harness.report("Latency: dense / this file", rows, args.json)


def dense_layers(place, seconds):
    """Returns the rows of the sparse kernels of FULLY_CONNECTED."""
    files = {"dense": export_nets.converted(export_nets.mlp(0.0))}
    for name, block in (("unstructured", 1), ("1x4 blocks", 4)):
        model = export_nets.mlp(0.9, block)
        (_, content, _), = export.targets.get("cpu").encode(
            export_nets.converted(model), "float32"
        )
        files[name] = content
    files["converter's flag"] = export_nets.converted(
        export_nets.mlp(0.9), sparse=True
    )
    rows = []
    for how, cold in (("", False), (", cold", True)):
        found = export.benchmark(files, seconds=seconds, cold=cold)
        for name, goal in (
            ("1x4 blocks", 6), ("unstructured", 2), ("converter's flag", None)
        ):
            rows.append(_row(f"1024x1024x2, 90 %, {name}{how}", found, name,
                             goal))
    return rows


def narrow(place, seconds):
    """Returns the row of a narrow convolutional network."""
    files = {}
    for name, width in (("dense", 1.0), ("narrow", 0.3)):
        path = place / f"{name}.tflite"
        export.tflite(
            export_nets.mobilenet(width), path, "cpu", seconds=0
        )
        files[name] = path
    work = {name: export.inspect(path).macs for name, path in files.items()}
    found = export.benchmark(files, seconds=seconds)
    share = 100 * work["narrow"] / work["dense"]
    return [_row(f"MobileNetV1, {share:.0f} % of the MACs", found, "narrow",
                 5)]


def _row(what, found, name, goal):
    timing, dense = found.timings[name], found.timings["dense"]
    speedup = found.speedups[name]
    reached = "yes" if goal and speedup >= goal else "NO"
    return harness.Row(
        what, speedup, None, "x",
        f"{1e3 * dense.median:.3f} -> {1e3 * timing.median:.3f} ms, "
        f"n={timing.number}" + (f"; goal >= {goal}: {reached}" if goal else ""),
    )


if __name__ == "__main__":
    main()
