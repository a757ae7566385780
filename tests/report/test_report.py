"""Charts, drawings and pages, whatever they are of."""

import json
import re
import sys
import xml.etree.ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.page_reader import Page
from tf_lottery import analysis
from tf_lottery.report import charts
from tf_lottery.report import drawing
from tf_lottery.report import pages
from tf_lottery.report import tables

SVG = "{http://www.w3.org/2000/svg}"


def record(series, x, y, trial="0"):
    return {"series": series, "trial": trial, "x": x, "y": y}


RECORDS = [
    record("one & two", x, y + shift, trial)
    for trial, shift in (("0", 0.0), ("1", 1.0))
    for x, y in ((100.0, 1.0), (50.0, 3.0), (25.0, 2.0))
]
CHART = charts.lines(
    "A <title>", "density (%)", "y", RECORDS, "density", ("dense", 2.5)
)


def marks(chart):
    return [layer["mark"]["type"] for layer in chart["layer"]]


def drawn(chart):
    return xml.etree.ElementTree.fromstring(drawing.svg(chart))


def described(root, kind):
    """What Vega says of the marks of a kind, for readers of screens."""
    return [
        found.get("aria-label") for found in root.iter(f"{SVG}path")
        if found.get("aria-roledescription") == kind
    ]


# Specifications.


def test_lines_of_trials():
    assert marks(CHART) == ["area", "line", "line", "point", "rule"]
    assert CHART["data"]["values"] == RECORDS
    area, trials, mean, points, rule = CHART["layer"]
    assert area["encoding"]["y"] == {"aggregate": "min", "field": "y"}
    assert area["encoding"]["y2"] == {"aggregate": "max", "field": "y"}
    assert trials["encoding"]["detail"] == {"field": "trial"}
    assert trials["mark"]["strokeWidth"] < mean["mark"]["strokeWidth"]
    assert mean["encoding"]["y"] == {"aggregate": "mean", "field": "y"}
    assert [each["title"] for each in points["encoding"]["tooltip"][1:]] == [
        "density (%)", "y", "least", "greatest",
    ]
    assert rule["data"]["values"] == [{"series": "dense", "y": 2.5}]


def test_one_record_of_a_place_has_no_band():
    assert marks(charts.lines("t", "x", "y", RECORDS[:3])) == ["line", "point"]


def test_densities_fall_and_are_named():
    axis = CHART["encoding"]["x"]
    assert axis["scale"]["type"] == "log" and axis["scale"]["reverse"]
    assert axis["axis"]["values"] == [100.0, 50.0, 25.0]


@given(st.lists(
    st.text(min_size=1), min_size=1, max_size=20, unique=True
))
def test_series_are_told_apart_in_the_order_in_which_they_come(names):
    chart = charts.lines(
        "t", "x", "y", [record(name, 1.0, 1.0) for name in names],
        reference=("a reference", 1.0),
    )
    line, point = chart["layer"][:2]
    channels = [
        chart["encoding"]["color"], line["encoding"]["strokeDash"],
        point["encoding"]["shape"],
    ]
    for channel in channels:
        assert channel["scale"]["domain"] == [*names, "a reference"]
        styles = channel["scale"]["range"]
        assert len(styles) == len(names) + 1
        first = [json.dumps(style) for style in styles[:min(7, len(names))]]
        assert len(set(first)) == len(first)
    together = list(zip(*(c["scale"]["range"] for c in channels)))
    assert len({json.dumps(style) for style in together}) == len(names) + 1


def test_matrix():
    chart = charts.matrix("m", ["a", "b"], [[1.0, 0.25], [0.5, 1.0]])
    assert marks(chart) == ["rect", "text"]
    assert chart["data"]["values"][1] == {
        "row": "a", "column": "b", "value": 0.25,
    }


def test_a_line_to_compare_with_has_a_height_or_a_course():
    chart = charts.lines(
        "t", "x", "y", [record(name, 1.0, 1.0) for name in ("dense", "one")],
        reference=("dense", None),
    )
    assert marks(chart) == ["line", "point"]
    scale = chart["encoding"]["color"]["scale"]
    assert scale["domain"] == ["one", "dense"]


def test_a_menu_shows_the_records_of_one_choice():
    records = [
        record("one", 1.0, y) | {"choice": choice}
        for choice, y in (("a", 1.0), ("b", 2.0))
    ] + [record("always", 1.0, 3.0)]
    chart = charts.lines(
        "t", "x", "y", records, choice=("which ", ["a", "b"], "b")
    )
    (menu,) = chart["params"]
    assert menu["bind"] == {
        "input": "select", "options": ["a", "b"], "name": "which "
    }
    points = described(drawn(chart), "point")
    assert len(points) == 2 and "y: 2" in points[0] and "y: 3" in points[1]


def test_what_is_singled_out_stays_and_the_rest_fades():
    for layer in CHART["layer"]:
        opacity = layer["encoding"]["opacity"]
        assert opacity["condition"]["param"] == "shown"
        assert opacity["value"] < opacity["condition"]["value"]
    (param,) = CHART["layer"][0]["params"]
    assert param["bind"] == "legend" and param["name"] == "shown"


def test_points_that_crowd_are_not_to_be_seen():
    chart = charts.lines(
        "t", "x", "y", [record("one", float(x), 1.0) for x in range(50)]
    )
    *_, point = chart["layer"]
    assert point["encoding"]["opacity"]["condition"]["value"] == 0
    assert point["mark"]["size"] > CHART["layer"][3]["mark"]["size"]


# Drawings.


def test_a_drawing_shows_the_values():
    root = drawn(CHART)
    labels = described(root, "point")
    # Means, and the small points of the trials.
    means = [label for label in labels if "least" in label]
    assert len(means) == 3 and len(labels) == 9
    assert "y: 3.5" in means[1] and "least: 3" in means[1]
    assert "greatest: 4" in means[1]
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert {"A <title>", "one & two", "dense", "25", "50"} <= set(words)


def test_identical_lines_are_both_visible():
    chart = charts.lines("t", "x", "y", [
        record(name, x, 1.0) for name in ("one", "two") for x in (1.0, 2.0)
    ])
    lines = [
        found for found in drawn(chart).iter(f"{SVG}path")
        if found.get("aria-roledescription") == "line mark"
    ]
    assert len({line.get("d") for line in lines}) == 1
    assert len({line.get("stroke") for line in lines}) == 2
    # The later one has gaps.
    first, second = (line.get("stroke-dasharray") for line in lines)
    assert first in (None, "1,0") and second == "7,5"


@pytest.mark.parametrize("scale", ("linear", "log", "density"))
@pytest.mark.parametrize(
    "records",
    [[], [record("one", 1.0, 5.0)],
     [record("flat", 1.0, 0.0), record("flat", 2.0, 0.0)]],
)
def test_charts_of_little(records, scale):
    chart = charts.lines("t", "x", "y", records, scale)
    assert drawing.png(chart, 50).startswith(b"\x89PNG")


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 9))
def test_a_long_legend_stays_inside(number):
    names = [f"a long name of a layer {i}/kernel" for i in range(number)]
    root = drawn(charts.lines(
        "t", "x", "y", [record(name, 1.0, 1.0) for name in names]
    ))
    assert float(root.get("width")) < 700


@pytest.mark.parametrize("suffix", (".png", ".svg"))
def test_save_plot(suffix, tmp_path):
    path = tmp_path / f"chart{suffix}"
    analysis.save_plot(CHART, path)
    assert path.stat().st_size > 5000
    overlap = analysis.mask_overlap([{"w": np.array([True, False])}] * 2)
    analysis.save_plot(overlap, path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_save_plot_refuses(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="must be a Vega-Lite specification"):
        analysis.save_plot(3, tmp_path / "no.png")
    with pytest.raises(ValueError, match="no.gif"):
        analysis.save_plot(CHART, tmp_path / "no.gif")
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ImportError, match=r"pip install tf_lottery\[plot\]"):
        analysis.save_plot(CHART, tmp_path / "no.png")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_fetched_for_a_drawing():
    chart = {**CHART, "data": {"url": "https://example.com/data.json"}}
    with pytest.raises(ValueError):
        drawing.svg(chart)


# Pages.


@pytest.fixture(scope="module")
def text():
    return pages.render(
        "search.html", search={"objective": "</script>", "tuner": "T"},
        done=1, failed=0, charts=[CHART, charts.bars("<b>", [])],
        tables={"A & B": tables.Table(
            ["name", "number"],
            [["<i>", "1"], [tables.Link("arXiv", "https://arxiv.org"), "2"]],
            marked=(1,),
        )},
    )


def test_a_page_is_whole(text):
    page = Page(text)
    assert page.charts == [CHART, charts.bars("<b>", [])]
    assert page.loaded == [] and page.links == ["https://arxiv.org"]
    assert page.policy.startswith("default-src 'none'")
    assert "connect-src" not in page.policy and "eval" not in page.policy
    words = " ".join(page.words)
    for word in ("</script>", "A & B", "<i>", "<b>", "A <title>"):
        assert word in words
    # Outside of the script of Vega there is no address but the links.
    rest = text.replace(drawing.script(), "")
    assert re.findall(r"https?:", rest) == ["https:"]


def test_a_page_is_small_and_has_one_script(text):
    assert text.count(drawing.script()) == 1
    assert len(text.encode()) < 1_500_000


def test_a_page_is_light_and_dark_and_fits_a_phone(text):
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    # Text of charts has the colour of the page.
    colors = [
        value for part in drawing.CONFIG.values() if isinstance(part, dict)
        for name, value in part.items() if name.lower().endswith("color")
    ]
    assert len(colors) > 5 and set(colors) == {"currentColor"}
