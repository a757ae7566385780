"""Accuracy and early-stop step against density."""

import dataclasses

from tf_lottery import comparisons
from tf_lottery.analysis import bands
from tf_lottery.analysis import claims
from tf_lottery.analysis import run_files
from tf_lottery.analysis.curves import TICKETS
from tf_lottery.analysis.curves import by_control
from tf_lottery.analysis.curves import chart
from tf_lottery.analysis.curves import column
from tf_lottery.analysis.curves import measured
from tf_lottery.analysis.curves import of_runs
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
    found = of_runs([run])
    metrics = [m for m in _METRICS if m in found[TICKETS]]
    published = session.subject.published
    compared = claims.compare(published, found) if published else []
    return kind_lib.finding(
        session,
        KIND,
        _SUMMARY,
        [
            *({"series": TICKETS, **r} for r in run.rows),
            *({"series": row["control"], **row} for row in run.controls),
        ],
        _table(run, found, metrics),
        {_METRICS[m]: chart([run], m) for m in metrics},
        compared=[dataclasses.asdict(claim) for claim in compared],
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
    columns = [column(metric, _HEADS[metric]) for metric in metrics]
    columns += [
        column(metric, f"{comparisons.label(name)}: {_HEADS[metric]}", name)
        for name in found if name != TICKETS
        for metric in ("test_accuracy", "early_stop_step")
        if metric in found[name]
    ]
    rows = measured(run.rows) + by_control(measured(run.controls))
    return bands.table(rows, columns)


KIND = kind_lib.Kind(
    "accuracy",
    "Accuracy and early stop",
    find,
)
