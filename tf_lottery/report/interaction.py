"""Interaction: what the charts of a page answer to."""

# The format of a number that is said of a point.
NUMBER = ",.6~r"
# What is not singled out fades to this.
_FADED = 0.04
# A click on a name in the legend singles it out, a second one lets it go;
# several may be. It belongs to one layer of a chart.
LEGEND = {
    "name": "shown", "bind": "legend",
    "select": {"type": "point", "fields": ["series"], "toggle": "true"},
}


def shown(opacity):
    """Returns the encoding of the opacity of a series, which may fade."""
    return {"opacity": {
        "condition": {"param": LEGEND["name"], "value": opacity},
        "value": min(opacity, _FADED),
    }}


def menu(name, options, first):
    """Returns the part of a chart that shows the records of one choice."""
    bind = {"input": "select", "options": options, "name": name}
    chosen = "!isValid(datum.choice) || datum.choice === chosen"
    return {
        "params": [{"name": "chosen", "value": first, "bind": bind}],
        "transform": [{"filter": chosen}],
    }


def tip(x, y, several, interval):
    """Returns the encoding of what is said of the point of a mean."""
    shown = [("mean", "y", y)]
    if several:
        shown += [("min", "y", "least"), ("max", "y", "greatest")]
    if interval:
        shown += [("min", "low", "band from"), ("max", "high", "to")]
    return [
        {"field": "series"},
        {"field": "x", "title": x, "format": NUMBER},
        *(
            {"aggregate": name, "field": field, "title": title,
             "format": NUMBER}
            for name, field, title in shown
        ),
    ]
