"""Comparing runs: one page with all of them next to one another."""

import pathlib
import re

from tf_lottery.analysis import caveats
from tf_lottery.analysis import run_files
from tf_lottery.analysis import tables
from tf_lottery.experiments import measurements
from tf_lottery.experiments import panels
from tf_lottery.report import pages
from tf_lottery.report.tables import Table
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.verdicts import words


@docs.filled
def compare(
    *directories: types.Path,
    out: types.Path = "compare.html",
    png: bool = False,
) -> pathlib.Path:
    """Writes one self-contained HTML page with several runs, or one.

    Accuracy against density, on a logarithmic or a linear axis, of the
    tickets of all runs together and of each run with its controls, learning
    curves at a density that is chosen there, verdicts, and in what the runs
    differ. Every training is a thin line, bands are 90 % intervals over
    trials (of two their range), and names in a legend single out their
    lines. The page loads nothing from elsewhere. A run that is named twice,
    or was copied, counts once.

    Args:
        *directories: Paths of the directories of `tf-lottery run`, or of
            `IterativeMagnitudePruning(directory=...)`, finished or not.
        out: Path of the page. Defaults to `"compare.html"`.
        png: Boolean, whether to write the charts as PNG files next to the
            page as well. Defaults to `False`.

    Returns:
        `pathlib.Path` of the page.

    Raises:
        FileNotFoundError: If a directory holds no results.
        ValueError: If files are damaged, a run has no finished round yet, or
            no directory is given.
        ImportError: If the extra `plot` is not installed.

    Example:

    >>> import os
    {{run}}
    ...     page = tfl.experiments.compare(
    ...         path, out=os.path.join(path, "page.html"))
    ...     directory.close()
    >>> page.name
    'page.html'
    """
    checks.path("out", out)
    checks.flag("png", png)
    runs = measurements.load(directories)
    for run in runs.values():
        run_files.check_begun(run)
    out, sections = pathlib.Path(out), panels.sections(runs)
    drawn = {
        re.sub(r"[^a-z0-9]+", "-", chart["title"].lower()).strip("-"): chart
        for found in sections.values() for chart in found
    }
    return pages.save(
        out, "compare.html", drawn if png else {},
        title=f"{len(runs)} runs" if len(runs) > 1 else next(iter(runs)),
        runs=_runs(runs),
        sections=sections,
        differences=_differences(runs) if len(runs) > 1 else None,
        verdicts=[
            (name, words.text(run.judgement), caveats.of_run(run))
            for name, run in runs.items()
        ],
    )


def _runs(runs):
    return Table(
        ["run", "preset", "trials", "rounds"],
        [
            [
                name, run.config.get("name", tables.DASH),
                str(len(run.trials)), str(max(run.ends.values())),
            ]
            for name, run in runs.items()
        ],
        (0, 1),
    )


def _differences(runs):
    """The settings and versions in which not all runs are alike."""
    protocols = [dict(tables.protocol(run).rows) for run in runs.values()]
    names = dict.fromkeys(name for found in protocols for name in found)
    rows = [
        [name, *(found.get(name, tables.DASH) for found in protocols)]
        for name in names
        if len({found.get(name, tables.DASH) for found in protocols}) > 1
    ]
    return Table(["", *runs], rows, tuple(range(len(runs) + 1)))
