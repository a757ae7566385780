"""Charts: Vega-Lite specifications made of tidy records.

A chart is a dict of plain values, https://vega.github.io/vega-lite, with its
data inside. `drawing` makes a picture of it and `pages` an interactive figure;
size, fonts and the colours of the text are theirs.
"""

# How series are told apart, each value once and then again from the first.
# Colours are Okabe and Ito's, which do not depend on seeing red and green; of
# lines that lie on each other, the gaps of the later ones show the first.
_STYLES = {
    "color": (
        "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
        "#8b6bb1",
    ),
    "strokeDash": (
        [1, 0], [7, 5], [2, 4], [9, 3, 2, 3], [4, 3], [12, 6], [1, 2],
    ),
    "shape": (
        "circle", "square", "diamond", "triangle-up", "triangle-down",
        "cross", "triangle-right",
    ),
}
_REFERENCE = {"color": "#8a8f98", "strokeDash": [5, 4], "shape": "stroke"}
_NUMBER = ",.6~r"


def lines(title, x, y, records, scale="linear", reference=None):
    """Describes lines: a mean for each series and place.

    Where there are several records of a place, such as trials, the band
    reaches from the least to the greatest value, and every trial is a thin
    line.

    Args:
        title: String.
        x: String, the title of the x axis.
        y: String, the title of the y axis.
        records: List of dicts with `"series"` (string), `"x"` and `"y"`
            (floats), and `"trial"` (string) where a place has several. Series
            are drawn in the order in which they come.
        scale: String, of the x axis: `"linear"`, `"log"`, or `"density"`,
            which is logarithmic, falls from left to right as in the papers,
            and is named at the records. Defaults to `"linear"`.
        reference: Pair of a string and a float, the name and height of a
            horizontal line to compare with. Defaults to `None`.

    Returns:
        Dict, a Vega-Lite specification.

    Example:

    >>> chart = lines("Error", "step", "error (%)", [
    ...     {"series": "tickets", "trial": "0", "x": 1, "y": 3.0},
    ...     {"series": "tickets", "trial": "1", "x": 1, "y": 5.0}])
    >>> [layer["mark"]["type"] for layer in chart["layer"]]
    ['area', 'line', 'line', 'point']
    """
    if not records:
        return _nothing(title)
    places = {(record["series"], record["x"]) for record in records}
    several = len(records) > len(places)
    styles = _styles(records, reference)
    layers = [*(_spread() if several else ()), *_means(styles, x, y, several)]
    if reference is not None:
        layers.append(_rule(*reference))
    return {
        "title": title,
        "data": {"values": records},
        "encoding": {
            "x": _x_axis(x, scale, records),
            "y": {
                "field": "y", "type": "quantitative",
                "title": None if y.lower() == title.lower() else y,
                "scale": {"zero": False},
            },
            "color": styles["color"],
        },
        "layer": layers,
    }


def matrix(title, names, values):
    """Describes a table of numbers between 0 and 1 as shades.

    Args:
        title: String.
        names: List of strings, of rows and columns.
        values: List of lists of floats.

    Returns:
        Dict, a Vega-Lite specification.
    """
    axis = {"type": "nominal", "sort": None, "title": None}
    shade = {
        "field": "value", "type": "quantitative", "legend": None,
        "scale": {"domain": [0, 1], "scheme": "blues"},
    }
    ink = {
        "condition": {"test": "datum.value > 0.6", "value": "white"},
        "value": "black",
    }
    text = {"field": "value", "format": ".2f"}
    return {
        "title": title,
        "data": {"values": [
            {"row": row, "column": column, "value": value}
            for row, found in zip(names, values)
            for column, value in zip(names, found)
        ]},
        "encoding": {
            "x": {"field": "column", **axis, "axis": {"labelAngle": 0}},
            "y": {"field": "row", **axis},
        },
        "layer": [
            _layer("rect", {"color": shade}, tooltip=True),
            _layer("text", {"text": text, "color": ink}),
        ],
    }


def bars(title, records):
    """Describes one bar for each record, with its value at its end.

    Args:
        title: String.
        records: List of dicts with `"name"` and `"text"` (strings),
            `"value"` (float) and `"marked"` (boolean): whether the bar
            stands out.

    Returns:
        Dict, a Vega-Lite specification.
    """
    longest = max((record["value"] for record in records), default=1)
    color = {
        "condition": {"test": "datum.marked", "value": _STYLES["color"][2]},
        "value": _REFERENCE["color"],
    }
    return {
        "title": title,
        "data": {"values": records},
        "height": {"step": 26},
        "encoding": {
            "x": {
                "field": "value", "type": "quantitative", "axis": None,
                # Room for the text of the longest bar.
                "scale": {"domainMax": 1.3 * longest},
            },
            "y": {
                "field": "name", "type": "nominal", "sort": None,
                "title": None, "axis": {"labelLimit": 150},
            },
        },
        "layer": [
            _layer("bar", {"color": color}, tooltip={"content": "data"}),
            _layer("text", {"text": {"field": "text"}}, align="left", dx=5),
        ],
    }


def _layer(mark, encoding, **style):
    return {"mark": {"type": mark, **style}, "encoding": encoding}


def _x_axis(title, scale, records):
    axis = {"field": "x", "type": "quantitative", "title": title}
    if scale == "linear":
        return {**axis, "scale": {"zero": False}}
    if scale == "log":
        return {**axis, "scale": {"type": "log"}, "axis": {"format": "~s"}}
    return {
        **axis,
        "scale": {"type": "log", "reverse": True, "nice": False},
        "axis": {
            "values": sorted({record["x"] for record in records})[::-1],
            "format": ",.3~r",
            "labelOverlap": "greedy",
        },
    }


def _styles(records, reference):
    """The scale of each channel; one legend for all, as they are alike."""
    names = list(dict.fromkeys(record["series"] for record in records))
    last = [] if reference is None else [reference[0]]
    return {
        channel: {
            "field": "series", "type": "nominal", "title": None,
            "scale": {
                "domain": names + last,
                "range": [
                    *(values[i % len(values)] for i in range(len(names))),
                    *(_REFERENCE[channel] for _ in last),
                ],
            },
        }
        for channel, values in _STYLES.items()
    }


def _nothing(title):
    return {
        "title": title,
        "data": {"values": [{}]},
        **_layer("text", {}, text="Nothing was measured."),
    }


def _spread():
    """From the least to the greatest value, and each trial by itself."""
    edges = {
        "y": {"aggregate": "min", "field": "y"},
        "y2": {"aggregate": "max", "field": "y"},
    }
    return [
        _layer("area", edges, opacity=0.13),
        _layer(
            "line", {"detail": {"field": "trial"}}, strokeWidth=0.8,
            opacity=0.4, point={"size": 8, "opacity": 0.4},
        ),
    ]


def _means(styles, x, y, several):
    mean = {"aggregate": "mean", "field": "y"}
    shown = {"mean": y}
    if several:
        shown |= {"min": "least", "max": "greatest"}
    tip = [{"field": "series"}, {"field": "x", "title": x, "format": _NUMBER}]
    tip += [
        {"aggregate": name, "field": "y", "title": title, "format": _NUMBER}
        for name, title in shown.items()
    ]
    line = {"y": mean, "strokeDash": styles["strokeDash"]}
    point = {"y": mean, "shape": styles["shape"], "tooltip": tip}
    return [
        _layer("line", line, strokeWidth=2),
        _layer("point", point, filled=True, size=45, opacity=1),
    ]


def _rule(name, value):
    tip = [{"field": "series"}, {"field": "y", "format": _NUMBER}]
    return {
        "data": {"values": [{"series": name, "y": value}]},
        **_layer(
            "rule", {"x": None, "tooltip": tip},
            strokeDash=_REFERENCE["strokeDash"], strokeWidth=1.4,
        ),
    }
