"""Interaction: what the charts of a page answer to."""

# What is not singled out fades to this.
_FADED = 0.04
# A click on a name in the legend singles it out, a second one lets it go;
# several may be. It belongs to one layer of a chart.
LEGEND = {
    "name": "shown", "bind": "legend",
    "select": {"type": "point", "fields": ["series"], "toggle": "true"},
}


def shown(opacity):
    """Returns the encoding of an opacity that fades.

    Args:
        opacity: Float, that of a series which is shown.
    """
    return {"opacity": {
        "condition": {"param": LEGEND["name"], "value": opacity},
        "value": min(opacity, _FADED),
    }}


def menu(name, options, first):
    """Returns the part of a chart that shows the records of one choice.

    Args:
        name: String, what stands before the menu.
        options: List of strings. Records have one as `"choice"`, those
            without are always shown.
        first: String, the option that is chosen at first.
    """
    bind = {"input": "select", "options": options, "name": name}
    chosen = "!isValid(datum.choice) || datum.choice === chosen"
    return {
        "params": [{"name": "chosen", "value": first, "bind": bind}],
        "transform": [{"filter": chosen}],
    }
