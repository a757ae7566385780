"""Masks alone: their overlap and their density."""

import itertools

from tf_lottery.analysis import bands
from tf_lottery.analysis import overlap as overlap_lib
from tf_lottery.experiments.analyses import kind as kind_lib
from tf_lottery.report import charts

_SHOWN = 9
_LAYERS = 7
_OVERLAP = (
    "How much of what two tickets keep they have in common (Jaccard index), "
    "beside what random masks of the same layerwise densities have in the "
    "mean. Tickets of one trial are nested: each keeps a part of the one "
    "before, which is as much overlap as their densities allow."
)
_ORDER = (
    "Hidden units of two trials have no common order, so that beyond what "
    "inputs and outputs fix, chance is what to expect between trials."
)
_DENSITY = (
    "Weights that are kept, in all and in each layer. Effective are those of "
    "them that lie on a path from an input to an output."
)


def find_overlap(session):
    """Returns the overlap of masks between trials and between rounds."""
    subject = session.subject
    items = session.items(subject.rounds[1:], least=1)
    masks = {item: subject.masks(*item) for item in items}
    rows = []
    for (one, a), (other, b) in itertools.combinations(items, 2):
        if (a == b) != (one == other):
            rows += _overlaps(subject, masks, (one, a), (other, b))
    whole = [_by_name(row) for row in rows if row["layer"] == "all"]
    across = [row for row in rows if row["between"] == "trials"]
    keys = list(dict.fromkeys(row["layer"] for row in across))[1:]
    columns = [
        bands.Column("round before", "rounds"),
        bands.Column("chance", "rounds_expected"),
    ]
    if across:
        columns += [
            bands.Column("other trials", "trials"),
            bands.Column("chance", "trials_expected"),
            *(bands.Column(key, key) for key in keys[:_LAYERS]),
        ]
    by_layer = [{**row, row["layer"]: row["jaccard"]} for row in across]
    shown = [
        {"round": number, "density": subject.density(trial, number)}
        for trial, number in items
    ]
    shown += [row for row in whole if row.get("previous", True)]
    return kind_lib.finding(
        session, OVERLAP, _OVERLAP, rows,
        bands.table(shown + by_layer, columns),
        _overlap_charts(session, masks, whole, by_layer, keys),
        notes=[_ORDER if across else ""],
    )


def _overlaps(subject, masks, first, second):
    found = overlap_lib.mask_overlap([masks[first], masks[second]])
    about = {
        "between": "rounds" if first[0] == second[0] else "trials",
        "trial": first[0],
        "other_trial": second[0],
        "round": second[1],
        "other_round": first[1],
        "density": subject.density(*second),
    }
    parts = {"all": (found.matrix, found.expected)}
    for key in found.layers:
        parts[key] = found.layers[key], found.expected_layers[key]
    return [
        {
            **about,
            "layer": key,
            "jaccard": float(matrix[0, 1]),
            "expected": float(expected[0, 1]),
        }
        for key, (matrix, expected) in parts.items()
    ]


def _by_name(row):
    name = row["between"]
    return {
        **row,
        name: row["jaccard"],
        f"{name}_expected": row["expected"],
        "previous": name == "trials" or row["round"] - row["other_round"] == 1,
    }


def _overlap_charts(session, masks, whole, by_layer, keys):
    """Between trials where there are several, and between rounds of one."""
    drawn = {}
    if by_layer:
        columns = [
            bands.Column("tickets", "trials"),
            bands.Column("chance", "trials_expected"),
        ]
        drawn[""] = bands.chart(
            "Mask overlap between trials (Jaccard index)", "Jaccard index",
            [row for row in whole if row["between"] == "trials"], columns,
        )
        drawn["layers"] = bands.chart(
            "Mask overlap between trials, by layer (Jaccard index)",
            "Jaccard index",
            by_layer, [bands.Column(key, key) for key in keys[:_LAYERS]],
        )
    trial = min(trial for trial, _ in masks)
    rounds = _thinned([number for one, number in masks if one == trial])
    table = overlap_lib.mask_overlap(
        {str(number): masks[trial, number] for number in rounds}
    )
    drawn["rounds" if drawn else ""] = charts.matrix(
        f"Mask overlap between rounds of trial {trial}", table.names,
        table.matrix.tolist(),
    )
    return drawn


def _thinned(rounds):
    """At most as many rounds as can be shown, evenly spaced, both ends."""
    if len(rounds) <= _SHOWN:
        return rounds
    step = (len(rounds) - 1) / (_SHOWN - 1)
    return [rounds[round(i * step)] for i in range(_SHOWN)]


def find_density(session):
    """Returns the density of each layer, and the effective one."""
    subject = session.subject
    rows, wide = [], []
    for trial, number in session.items(subject.rounds):
        result = subject.results[trial][number]
        about = {
            "trial": trial, "round": number, "density": result.density,
        }
        rows.append({
            **about, "layer": "all", "layer_density": result.density,
            "effective_density": result.effective_density,
        })
        rows += [
            {**about, "layer": key, "layer_density": density}
            for key, density in result.densities.items()
        ]
        wide.append({
            **about, "effective": result.effective_density,
            "lost": _lost(result), **result.densities,
        })
    keys = list(dict.fromkeys(
        row["layer"] for row in rows if row["layer"] != "all"
    ))
    columns = [bands.Column("effective %", "effective", 100)]
    columns += [bands.Column(f"{key} %", key, 100) for key in keys]
    lines = [bands.Column(key, key, 100) for key in keys[:_LAYERS]]
    return kind_lib.finding(
        session, DENSITY, _DENSITY, rows, bands.table(wide, columns),
        {
            "": bands.chart(
                "Density of each layer (%)", "density of the layer (%)", wide,
                lines,
            ),
            "effective": bands.chart(
                "Kept weights on no path (% of the kept)",
                "on no path (% of the kept)", wide,
                [bands.Column("kept in vain", "lost", 100)],
            ),
        },
        notes=[_few(keys)],
    )


def _lost(result):
    """The fraction of the kept weights that is on no path."""
    if result.effective_density is None:
        return None
    return 1 - result.effective_density / result.density


def _few(keys):
    if len(keys) <= _LAYERS:
        return ""
    return (
        f"The chart shows {_LAYERS} of {len(keys)} layers; the table and the "
        "CSV file have all."
    )


OVERLAP = kind_lib.Kind(
    "overlap",
    "Mask overlap",
    find_overlap,
)
DENSITY = kind_lib.Kind(
    "density",
    "Density of layers, and effective density",
    find_density,
)
