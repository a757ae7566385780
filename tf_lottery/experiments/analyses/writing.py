"""The files of a finding."""

import contextlib
import json

from tf_lottery import files
from tf_lottery import locks
from tf_lottery.analysis import drawings
from tf_lottery.analysis import plots
from tf_lottery.experiments import outputs


@contextlib.contextmanager
def locked(place):
    """Makes a directory that no other analysis uses at the same time.

    Args:
        place: `pathlib.Path`. If nothing is written to it, it goes again.

    Raises:
        RuntimeError: If another process is writing to it.
        OSError: If it cannot be written.
    """
    lock = locks.Lock(place / "lock")
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise OSError(
            error.errno,
            f"Output directory '{place}' cannot be written: {error.strerror}",
        ) from error
    try:
        yield
    finally:
        lock.release()
        if list(place.iterdir()) == [lock.path]:
            lock.path.unlink()
            place.rmdir()


def write(finding, place, png=False):
    """Writes `KIND.csv`, `KIND.svg` and `KIND.json`, each atomically.

    Further charts are `KIND-NAME.svg`. The JSON file comes last: with it,
    the finding is whole.

    Args:
        finding: `tf_lottery.analysis.findings.Finding`.
        place: `pathlib.Path` of a directory.
        png: Boolean, whether to write the charts as PNG files, too; needs
            matplotlib. Defaults to `False`.

    Returns:
        List of `pathlib.Path`.
    """
    written = [place / f"{finding.kind}.csv"]
    outputs.write_csv(written[0], finding.rows)
    for name, chart in finding.charts.items():
        stem = f"{finding.kind}-{name}" if name else finding.kind
        written.append(place / f"{stem}.svg")
        files.write_text(written[-1], drawings.document(chart))
        if png:
            written.append(place / f"{stem}.png")
            _write_png(chart, written[-1])
    written.append(place / f"{finding.kind}.json")
    files.write_text(
        written[-1], json.dumps(finding.to_dict(), indent=1) + "\n"
    )
    return written


def _write_png(chart, path):
    with files.replacing(path) as temporary:
        plots.save(chart, temporary)
