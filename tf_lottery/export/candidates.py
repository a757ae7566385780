"""The files that are tried for a target, and which of them is taken."""

import dataclasses

from tf_lottery.export import check
from tf_lottery.export import entropy
from tf_lottery.export import report

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
        target: `targets.Target`.

    Returns:
        List of `Candidate`, the dense one first. A sparse one is there only
        if it is smaller, by what the target counts, and different.
    """
    bound = entropy.bound(dense)
    found = [
        _candidate(f"{quantize} {stored}", quantize, content, layers, bound)
        for stored, content, layers in target.encode(dense, quantize)
    ]
    layers = [_as_dense(layer) for layer in found[0].row.layers]
    first = _candidate(f"{quantize} dense", quantize, dense, layers, bound)
    kept = [first]
    for candidate in found:
        known = {other.content for other in kept}
        smaller = target.size(candidate.row) < target.size(first.row)
        if candidate.content not in known and smaller:
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
    compressed = len(entropy.gzipped(content))
    row = report.Row(
        name, quantize, len(content), compressed, bound, layers, []
    )
    return Candidate(content, row)


def choose(found, target, accuracy):
    """Returns the candidate that is written.

    The target chooses. Between data types those that lose more than one
    point of accuracy against the Keras model are passed over.

    Args:
        found: List of `Candidate`.
        target: `targets.Target`.
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
    accurate = [c for c in passed if not _note_loss(c.row, accuracy)]
    return target.choose(accurate or passed)


def _note_loss(row, accuracy):
    """Returns whether a row loses too much, which its note then says."""
    if accuracy is None or row.accuracy is None:
        return False
    loses = accuracy - row.accuracy > ACCURACY_DROP
    if loses:
        row.note = f"loses {100 * (accuracy - row.accuracy):.1f} points"
    return loses
