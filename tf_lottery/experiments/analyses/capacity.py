"""Capacity: random labels that tickets can learn by heart."""

from tf_lottery.analysis import bands
from tf_lottery.analysis.capacity import capacity
from tf_lottery.experiments.analyses import kind as kind_lib

_SAMPLES = 2000
_TRAININGS = 3
_SUMMARY = (
    "Accuracy of tickets on random labels after training on them: nothing "
    "can be learned from these, only memorised. Each training starts from "
    "the ticket's weights with a fresh optimizer."
)


def find(session):
    """Returns what the tickets of a run can memorise."""
    subject, options = session.subject, session.options
    settings = {
        "epochs": options.epochs,
        "samples": options.samples or _SAMPLES,
        "seed": options.seed,
    }
    seconds = _seconds(subject, settings)

    def needs(item):
        return [], seconds

    def measure(item):
        return _measured(session, item, settings)

    rows = session.measure(
        "capacity", session.items(subject.rounds), settings, needs, measure
    )
    chance = rows[0]["chance"]
    column = bands.Column("random labels %", "accuracy", 100)
    number = min(settings["samples"], len(subject.data.x_train))
    return kind_lib.finding(
        session, KIND, _SUMMARY, rows,
        bands.table(rows, [column, bands.Column("weights kept", "kept",
                                                form="{:,.0f}")]),
        {
            "": bands.chart(
                "Capacity: accuracy on random labels (%)",
                "accuracy on random labels (%)", rows,
                [bands.Column("tickets", "accuracy", 100)],
                reference=("chance", 100 * chance),
            ),
        },
        notes=[
            f"{number:,} examples, {settings['epochs']} epochs, "
            f"{_TRAININGS} trainings of each ticket: bands are over labels "
            "and trials. More epochs let sparser tickets memorise more.",
        ],
        settings=settings,
    )


def _measured(session, item, settings):
    subject, seed = session.subject, settings["seed"]
    model = subject.bench(item[0]).model
    ticket = subject.ticket(*item)
    seeds = range(_TRAININGS * seed, _TRAININGS * (seed + 1))
    found = capacity(
        ticket, model, subject.data.x_train[:settings["samples"]],
        epochs=settings["epochs"], batch_size=subject.preset.batch_size,
        seeds=seeds, classes=subject.data.classes,
    )
    return [
        {
            "trial": item[0],
            "round": item[1],
            "density": found.density,
            "labels": labels,
            "accuracy": accuracy,
            "chance": found.chance,
            "kept": sum(int(mask.sum()) for mask in ticket.masks.values()),
        }
        for labels, accuracy in zip(seeds, found.accuracies)
    ]


def _seconds(subject, settings):
    """The time of one ticket, by the pace of the run."""
    dense = next(iter(subject.results.values()))[0]
    steps = settings["samples"] / subject.preset.batch_size
    pace = dense.seconds / subject.preset.iterations
    return _TRAININGS * settings["epochs"] * steps * pace


KIND = kind_lib.Kind(
    "capacity",
    "Capacity",
    find,
)
