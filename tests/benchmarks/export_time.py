"""What checking costs: export of MobileNetV2 against plain conversion.

    python -m tests.benchmarks.export_time [--quick] [--json PATH]

Wall time in one process, after a first conversion of a small model. Plain
conversion is `TFLiteConverter.from_keras_model(model).convert()`.
"""

import pathlib
import tempfile
import time

import keras

from tests.benchmarks import export_nets
from tests.benchmarks import harness
from tf_lottery import export


def main():
    args = harness.parser(__doc__).parse_args()
    size, width = (96, 0.35) if args.quick else (224, 1.0)
    export_nets.converted(export_nets.lenet(0.5))
    make = keras.applications.MobileNetV2
    rounds, pairs = 1 if args.quick else 3, []
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "m.tflite")
        for _ in range(rounds):
            model = export_nets.prune(
                make((size, size, 3), alpha=width, weights=None), 0.8
            )
            plain = _seconds(lambda: export_nets.converted(model))
            ours = _seconds(lambda: export.tflite(model, path, "flash"))
            pairs.append((ours / plain, ours, plain))
    ratio, ours, plain = sorted(pairs)[len(pairs) // 2]
    harness.report(
        "Export of MobileNetV2",
        [
            harness.Row(
                "convert, encode, check, measure / plain conversion", ratio,
                2.0, "x", f"{ours:.1f} s / {plain:.1f} s",
            )
        ],
        args.json,
    )


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
