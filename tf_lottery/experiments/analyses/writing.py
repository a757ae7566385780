"""The files of a finding."""

import json

from tf_lottery import files
from tf_lottery.experiments import outputs
from tf_lottery.report import drawing


def write(finding, place, png=False):
    """Writes `KIND.csv`, `KIND.svg` and `KIND.json`, each atomically.

    Further charts are `KIND-NAME.svg`. The JSON file comes last: with it,
    the finding is whole.

    Args:
        finding: `tf_lottery.analysis.findings.Finding`.
        place: `pathlib.Path` of a directory.
        png: Boolean, whether to write the charts as PNG files as well.
            Defaults to `False`.

    Returns:
        List of `pathlib.Path`.
    """
    written = [place / f"{finding.kind}.csv"]
    outputs.write_csv(written[0], finding.rows)
    if drawing.available(f"Charts of {finding.title.lower()}"):
        written += _draw(finding, place, [".svg", ".png"] if png else [".svg"])
    written.append(place / f"{finding.kind}.json")
    files.write_text(
        written[-1], json.dumps(finding.to_dict(), indent=1) + "\n"
    )
    return written


def _draw(finding, place, suffixes):
    for name, chart in finding.charts.items():
        stem = f"{finding.kind}-{name}" if name else finding.kind
        for suffix in suffixes:
            path = place / f"{stem}{suffix}"
            drawing.save(chart, path)
            yield path
