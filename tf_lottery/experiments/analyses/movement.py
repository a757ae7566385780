"""Movement: how far surviving and pruned weights travel."""

from tf_lottery.analysis import bands
from tf_lottery.analysis import movement as movement_lib
from tf_lottery.experiments.analyses import kind as kind_lib
from tf_lottery.experiments.analyses import trainings

_SUMMARY = (
    "How far weights move in the training of the dense network, from the "
    "rewinding point to the end: those that a ticket keeps, and all others. "
    "Mean and median of abs(end - start); the CSV file has L2 distances, too."
)


def find(session):
    """Returns how far surviving and pruned weights moved."""
    subject = session.subject

    def needs(item):
        return [trainings.Training(item[0], 0)], 0.0

    def measure(item):
        end = session.trainings.weights(trainings.Training(item[0], 0))
        return _movement(subject, item, end)

    rows = session.measure(
        "movement", session.items(subject.rounds[1:], least=1), {}, needs,
        measure,
    )
    whole = [row for row in rows if row["layer"] == "all"]
    columns = [
        bands.Column("surviving, mean", "kept_mean", form="{:.4f}"),
        bands.Column("pruned, mean", "pruned_mean", form="{:.4f}"),
        bands.Column("ratio", "ratio"),
        bands.Column("surviving, median", "kept_median", form="{:.4f}"),
        bands.Column("pruned, median", "pruned_median", form="{:.4f}"),
    ]
    keys = list(dict.fromkeys(row["layer"] for row in rows))[1:]
    by_layer = [{**row, row["layer"]: row["ratio"]} for row in rows]
    return kind_lib.finding(
        session, KIND, _SUMMARY, rows, bands.table(whole, columns),
        {
            "": bands.chart(
                "Weight movement: mean of abs(end - start)",
                "mean of abs(end - start)", whole,
                [bands.Column("surviving weights", "kept_mean"),
                 bands.Column("pruned weights", "pruned_mean")],
            ),
            "layers": bands.chart(
                "Mean movement, surviving over pruned weights", "ratio",
                by_layer, [bands.Column(key, key) for key in keys[:7]],
                reference=("equal", 1.0),
            ),
        },
        notes=[
            "Weights are kept for their size at the end, and large ones have "
            "mostly moved far: this alone makes survivors move more.",
        ],
    )


def _movement(subject, item, end):
    trial, number = item
    ticket = subject.ticket(trial, number)
    found = movement_lib.weight_movement(ticket, end, ticket.masks)
    parts = {"all": (found.kept, found.pruned), **found.layers}
    return [
        {
            "trial": trial,
            "round": number,
            "density": ticket.density,
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


KIND = kind_lib.Kind(
    "movement",
    "Weight movement",
    find,
)
