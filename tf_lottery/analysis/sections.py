"""The findings of a run's analyses as sections of its page."""

from tf_lottery.analysis import drawings
from tf_lottery.analysis import page


def of_findings(found):
    """Returns a section of HTML for each finding.

    Args:
        found: List of `findings.Finding`.

    Returns:
        List of strings.
    """
    return [_section(finding) for finding in found]


def _section(finding):
    parts = [
        page.text(finding.summary, "soft"),
        page.figures(map(drawings.element, finding.charts.values())),
        page.table(finding.heads, finding.cells, ()),
    ]
    if finding.compared:
        parts.append(_compared(finding.compared))
    parts += [page.text(note, "soft") for note in finding.notes]
    return page.section(finding.title, *parts)


def _compared(compared):
    rows = [
        [
            each["what"], f"{100 * each['density']:.1f}", each["paper"],
            each["ours"],
            page.link(each["source"], each["source"].rpartition("/")[2]),
        ]
        for each in compared
    ]
    heads = ["what", "density %", "paper", "ours", "arXiv"]
    return page.table(heads, rows, (0, 4))
