"""The files that are tried for a target, and which of them is taken."""

import dataclasses

from tf_lottery.export import check
from tf_lottery.export import entropy
from tf_lottery.export import micro
from tf_lottery.export import report
from tf_lottery.export import targets

# Which encodings are tried, beside the dense file.
_ENCODINGS = {
    "size": ("size",),
    "flash": ("flash",),
    "cpu": ("cpu",),
    "arm": ("arm",),
    "auto": ("flash", "cpu"),
    "micro": ("micro",),
}
_NAMES = {
    "size": "sparse",
    "flash": "sparse",
    "cpu": "sparse kernels",
    "arm": "sparse",
    "micro": "bitmap",
}
# A file this much slower than the fastest one may win by its size.
_AS_FAST = 1.1
# What choosing another data type may cost in accuracy.
ACCURACY_DROP = 0.01


@dataclasses.dataclass(eq=False)
class Candidate:
    """A file that may be written, and its `report.Row`."""

    content: bytes
    row: report.Row


def make(dense, quantize, target):
    """Returns the dense candidate of a data type and its sparse ones.

    Args:
        dense: Bytes of the dense file.
        quantize: String, one of `convert.QUANTIZATIONS`.
        target: String, one of `targets.TARGETS`.

    Returns:
        List of `Candidate`, the dense one first. A sparse one is there only
        if it is smaller (compressed, for `"size"`), and different.
    """
    bound = entropy.bound(dense)
    found = []
    for encoding in _ENCODINGS[target]:
        if encoding == "micro":
            content, layers = micro.encode(dense)
        else:
            content, layers = targets.encode(dense, quantize, encoding)
        name = f"{quantize} {_NAMES[encoding]}"
        found.append(_candidate(name, quantize, content, layers, bound))
    layers = [_as_dense(layer) for layer in found[0].row.layers]
    first = _candidate(f"{quantize} dense", quantize, dense, layers, bound)
    kept = [first]
    for candidate in found:
        known = {other.content for other in kept}
        if candidate.content not in known and _smaller(
            candidate, first, target
        ):
            kept.append(candidate)
    return kept


def _as_dense(layer):
    if layer.form == "dense":
        return layer
    return dataclasses.replace(
        layer, form="dense", runs_sparse=False,
        reason="runs dense; the file as a whole was not better sparse",
    )


def _candidate(name, quantize, content, layers, bound):
    compressed = len(targets.gzipped(content))
    row = report.Row(
        name, quantize, len(content), compressed, bound, layers, []
    )
    return Candidate(content, row)


def _smaller(candidate, dense, target):
    if target == "size":
        return candidate.row.compressed < dense.row.compressed
    return candidate.row.nbytes < dense.row.nbytes


def choose(found, target, accuracy):
    """Returns the candidate that is written.

    `"size"` takes the smallest one compressed, `"flash"` and `"micro"` the
    smallest one, `"cpu"` and `"auto"` the fastest one measured (within 10 %
    of it, the smallest one), `"arm"` one with layers that run sparse there,
    if there is one, else the smallest. Between data types those that lose
    more than one point of accuracy against the Keras model are passed over.

    Args:
        found: List of `Candidate`.
        target: String, one of `targets.TARGETS`.
        accuracy: Float, the Keras model's, or `None`.

    Raises:
        check.VerificationError: If none passed its checks.
    """
    passed = [c for c in found if c.row.passed]
    if not passed:
        failures = [
            outcome for c in found for outcome in c.row.checks
            if not outcome.passed
        ]
        said = "\n".join(
            f"  {c.row.name}: {c.row.verdict}" for c in found
        )
        raise check.VerificationError(
            f"No file passed its checks; none was written.\n{said}", failures
        )
    accurate = [c for c in passed if not _loses(c.row, accuracy)]
    return _RULES[target](accurate or passed)


def _loses(row, accuracy):
    if accuracy is None or row.accuracy is None:
        return False
    loses = accuracy - row.accuracy > ACCURACY_DROP
    if loses:
        row.note = f"loses {100 * (accuracy - row.accuracy):.1f} points"
    return loses


def _compressed(found):
    return min(found, key=lambda c: c.row.compressed)


def _smallest(found):
    return min(found, key=lambda c: c.row.nbytes)


def _fastest(found):
    timed = [c for c in found if c.row.timing is not None]
    if not timed:
        # Not measured here: what the kernels are chosen for.
        return _sparsest(found)
    best = max(c.row.speedup for c in timed)
    return _compressed(
        [c for c in timed if c.row.speedup * _AS_FAST >= best]
    )


def _sparsest(found):
    sparse = [
        c for c in found if any(layer.runs_sparse for layer in c.row.layers)
    ]
    return _smallest(sparse or found)


_RULES = {
    "size": _compressed,
    "flash": _smallest,
    "micro": _smallest,
    "cpu": _fastest,
    "auto": _fastest,
    "arm": _sparsest,
}
