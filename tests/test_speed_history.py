"""What the benchmarks recorded, and what they say of tools that are absent."""

import pytest

from tests.benchmarks import history
from tests.benchmarks import peers


def found(ratio, unit="x"):
    row = {"what": "held / dense", "reached": ratio, "unit": unit}
    return {"quick": {"title": "", "rows": [row]}}


def line(ratio, quick=True):
    return {"quick": quick, "ratios": {"quick: held / dense": ratio}}


@pytest.mark.parametrize(("ratio", "slower"), [(1.31, True), (1.29, False)])
def test_only_what_is_clearly_slower_is_told_of(ratio, slower):
    problems = history.worse(found(ratio), [line(9.0), line(1.0)], True)
    assert bool(problems) == slower
    assert all("held / dense is 1.31, recorded: 1" in p for p in problems)


def test_what_has_no_ratio_on_record_is_not_compared():
    assert not history.worse(found(9.0), [line(1.0, quick=False)], True)
    assert not history.worse(found(9.0, unit="s"), [line(1.0)], True)
    assert not history.worse(found("skipped"), [line(1.0)], True)
    assert not history.worse(found(9.0), [], True)


def test_the_page_is_made_of_what_was_recorded():
    lines = history.read()
    assert lines
    assert history.page(lines) == history._PAGE.read_text()


def test_a_run_is_recorded_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "FILE", tmp_path / "speed.jsonl")
    monkeypatch.setattr(history, "_PAGE", tmp_path / "speed.md")
    history.record(found(1.03), True)
    history.record(found(1.04), True)
    first, second = history.read()
    assert first["ratios"] == line(1.03)["ratios"]
    assert second["ratios"] == line(1.04)["ratios"]
    page = history._PAGE.read_text()
    assert "| quick: held / dense | 1.04 | 1.03 |" in page


def test_a_peer_that_is_absent_is_a_sentence(tmp_path):
    reason = peers.why_not("pquant", tmp_path / "python")
    assert reason.startswith("not installed: there is no")
    assert reason.endswith("python -m tests.benchmarks.peers pquant`.")
