"""The report of a run: one page with its protocol, curves and numbers."""

import pathlib

from tf_lottery.analysis import caveats
from tf_lottery.analysis import claims
from tf_lottery.analysis import findings
from tf_lottery.analysis import published as published_lib
from tf_lottery.analysis import run_files
from tf_lottery.analysis import tables
from tf_lottery.analysis.curves import TICKETS
from tf_lottery.analysis.curves import chart
from tf_lottery.analysis.curves import of_runs
from tf_lottery.report import charts
from tf_lottery.report import pages
from tf_lottery.report import tables as tables_lib
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.verdicts import words

_CHARTS = (
    "test_accuracy", "early_stop_step", "early_stop_test_accuracy",
    "val_accuracy",
)
_SHOWN = 3


@docs.filled
def report(
    directory: types.Path, out: types.Path | None = None, png: bool = False
) -> pathlib.Path:
    """Writes the report of a run as one self-contained HTML page.

    It has the run's protocol and versions, the curves of accuracy and
    early-stop step against density with bands over trials and the controls,
    every number in a table, the paper's number next to ours where there is
    one, the density of each layer, what `tf-lottery analyze` has found, and
    what speaks against the numbers. The page loads nothing from elsewhere.

    Args:
        directory: Path of the directory of `tf-lottery run`, or of
            `IterativeMagnitudePruning(directory=...)`; finished or not.
        out: Path of the page. Defaults to `report.html` in the directory.
        png: Boolean, whether to write the charts as PNG files next to the
            page as well. Defaults to `False`.

    Returns:
        `pathlib.Path` of the page.

    Raises:
        FileNotFoundError: If the directory holds no results.
        ValueError: If its files are damaged or hold no round yet.
        ImportError: If the extra `plot` is not installed.

    Example:

    {{run}}
    ...     written = report(path)
    ...     text = written.read_text()
    ...     directory.close()
    >>> written.name, "75.0" in text
    ('report.html', True)
    """
    checks.optional(checks.path, "out", out)
    checks.flag("png", png)
    run = run_files.read(directory)
    run_files.check_begun(run)
    out = pathlib.Path(out or run.path / "report.html")
    found, drawn = of_runs([run]), _charts(run)
    return pages.save(
        out, "run.html", drawn if png else {},
        run=run,
        about=(
            f"{len(run.trials)} trial{'s' * (len(run.trials) > 1)}, "
            f"{max(run.ends.values())} rounds of pruning"
        ),
        highlights=tables.highlights(run, found),
        verdict=words.text(run.judgement),
        caveats=caveats.of_run(run),
        charts=drawn.values(),
        tables=_tables(run, found),
        findings=findings.read(run.path / "analysis"),
        trainings={
            name: tables_lib.of_records(rows)
            for name, rows in (
                ("tickets", run.rows), ("controls", run.controls)
            ) if rows
        },
        protocol=tables.protocol(run),
    )


def _charts(run):
    metrics = of_runs([run])[TICKETS]
    chosen = [name for name in _CHARTS if name in metrics]
    chosen += [
        name for name in metrics
        if name.endswith("accuracy") and name not in chosen
    ]
    drawn = {name: chart([run], name) for name in chosen[:_SHOWN]}
    layers = tables.mean_layers(run)
    if layers:
        drawn["layer_density"] = _layer_chart(metrics, layers)
    return drawn


def _tables(run, found):
    published, shown = published_lib.of(run.config), {}
    if published:
        shown["The paper's numbers next to ours"] = tables_lib.claims(
            claims.compare(published, found)
        )
    shown["Verdicts"] = tables.verdicts(run)
    shown["Tickets"] = tables.tickets(run, found)
    if run.controls:
        shown["Controls"] = tables.controls(run, found)
    shown["Density of each layer"] = tables.layers(run)
    return shown


def _layer_chart(metrics, layers):
    longest = max(metrics.values(), key=lambda curve: len(curve.rounds))
    return charts.lines(
        "Density of each layer",
        "density (%)",
        "density of the layer (%)",
        [
            {"series": key, "x": 100 * density, "y": 100 * value}
            for key, values in layers.items()
            for density, value in zip(longest.densities, values)
        ],
        "density",
    )
