"""One table has all the names of a comparison."""

import pathlib

import pytest

import tf_lottery
from tf_lottery import callbacks
from tf_lottery import experiments
from tf_lottery.experiments import compared_tickets
from tf_lottery.experiments import dense_networks
from tf_lottery.experiments import plans
from tf_lottery.experiments import report
from tf_lottery.verdicts import comparisons

PACKAGE = pathlib.Path(tf_lottery.__file__).parent
TABLE = comparisons.COMPARISONS.values()


def test_names_are_unique():
    for name in ("key", "flag", "label"):
        assert len({getattr(each, name) for each in TABLE}) == len(TABLE)


@pytest.mark.parametrize("comparison", TABLE, ids=comparisons.FLAGS)
def test_every_comparison_can_be_asked_for(comparison):
    preset = experiments.preset(
        "lenet-digits", compare=(comparison.flag,), rounds=4, trials=1,
        control_trials=3, control_every=1,
    )
    *_, planned = plans.plan(preset)
    assert planned.what == comparison.flag
    assert planned.count == 4 * (3 if comparison.sampled else 1)
    own = comparison.key in {**compared_tickets.MAKERS, **dense_networks.MAKERS}
    assert own == (comparison.rewind is None)
    if not own:
        callbacks.IterativeMagnitudePruning(
            rounds=1, epochs_per_round=1, rewind=comparison.rewind
        )


def test_the_table_of_a_report_has_the_short_heads():
    preset = experiments.preset("lenet-digits", compare=("one-shot",))
    group = report.Report(preset, []).render()
    assert group.renderables[0].columns[-1].header == "one-\nshot"


def test_flags_are_spelled_once():
    """Except in presets that choose some, and where a flag is a plain word."""
    allowed = ("comparisons.py", "catalogue.py", "presets.py")
    spelled = [
        (path.name, each.flag)
        for path in PACKAGE.rglob("*.py") if path.name not in allowed
        for each in TABLE
        if each.flag != each.key and f'"{each.flag}"' in path.read_text("utf-8")
    ]
    assert spelled == []


def test_labels_of_other_series():
    assert comparisons.label("tickets") == "tickets"
    assert comparisons.label("my_control") == "my control"
