"""The overlap of masks between trials and between rounds."""

import functools
import itertools

import numpy as np

from tf_lottery.analysis import bands
from tf_lottery.analysis.overlap import mask_overlap
from tf_lottery.experiments.analyses import kind
from tf_lottery.report import charts

_SHOWN = 9
_ACROSS = (
    bands.Column("tickets", "trials"),
    bands.Column("chance", "trials_expected"),
)


class Analysis(kind.Kind):
    """The overlap of a run's masks between trials and between rounds."""

    name = "overlap"
    title = "Mask overlap"
    summary = (
        "How much of what two tickets keep they have in common (Jaccard "
        "index), next to what random masks of the same layerwise densities "
        "have in the mean. Tickets of one trial are nested: each keeps a part "
        "of the one before, which is as much overlap as their densities allow."
    )
    least = 1

    @functools.cached_property
    def masks(self):
        return {item: self.subject.masks(*item) for item in self.items}

    @functools.cached_property
    def rows(self):
        return [
            row for first, second in itertools.combinations(self.items, 2)
            if (first[0] == second[0]) != (first[1] == second[1])
            for row in self._overlaps(first, second)
        ]

    @property
    def shown(self):
        return [
            *map(self.about, self.items),
            *(row for row in self._whole if row.get("previous", True)),
            *self._by_layer,
        ]

    @property
    def columns(self):
        found = [
            bands.Column("round before", "rounds"),
            bands.Column("chance", "rounds_expected"),
        ]
        if self._by_layer:
            found += [
                bands.Column("other trials", "trials"),
                bands.Column("chance", "trials_expected"),
                *kind.layer_columns(self._by_layer),
            ]
        return found

    def charts(self):
        """Between trials where there are several, and between rounds of one."""
        drawn = {}
        if self._by_layer:
            drawn[""] = self.chart(
                "Mask overlap between trials (Jaccard index)", *_ACROSS,
                rows=[r for r in self._whole if r["between"] == "trials"],
                label="Jaccard index",
            )
            drawn["layers"] = self.chart(
                "Mask overlap between trials, by layer (Jaccard index)",
                *kind.layer_columns(self._by_layer), rows=self._by_layer,
                label="Jaccard index",
            )
        trial = min(trial for trial, _ in self.items)
        rounds = _thinned([n for one, n in self.items if one == trial])
        found = mask_overlap({str(n): self.masks[trial, n] for n in rounds})
        drawn["rounds" if drawn else ""] = charts.matrix(
            f"Mask overlap between rounds of trial {trial}", found.names,
            found.matrix.tolist(),
        )
        return drawn

    def notes(self):
        if self._by_layer:
            yield (
                "Hidden units of two trials have no common order, so that "
                "beyond what inputs and outputs fix, chance is what to expect "
                "between trials."
            )

    def _overlaps(self, first, second):
        found = mask_overlap([self.masks[first], self.masks[second]])
        expected = {"all": found.expected, **found.expected_layers}
        for key, matrix in {"all": found.matrix, **found.layers}.items():
            yield {
                "between": "rounds" if first[0] == second[0] else "trials",
                "trial": first[0],
                "other_trial": second[0],
                "round": second[1],
                "other_round": first[1],
                "density": self.subject.density(*second),
                "layer": key,
                "jaccard": float(matrix[0, 1]),
                "expected": float(expected[key][0, 1]),
            }

    @property
    def _whole(self):
        return [_by_name(row) for row in self.rows if row["layer"] == "all"]

    @property
    def _by_layer(self):
        return [
            {**row, row["layer"]: row["jaccard"]} for row in self.rows
            if row["between"] == "trials"
        ]


def _by_name(row):
    name = row["between"]
    return {
        **row,
        name: row["jaccard"],
        f"{name}_expected": row["expected"],
        "previous": name == "trials" or row["round"] - row["other_round"] == 1,
    }


def _thinned(rounds):
    """At most as many rounds as can be shown, evenly spaced, both ends."""
    places = np.linspace(0, len(rounds) - 1, min(len(rounds), _SHOWN))
    return [rounds[round(place)] for place in places]
