"""Bytes of exported files, beside the converter's own sparsity flag.

    python -m tests.benchmarks.export_size [--quick] [--json PATH]

LeNet-300-100 with 90 % of each layer removed by magnitude; random values,
which is the worst case for compression. TFMOT's `strip_pruning` only bakes
zeros in: its files are those of the same converter.
"""

import pathlib
import tempfile

from tests.benchmarks import export_nets
from tests.benchmarks import harness
from tf_lottery import export

_QUANTIZATIONS = (None, "float16", "dynamic", "int8")


def main():
    args = harness.parser(__doc__).parse_args()
    rows = sizes() + [grown(args.quick)]
    harness.report("Size of LeNet-300-100, 90 % sparse", rows, args.json)


def sizes():
    """Returns the rows of each target."""
    model = export_nets.lenet(0.9)
    x = export_nets.normal(model, 100)
    flag = export_nets.converted(model, sparse=True)
    packed = len(export.entropy.gzipped(flag))
    size = _export(model, "size", None, x)
    bound = size.shipped.bound
    tiny = _export(model, "size", "auto", x)
    flash = _export(model, "flash", None, x)
    flash_any = _export(model, "flash", "auto", x)
    rows = [
        _row("float32, size: gzip / entropy bound", size.compressed / bound,
             1.02, "x", f"converter's flag: {packed / bound:.3f}"),
        _row("float32, flash: file", flash.nbytes / 1e3, 163, "kB",
             f"converter's flag: {len(flag) / 1e3:.1f} kB"),
        _row("any, size: gzip", tiny.compressed / 1e3, 45, "kB",
             tiny.shipped.name),
        _row("any, flash: file", flash_any.nbytes / 1e3, 111, "kB",
             flash_any.shipped.name),
    ]
    if export.children.micro_installed():
        micro = _export(model, "micro", "int8", x)
        rows += [
            _row("int8, micro: file", micro.nbytes / 1e3, 75, "kB",
                 f"arena {micro.shipped.arena:,} bytes"),
            _row("int8, micro: difference to the dense file",
                 micro.shipped.error, 0.0, "", ""),
        ]
    return rows


def grown(quick):
    """Returns the row of the largest file / dense file of its type."""
    worst, where = 0.0, ""
    for percent in (0, 50, 97) if quick else (0, 30, 50, 70, 90, 95, 97, 99):
        model = export_nets.lenet(percent / 100)
        x = export_nets.normal(model, 20)
        for quantize in _QUANTIZATIONS:
            for target in ("size", "flash", "cpu"):
                report = _export(model, target, quantize, x)
                dense = next(
                    row for row in report.rows
                    if row.name == f"{quantize or 'float32'} dense"
                )
                ratio = report.nbytes / dense.nbytes
                if ratio > worst:
                    worst = ratio
                    where = f"{percent} %, {quantize}, {target}"
    return _row("every sparsity and type: largest file / dense", worst, 1.0,
                "x", where)


def _export(model, target, quantize, x):
    with tempfile.TemporaryDirectory() as directory:
        return export.tflite(
            model, pathlib.Path(directory, "m.tflite"), target, quantize, x,
            seconds=0,
        )


def _row(what, reached, target, unit, note):
    return harness.Row(what, reached, target, unit, note)


if __name__ == "__main__":
    main()
