"""The files that are tried for a target, and which of them is taken."""

import dataclasses

from tf_lottery.export import check
from tf_lottery.export import entropy
from tf_lottery.export import report


@dataclasses.dataclass(eq=False)
class Candidate:
    """A file that may be written, and its `report.Row`."""

    content: bytes
    row: report.Row


def make(dense, quantize, target, encode=True):
    """Returns the dense `Candidate` of a data type, and sparse ones after it.

    A sparse one is there only if it is smaller, by what the target counts,
    and different.
    """
    bound = entropy.bound(dense)
    found = [
        _candidate(f"{quantize} {stored}", quantize, content, layers, bound)
        for stored, content, layers in target.encode(dense, quantize)
    ]
    layers = [
        layer if layer.form == "dense" else dataclasses.replace(
            layer, form="dense", runs_sparse=False,
            reason="runs dense; the file as a whole is stored dense",
        )
        for layer in found[0].row.layers
    ]
    first = _candidate(f"{quantize} dense", quantize, dense, layers, bound)
    kept = [first]
    for candidate in found if encode else ():
        known = {other.content for other in kept}
        smaller = target.size(candidate.row) < target.size(first.row)
        if candidate.content not in known and smaller:
            kept.append(candidate)
    return kept


def _candidate(name, quantize, content, layers, bound):
    compressed = len(entropy.gzipped(content))
    row = report.Row(
        name, quantize, len(content), compressed, bound, layers, []
    )
    return Candidate(content, row)


def choose(found, target, metric, reference):
    """Returns the candidate that is written.

    The target chooses. Between data types those that lose too much against
    the Keras model, see `metrics.Metric.loss`, are passed over.

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
    for c in passed:
        # What passed in float32 differs by rounding.
        if c.row.quantize != "float32" and reference is not None:
            c.row.note = metric.loss(c.row.metric, reference)
    return target.choose([c for c in passed if not c.row.note] or passed)
