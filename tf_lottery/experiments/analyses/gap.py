"""The generalisation gap against density."""

from tf_lottery.analysis import bands
from tf_lottery.analysis import generalization
from tf_lottery.experiments.analyses import kind


class Analysis(kind.Kind):
    """The generalisation gaps of a run's trained tickets."""

    name = "gap"
    title = "Generalisation gap"
    summary = (
        "Trained tickets on the data they were trained on and on test data, "
        "both in inference mode and without augmentation. The gap of the "
        "accuracy is training less test, that of the loss test less training."
    )
    columns = [
        bands.Column("train %", "train_accuracy", 100),
        bands.Column("test %", "test_accuracy", 100),
        bands.Column("gap (points)", "accuracy_gap", 100),
        bands.Column("train loss", "train_loss", form="{:.4f}"),
        bands.Column("test loss", "test_loss", form="{:.4f}"),
        bands.Column("gap of the loss", "loss_gap", form="{:.4f}"),
    ]

    uses = ("samples",)

    def measure(self, item):
        found = generalization.generalization_gap(
            self.session.model(*self.trainings(item)),
            self.first("train"), self.first("test"),
        )
        return [{
            "train_accuracy": found.train.accuracy,
            "test_accuracy": found.test.accuracy,
            "accuracy_gap": found.accuracy,
            "train_loss": found.train.loss,
            "test_loss": found.test.loss,
            "loss_gap": found.loss,
        }]

    def charts(self):
        return {
            "": self.chart(
                "Generalisation gap of the accuracy (points)",
                bands.Column("gap", "accuracy_gap", 100),
                label="training less test accuracy (points)",
            ),
            "accuracies": self.chart(
                "Training and test accuracy (%)",
                bands.Column("training", "train_accuracy", 100),
                bands.Column("test", "test_accuracy", 100),
                label="accuracy (%)",
            ),
        }

    def notes(self):
        if self.options.samples is not None:
            yield (
                f"Only the first {self.options.samples:,} examples of each "
                "part were measured."
            )
