"""Charts: Vega-Lite specifications made of tidy records.

A chart is a dict of plain values, https://vega.github.io/vega-lite, with its
data inside. `drawing` makes a picture of it and `pages` an interactive figure;
size, fonts and the colours of the text are theirs.
"""

from tf_lottery.report import interaction
from tf_lottery.report import styles as styles_lib

# Of more places than these a line shows no points; they answer all the same.
_POINTS = 24


def lines(
    title, x, y, records, scale="linear", reference=None, choice=None
):
    """Describes lines in Vega-Lite: a mean for each series and place.

    Where there are several records of a place, such as trials, the band
    reaches from the least to the greatest value, or from `"low"` to `"high"`
    where records have these, and every trial is a thin line. On a page a click
    on a name in the legend singles its line out.

    Records have a `"series"`, `"x"` and `"y"`, and a `"trial"` where a place
    has several; series are drawn in the order in which they come. The scale of
    the x axis is `"linear"`, `"log"`, or `"density"`, which is logarithmic,
    falls from left to right as in the papers, and is named at the records. A
    reference is the name and height of a horizontal line, `None` if records
    have its course. A choice is the name of a menu, its options, and the
    first; records with a `"choice"` show if it is chosen.

    >>> chart = lines("Error", "step", "error (%)", [
    ...     {"series": "tickets", "trial": "0", "x": 1, "y": 3.0},
    ...     {"series": "tickets", "trial": "1", "x": 1, "y": 5.0}])
    >>> [layer["mark"]["type"] for layer in chart["layer"]]
    ['area', 'line', 'line', 'point']
    """
    if not records:
        return _nothing(title)
    places = {(r["series"], r["x"], r.get("choice")) for r in records}
    several = len(records) > len(places)
    interval = any("low" in record for record in records)
    crowded = len({record["x"] for record in records}) > _POINTS
    names = dict.fromkeys(record["series"] for record in records)
    if reference is not None:
        names.pop(reference[0], None)
    channels = styles_lib.of_series(
        list(names), None if reference is None else reference[0]
    )
    layers = [
        *(_spread(interval, crowded) if several else ()),
        *_means(channels, x, y, several, interval, crowded),
    ]
    # A selection belongs to one of the layers.
    layers[0]["params"] = [interaction.LEGEND]
    if reference is not None and reference[1] is not None:
        layers.append(_rule(*reference))
    return {
        "title": title,
        "data": {"values": records},
        **({} if choice is None else interaction.menu(*choice)),
        "encoding": {
            "x": _x_axis(x, scale, records),
            "y": {
                "field": "y", "type": "quantitative",
                "title": None if y.lower() == title.lower() else y,
                "scale": {"zero": False},
            },
            "color": channels["color"],
        },
        "layer": layers,
    }


def matrix(title, names, values):
    """Describes a table of numbers between 0 and 1 as shades, in Vega-Lite."""
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
    """Describes a bar for each record, its value at its end, in Vega-Lite."""
    longest = max((record["value"] for record in records), default=1)
    color = {
        "condition": {"test": "datum.marked", "value": styles_lib.COLORS[2]},
        "value": styles_lib.REFERENCE["color"],
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
        # Labels that are moved inwards at the ends meet their neighbours.
        return {
            **axis, "scale": {"zero": False},
            "axis": {"labelFlush": False, "labelBound": True},
        }
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


def _nothing(title):
    return {
        "title": title,
        "data": {"values": [{}]},
        **_layer("text", {}, text="Nothing was measured."),
    }


def _spread(interval, crowded):
    """The band, and each trial by itself."""
    low, high = ("low", "high") if interval else ("y", "y")
    edges = {
        "y": {"aggregate": "min", "field": low},
        "y2": {"aggregate": "max", "field": high},
    }
    trials = {"detail": {"field": "trial"}}
    return [
        _layer("area", edges | interaction.shown(0.13)),
        _layer(
            "line", trials | interaction.shown(0.4), strokeWidth=0.8,
            point=False if crowded else {"size": 8},
        ),
    ]


def _means(channels, x, y, several, interval, crowded):
    mean = {"aggregate": "mean", "field": "y"}
    line = {"y": mean, "strokeDash": channels["strokeDash"]}
    point = {
        "y": mean, "shape": channels["shape"],
        "tooltip": interaction.tip(x, y, several, interval),
    }
    # Where points crowd they are not to be seen, and large to be met.
    size, opacity = (150, 0) if crowded else (45, 1)
    return [
        _layer("line", line | interaction.shown(1), strokeWidth=2),
        _layer(
            "point", point | interaction.shown(opacity), filled=True,
            size=size,
        ),
    ]


def _rule(name, value):
    tip = [{"field": "series"}, {"field": "y", "format": interaction.NUMBER}]
    return {
        "data": {"values": [{"series": name, "y": value}]},
        **_layer(
            "rule", {"x": None, "tooltip": tip} | interaction.shown(1),
            strokeDash=styles_lib.REFERENCE["strokeDash"], strokeWidth=1.4,
        ),
    }
