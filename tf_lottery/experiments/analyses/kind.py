"""Kinds of analyses, and how a finding is put together."""

import dataclasses
from collections.abc import Callable

from tf_lottery.analysis import caveats
from tf_lottery.analysis import findings
from tf_lottery.analysis import run_files


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of analysis.

    Attributes:
        name: String, one of `findings.KINDS`.
        title: String.
        find: Function of a `session.Session` that returns a
            `findings.Finding`.
    """

    name: str
    title: str
    find: Callable


def finding(session, kind, summary, rows, table, drawn, **more):
    """Makes a `findings.Finding`, with the caveats of its run.

    Args:
        session: `session.Session`.
        kind: `Kind`.
        summary: String, what was measured and how.
        rows: List of flat dicts.
        table: Pair of heads and cells.
        drawn: Dict of charts.
        **more: `compared`, `notes` and `settings`.
    """
    notes = [*more.pop("notes", ()), *protocol_notes(session)]
    if session.left_out:
        notes.append(
            f"Rounds {', '.join(map(str, session.left_out))} are left out: "
            f"the budget of {session.options.budget} has no time for them."
        )
    return findings.Finding(
        kind.name, kind.title, summary, rows, *table, drawn,
        notes=[note for note in notes if note], **more,
    )


def protocol_notes(session):
    """Returns the caveats about number of trials and protocol."""
    subject = session.subject
    rows = [
        {"trial": trial, "round": result.round, "density": result.density}
        for trial, found in subject.results.items() for result in found
    ]
    run = run_files.Run(
        subject.path, subject.preset.to_config(), rows, [], {}, {}, {}
    )
    return caveats.of_protocol(run, subject.published)
