"""Analysis of a run: measured, and written to files."""

import functools
import pathlib
from typing import Any

from tf_lottery import files
from tf_lottery.analysis import findings
from tf_lottery.experiments import outputs
from tf_lottery.experiments import progress as progress_lib
from tf_lottery.experiments.analyses import kind as kind_lib
from tf_lottery.experiments.analyses import options as options_lib
from tf_lottery.experiments.analyses import session as session_lib
from tf_lottery.experiments.analyses import subject as subject_lib
from tf_lottery.experiments.analyses import ticket_tasks
from tf_lottery.jobs import engines
from tf_lottery.report import drawing
from tf_lottery.utils import checks
from tf_lottery.utils import types


def analyze(
    kind: str,
    directory: types.Path,
    output_dir: types.Path | None = None,
    progress: session_lib.Progress | None = None,
    png: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    **options: Any,
) -> tuple[findings.Finding, list[pathlib.Path]]:
    """Analyses a run of `tf_lottery.experiments.run` and writes the finding.

    Model, data and protocol are those that the run recorded. Kinds that look
    at trained weights train tickets again, from the run's rewinding point
    and batch by batch as the run did: a run keeps the masks of every round,
    but not what they were trained to. These weights are kept, for all kinds;
    so is the measurement of each ticket as soon as it is finished, so that
    an analysis that was interrupted resumes where it was.

    Written are `KIND.csv` with every measurement, `KIND.svg`, further charts
    as `KIND-NAME.svg`, and `KIND.json`, which `tf_lottery.analysis.report`
    puts on the run's page.
    Without the extra `plot` a warning says that charts are left out.

    References: Frankle and Carbin 2019, https://arxiv.org/abs/1803.03635;
    Frankle et al. 2019, https://arxiv.org/abs/1903.01611; Frankle et al.
    2020, https://arxiv.org/abs/1912.05671.

    Args:
        kind: `"accuracy"`, `"stability"`, `"connectivity"`, `"movement"`,
            `"overlap"`, `"density"`, `"gap"`, `"robustness"` or
            `"capacity"`.
        directory: Path of the directory of the run, finished or not.
        output_dir: Path of the directory for results. Defaults to
            `analysis` in the run's directory.
        progress: `session.Progress` that is told what happens. Defaults to
            silence.
        png: Boolean, whether to write charts as PNG files as well. Defaults
            to `False`.
        jobs: Integer, the processes that train and measure side by side.
            Defaults to `None`: this process alone, or all workers of the
            scheduler.
        scheduler: String, the address of a Dask scheduler whose workers
            share both directories. Defaults to `None`, this machine.
        **options: See `options.Options`: `rounds`, `samples`, `epsilons`,
            `points`, `epochs`, `orders`, `masks`, `seed`, `budget`.

    Returns:
        Pair of the `tf_lottery.analysis.findings.Finding` and the list of
        paths that were written.

    Raises:
        FileNotFoundError: If it is not the directory of a run.
        ValueError: If an argument is invalid, a round is not there, or files
            are damaged.
        ImportError: If `png` is asked for and the extra `plot` is missing.
        RuntimeError: If another process is analysing the run.
        DatasetUnavailableError: If the data cannot be had.
        TasksFailedError: If a training or measurement failed three times in
            other processes; all others are done.
        ConnectionError: If the scheduler does not answer.

    Example:

    >>> import tempfile
    >>> from tf_lottery import experiments
    >>> preset = experiments.preset(
    ...     "lenet-digits", iterations=20, rounds=1, trials=1,
    ...     control_trials=0)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     _ = experiments.run(preset, directory)
    ...     found, paths = experiments.analyze("movement", directory)
    >>> [path.name for path in paths]
    ['movement.csv', 'movement.svg', 'movement-layers.svg', 'movement.json']
    """
    checks.choice("kind", kind, findings.KINDS)
    checks.path("directory", directory)
    checks.optional(checks.path, "output_dir", output_dir)
    checks.flag("png", png)
    engines.check(jobs, scheduler)
    checks.optional(
        checks.kind, "progress", progress, session_lib.Progress,
        "a `session.Progress`",
    )
    chosen = options_lib.Options(**options)
    if png:
        drawing.check_available()
    subject = subject_lib.Subject(directory)
    place = pathlib.Path(output_dir or subject.path / "analysis")
    progress = progress or session_lib.Progress()
    session = session_lib.Session(subject, chosen, place, progress)
    with outputs.locked(place), engines.opened(
        jobs, scheduler, place / "jobs", progress, progress_lib.Report
    ) as engine:
        session.do = functools.partial(ticket_tasks.do, engine)
        found = kind_lib.get(kind)(session).find()
        return found, _write(found, place, png)


def _write(finding, place, png):
    """Writes the files of a finding, each atomically; returns their paths."""
    written = [place / f"{finding.kind}.csv"]
    outputs.write_csv(written[0], finding.rows)
    if drawing.available(f"Charts of {finding.title.lower()}"):
        for name, chart in finding.charts.items():
            stem = f"{finding.kind}-{name}" if name else finding.kind
            for suffix in (".svg", ".png") if png else (".svg",):
                written.append(place / f"{stem}{suffix}")
                drawing.save(chart, written[-1])
    # With this one the finding is whole.
    written.append(place / f"{finding.kind}.json")
    files.write_json(written[-1], finding.to_dict())
    return written
