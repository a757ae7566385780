"""The density of each layer, and the effective one."""

from tf_lottery.analysis import bands
from tf_lottery.experiments.analyses import kind


class Analysis(kind.Kind):
    """The density of each layer in the rounds of a run."""

    name = "density"
    title = "Density of layers, and effective density"
    summary = (
        "Weights that are kept, in all and in each layer. Effective are those "
        "of them that lie on a path from an input to an output."
    )

    @property
    def rows(self):
        found = []
        for item, result in self._results():
            about = self.about(item)
            found.append({
                **about, "layer": "all", "layer_density": result.density,
                "effective_density": result.effective_density,
            })
            found += [
                {**about, "layer": key, "layer_density": density}
                for key, density in result.densities.items()
            ]
        return found

    @property
    def shown(self):
        return [
            {
                **self.about(item), "effective": result.effective_density,
                "lost": _lost(result), **result.densities,
            }
            for item, result in self._results()
        ]

    @property
    def columns(self):
        return [bands.Column("effective %", "effective", 100)] + [
            bands.Column(f"{key} %", key, 100)
            for key in kind.layers(self.rows)
        ]

    def charts(self):
        return {
            "": self.chart(
                "Density of each layer (%)",
                *kind.layer_columns(self.rows, 100),
                label="density of the layer (%)",
            ),
            "effective": self.chart(
                "Kept weights on no path (% of the kept)",
                bands.Column("kept in vain", "lost", 100),
                label="on no path (% of the kept)",
            ),
        }

    def notes(self):
        number = len(kind.layers(self.rows))
        if number > kind.LAYERS:
            yield (
                f"The chart shows {kind.LAYERS} of {number} layers; the table "
                "and the CSV file have all."
            )

    def _results(self):
        return [
            ((trial, number), self.subject.results[trial][number])
            for trial, number in self.items
        ]


def _lost(result):
    if result.effective_density is None:
        return None
    return 1 - result.effective_density / result.density
