"""Movement: how far surviving and pruned weights travel."""

from tf_lottery.analysis import bands
from tf_lottery.analysis.movement import weight_movement
from tf_lottery.experiments.analyses import kind
from tf_lottery.experiments.analyses import trainings


class Analysis(kind.Kind):
    """How far surviving and pruned weights moved."""

    name = "movement"
    title = "Weight movement"
    summary = (
        "How far weights move in the training of the dense network, from the "
        "rewinding point to the end: those that a ticket keeps, and all "
        "others. Mean and median of abs(end - start); the CSV file has L2 "
        "distances, too."
    )
    least = 1
    columns = [
        bands.Column("surviving, mean", "kept_mean", form="{:.4f}"),
        bands.Column("pruned, mean", "pruned_mean", form="{:.4f}"),
        bands.Column("ratio", "ratio"),
        bands.Column("surviving, median", "kept_median", form="{:.4f}"),
        bands.Column("pruned, median", "pruned_median", form="{:.4f}"),
    ]

    @property
    def shown(self):
        return [row for row in self.rows if row["layer"] == "all"]

    def trainings(self, item):
        return [trainings.Training(item[0], 0)]

    def measure(self, item):
        end = self.session.trainings.weights(*self.trainings(item))
        ticket = self.subject.ticket(*item)
        found = weight_movement(ticket, end, ticket.masks)
        parts = {"all": (found.kept, found.pruned), **found.layers}
        return [
            {
                "layer": key,
                "kept": kept.number,
                "pruned": pruned.number,
                "kept_mean": kept.mean,
                "pruned_mean": pruned.mean,
                "ratio": kept.mean / pruned.mean if pruned.mean else None,
                "kept_median": kept.quantiles[0.5],
                "pruned_median": pruned.quantiles[0.5],
                "kept_l2": kept.distance,
                "pruned_l2": pruned.distance,
            }
            for key, (kept, pruned) in parts.items()
        ]

    def charts(self):
        by_layer = [{**row, row["layer"]: row["ratio"]} for row in self.rows]
        return {
            "": self.chart(
                "Weight movement: mean of abs(end - start)",
                bands.Column("surviving weights", "kept_mean"),
                bands.Column("pruned weights", "pruned_mean"),
                label="mean of abs(end - start)",
            ),
            "layers": self.chart(
                "Mean movement, surviving over pruned weights",
                *kind.layer_columns(self.rows), rows=by_layer, label="ratio",
                reference=("equal", 1.0),
            ),
        }

    def notes(self):
        yield (
            "Weights are kept for their size at the end, and large ones have "
            "mostly moved far: this alone makes survivors move more."
        )
