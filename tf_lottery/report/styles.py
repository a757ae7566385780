"""Styles: how the series of a chart are told apart."""

# Okabe and Ito's, which do not depend on seeing red and green.
COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#8b6bb1",
)
# Of lines that lie on each other, the gaps of the later ones show the first.
_STYLES = {
    "color": COLORS,
    "strokeDash": (
        [1, 0], [7, 5], [2, 4], [9, 3, 2, 3], [4, 3], [12, 6], [1, 2],
    ),
    "shape": (
        "circle", "square", "diamond", "triangle-up", "triangle-down",
        "cross", "triangle-right",
    ),
}
REFERENCE = {"color": "#8a8f98", "strokeDash": [5, 4], "shape": "stroke"}


def of_series(names, reference=None):
    """Returns the encoding of each channel; colours begin again in the end."""
    last = [] if reference is None else [reference]
    return {
        channel: {
            "field": "series", "type": "nominal", "title": None,
            "scale": {
                "domain": [*names, *last],
                "range": [
                    *(values[(i + shift * (i // len(values))) % len(values)]
                      for i in range(len(names))),
                    *(REFERENCE[channel] for _ in last),
                ],
            },
        }
        for shift, (channel, values) in enumerate(_STYLES.items())
    }
