"""Accuracy and early-stop step against density."""

import dataclasses

from tf_lottery.analysis import against_density
from tf_lottery.analysis import bands
from tf_lottery.analysis import claims
from tf_lottery.analysis import run_files
from tf_lottery.experiments.analyses import kind as kind_lib

_METRICS = {
    "test_accuracy": "",
    "early_stop_test_accuracy": "early-stop-test-accuracy",
    "early_stop_step": "early-stop-step",
}
_HEADS = {
    "test_accuracy": "test %",
    "early_stop_test_accuracy": "test % at early stop",
    "early_stop_step": "early-stop step",
}
_SUMMARY = (
    "What tickets and their controls reach: test accuracy at the end and at "
    "early stop, the step of the smallest validation loss. Means over "
    "trainings; in brackets, and as bands, the least and the greatest."
)


def find(session):
    """Returns the curves of a run."""
    run = _chosen(run_files.read(session.subject.path), session)
    found = against_density.of_runs([run])
    metrics = [m for m in _METRICS if m in found[against_density.TICKETS]]
    published = session.subject.published
    compared = claims.compare(published, found) if published else []
    return kind_lib.finding(
        session,
        KIND,
        _SUMMARY,
        [
            *({"series": against_density.TICKETS, **r} for r in run.rows),
            *({"series": row["control"], **row} for row in run.controls),
        ],
        _table(run, found, metrics),
        {_METRICS[m]: against_density.chart(found, m) for m in metrics},
        compared=[
            {
                key: value for key, value in dataclasses.asdict(claim).items()
                if key != "recollected"
            }
            for claim in compared
        ],
    )


def _chosen(run, session):
    """The run in the rounds chosen, and the dense one to compare with."""
    chosen = {number for _, number in session.items(session.subject.rounds)}
    chosen.add(0)
    return dataclasses.replace(
        run,
        rows=[row for row in run.rows if row["round"] in chosen],
        controls=[row for row in run.controls if row["round"] in chosen],
    )


def _table(run, found, metrics):
    columns = [_column(metric, metric) for metric in metrics]
    for name in found:
        if name != against_density.TICKETS:
            columns += [
                dataclasses.replace(
                    _column(metric, f"{name}/{metric}"),
                    name=f"{against_density.name_of(name)}: {_HEADS[metric]}",
                )
                for metric in ("test_accuracy", "early_stop_step")
                if metric in found[name]
            ]
    rows = run.rows + [
        {
            "round": row["round"],
            "density": row["density"],
            **{f"{row['control']}/{m}": row.get(m) for m in _METRICS},
        }
        for row in run.controls
    ]
    return bands.table(rows, columns)


def _column(metric, key):
    scale = against_density.scale_of(metric)
    form = "{:,.0f}" if scale == 1 else "{:.2f}"
    return bands.Column(_HEADS[metric], key, scale, form)


KIND = kind_lib.Kind(
    "accuracy",
    "Accuracy and early stop",
    find,
)
