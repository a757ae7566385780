"""The generalisation gap against density."""

from tf_lottery.analysis import bands
from tf_lottery.analysis import generalization
from tf_lottery.experiments.analyses import kind as kind_lib
from tf_lottery.experiments.analyses import trainings

_SUMMARY = (
    "Trained tickets on the data they were trained on and on test data, both "
    "in inference mode and without augmentation. The gap of the accuracy is "
    "training less test, that of the loss test less training."
)


def find(session):
    """Returns the generalisation gaps of a run's trained tickets."""
    subject = session.subject
    settings = {"samples": session.options.samples}

    def needs(item):
        return [trainings.Training(*item)], 0.0

    def measure(item):
        return [_measured(session, item)]

    rows = session.measure(
        "gap", session.items(subject.rounds), settings, needs, measure
    )
    columns = [
        bands.Column("train %", "train_accuracy", 100),
        bands.Column("test %", "test_accuracy", 100),
        bands.Column("gap (points)", "accuracy_gap", 100),
        bands.Column("train loss", "train_loss", form="{:.4f}"),
        bands.Column("test loss", "test_loss", form="{:.4f}"),
        bands.Column("gap of the loss", "loss_gap", form="{:.4f}"),
    ]
    return kind_lib.finding(
        session, KIND, _SUMMARY, rows, bands.table(rows, columns),
        {
            "": bands.chart(
                "Generalisation gap of the accuracy (points)",
                "training less test accuracy (points)", rows,
                [bands.Column("gap", "accuracy_gap", 100)],
            ),
            "accuracies": bands.chart(
                "Training and test accuracy (%)", "accuracy (%)", rows,
                [bands.Column("training", "train_accuracy", 100),
                 bands.Column("test", "test_accuracy", 100)],
            ),
        },
        notes=[
            session.trained_again(),
            _limited(session.options.samples),
        ],
        settings=settings,
    )


def _measured(session, item):
    data, number = session.subject.data, session.options.samples
    model = session.model(trainings.Training(*item))
    found = generalization.generalization_gap(
        model,
        (data.x_train[:number], data.y_train[:number]),
        (data.x_test[:number], data.y_test[:number]),
    )
    return {
        "trial": item[0],
        "round": item[1],
        "density": session.subject.density(*item),
        "train_accuracy": found.train.accuracy,
        "test_accuracy": found.test.accuracy,
        "accuracy_gap": found.accuracy,
        "train_loss": found.train.loss,
        "test_loss": found.test.loss,
        "loss_gap": found.loss,
    }


def _limited(samples):
    if samples is None:
        return None
    return f"Only the first {samples:,} examples of each part were measured."


KIND = kind_lib.Kind(
    "gap",
    "Generalisation gap",
    find,
)
