"""The report of a run: one page with its protocol, curves and numbers."""

import pathlib

from tf_lottery import files
from tf_lottery.analysis import caveats
from tf_lottery.analysis import charts
from tf_lottery.analysis import claims
from tf_lottery.analysis import findings
from tf_lottery.analysis import against_density as curves_lib
from tf_lottery.analysis import page
from tf_lottery.analysis import plots
from tf_lottery.analysis import published as published_lib
from tf_lottery.analysis import run_files
from tf_lottery.analysis import sections
from tf_lottery.analysis import svg
from tf_lottery.analysis import tables

_CHARTS = (
    "test_accuracy", "early_stop_step", "early_stop_test_accuracy",
    "val_accuracy",
)
_SHOWN = 3
_LEGEND = (
    "Lines are means over trials, bands reach from the least to the greatest "
    "value; the dashed line is the dense network. Early stop: the step of the "
    "smallest validation loss. Density falls from left to right, on a "
    "logarithmic axis."
)


def report(directory, out=None, png=False):
    """Writes the report of a run as one self-contained HTML page.

    It has the run's protocol and versions, the curves of accuracy and
    early-stop step against density with bands over trials and the controls,
    every number in a table, the paper's number beside ours where there is
    one, the density of each layer, what `tf-lottery analyze` has found, and
    what speaks against the numbers. The page loads nothing from elsewhere.

    Args:
        directory: Path of the directory of `tf-lottery run`, or of
            `IterativeMagnitudePruning(directory=...)`; finished or not.
        out: Path of the page. Defaults to `report.html` in the directory.
        png: Boolean, whether to write the charts as PNG files beside the
            page, too; needs matplotlib. Defaults to `False`.

    Returns:
        `pathlib.Path` of the page.

    Raises:
        FileNotFoundError: If the directory holds no results.
        ValueError: If its files are damaged or hold no round yet.
        ImportError: If `png` is asked for and matplotlib is missing.

    Example:

    >>> import tempfile
    >>> import tf_lottery.run_directory, tf_lottery.results
    >>> with tempfile.TemporaryDirectory() as path:
    ...     directory = tf_lottery.run_directory.RunDirectory(path)
    ...     directory.open({"rounds": 1})
    ...     directory.save_results([tf_lottery.results.RoundResult(
    ...         0, 1.0, {"fc/kernel": 1.0}, {"accuracy": 0.75}, 8, None, 0.1)])
    ...     written = report(path)
    ...     text = written.read_text()
    ...     directory.close()
    >>> written.name, "75.0" in text
    ('report.html', True)
    """
    run = run_files.read(directory)
    if not run.rows:
        raise ValueError(
            f"Directory '{run.path}' holds no finished round yet."
        )
    if png:
        plots.check_available()
    out = pathlib.Path(out or run.path / "report.html")
    drawn = run_charts(run)
    files.write_text(out, render(run, drawn))
    if png:
        for name, chart in drawn.items():
            plots.save(chart, out.with_name(f"{out.stem}-{name}.png"))
    return out


def run_charts(run):
    """Returns the charts of a run as a dict from name to `charts.Chart`.

    Args:
        run: `run_files.Run`.
    """
    found = curves_lib.of_runs([run])
    metrics = found[curves_lib.TICKETS]
    chosen = [name for name in _CHARTS if name in metrics]
    chosen += [
        name for name in metrics
        if name.endswith("accuracy") and name not in chosen
    ]
    drawn = {
        name: curves_lib.chart(found, name) for name in chosen[:_SHOWN]
    }
    layers = tables.mean_layers(run)
    if layers:
        drawn["layer_density"] = _layer_chart(metrics, layers)
    return drawn


def render(run, drawn):
    """Returns the page of a run as text.

    Args:
        run: `run_files.Run`.
        drawn: Dict of `charts.Chart`, see `run_charts`.
    """
    found = curves_lib.of_runs([run])
    published = published_lib.PUBLISHED.get(run.config.get("name"), {})
    return page.document(
        run.name,
        [
            page.title(run.name, run.config.get("summary", ""), _about(run)),
            page.tiles(tables.highlights(run, found)),
            *(page.text(line) for line in run.verdict.splitlines()),
            page.caveats(caveats.of_run(run, found, published)),
            page.section(
                "Against density",
                page.figures([svg.lines(chart) for chart in drawn.values()]),
                page.text(_LEGEND, "soft"),
            ),
            *_paper(published, found),
            page.section("Tickets", tables.tickets(run, found)),
            page.section("Controls", tables.controls(run, found))
            if run.controls else "",
            page.section("Density of each layer", tables.layers(run)),
            *sections.of_findings(findings.read(run.path / "analysis")),
            page.section(
                "Every training",
                page.details("tickets", tables.plain(run.rows)),
                page.details("controls", tables.plain(run.controls))
                if run.controls else "",
            ),
            page.section("Protocol and versions", tables.protocol(run)),
        ],
    )


def _about(run):
    number = len(run.trials)
    return (
        f"{number} trial{'s' if number > 1 else ''}, "
        f"{max(row['round'] for row in run.rows)} rounds of pruning"
    )


def _paper(published, found):
    compared = claims.compare(published, found) if published else []
    if not compared:
        return []
    return [page.section("The paper's numbers beside ours",
                         tables.claims(compared))]


def _layer_chart(metrics, layers):
    longest = max(metrics.values(), key=lambda curve: len(curve.rounds))
    densities = [100 * density for density in longest.densities]
    return charts.Chart(
        "Density of each layer",
        "density (%)",
        "density of the layer (%)",
        [
            charts.Series(
                key, densities[:len(values)], [100 * v for v in values]
            )
            for key, values in layers.items()
        ],
        log_x=True,
        falling_x=True,
    )
