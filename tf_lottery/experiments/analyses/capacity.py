"""Capacity: random labels that tickets can learn by heart."""

from tf_lottery.analysis import bands
from tf_lottery.analysis.capacity import capacity
from tf_lottery.experiments.analyses import kind

_TRAININGS = 3


class Analysis(kind.Kind):
    """What the tickets of a run can memorise."""

    name = "capacity"
    title = "Capacity"
    summary = (
        "Accuracy of tickets on random labels after training on them: "
        "nothing can be learned from these, only memorised. Each training "
        "starts from the ticket's weights with a fresh optimizer."
    )
    columns = [
        bands.Column("random labels %", "accuracy", 100),
        bands.Column("weights kept", "kept", form="{:,.0f}"),
    ]

    uses = ("epochs", "samples", "seed")
    samples = 2000

    def trainings(self, item):
        return []

    def seconds(self):
        """The time of one ticket, by the pace of the run."""
        dense = next(iter(self.subject.results.values()))[0]
        preset, settings = self.subject.preset, self.settings
        steps = settings["epochs"] * settings["samples"] / preset.batch_size
        return _TRAININGS * steps * dense.seconds / preset.iterations

    def measure(self, item):
        settings, ticket = self.settings, self.subject.ticket(*item)
        first = _TRAININGS * settings["seed"]
        seeds = range(first, first + _TRAININGS)
        found = capacity(
            ticket, self.subject.bench(item[0]).model,
            self.first("train")[0],
            epochs=settings["epochs"],
            batch_size=self.subject.preset.batch_size, seeds=seeds,
            classes=self.subject.data.classes,
        )
        kept = sum(int(mask.sum()) for mask in ticket.masks.values())
        return [
            {
                "labels": labels, "accuracy": accuracy,
                "chance": found.chance, "kept": kept,
            }
            for labels, accuracy in zip(seeds, found.accuracies)
        ]

    def charts(self):
        return {
            "": self.chart(
                "Capacity: accuracy on random labels (%)",
                bands.Column("tickets", "accuracy", 100),
                label="accuracy on random labels (%)",
                reference=("chance", 100 * self.rows[0]["chance"]),
            ),
        }

    def notes(self):
        yield (
            f"{len(self.first('train')[0]):,} examples, "
            f"{self.options.epochs} epochs, {_TRAININGS} trainings of each "
            "ticket: bands are over labels and trials. More epochs let "
            "sparser tickets memorise more."
        )
