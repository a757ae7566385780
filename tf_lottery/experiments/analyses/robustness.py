"""Robustness of trained tickets against adversarial examples."""

import keras
import numpy as np

from tf_lottery.analysis import bands
from tf_lottery.analysis.robustness import ATTACKS
from tf_lottery.analysis.robustness import robustness
from tf_lottery.experiments.analyses import kind as kind_lib
from tf_lottery.experiments.analyses import stability
from tf_lottery.experiments.analyses import trainings

_SAMPLES = 1000
_GRAY = (0.05, 0.1, 0.2)
_COLOR = (2 / 255, 4 / 255, 8 / 255)
_SUMMARY = (
    "Test accuracy of trained tickets on clean images and under white-box "
    "attacks in the maximum norm: one step (FGSM), and ten projected steps "
    "from a random start (PGD). Epsilon is in units of the range of the "
    "pixels, which attacked images do not leave."
)


def find(session):
    """Returns the robustness of a run's trained tickets."""
    subject, options = session.subject, session.options
    color = subject.data.image_shape[-1] > 1
    settings = {
        "epsilons": list(options.epsilons or (_COLOR if color else _GRAY)),
        "samples": options.samples or _SAMPLES,
        "seed": options.seed,
    }

    def needs(item):
        return [trainings.Training(*item)], 0.0

    def measure(item):
        return _measured(session, item, settings)

    default = [0, *stability.default_rounds(subject)]
    rows = session.measure(
        "robustness", session.items(default), settings, needs, measure
    )
    wide = [_wide(row) for row in rows]
    clean = bands.Column("clean", "clean", 100)
    lines = {
        attack: [
            bands.Column(f"{attack.upper()} {epsilon:.3g}",
                         f"{attack}_{epsilon}", 100)
            for epsilon in settings["epsilons"]
        ]
        for attack in ATTACKS
    }
    number = min(settings["samples"], len(subject.data.x_test))
    return kind_lib.finding(
        session, KIND, _SUMMARY, rows,
        bands.table(wide, [clean, *lines["fgsm"], *lines["pgd"]]),
        {
            "" if attack == "pgd" else attack: bands.chart(
                f"Test accuracy under {attack.upper()} (%)",
                "test accuracy (%)", wide,
                [clean, *lines[attack]],
            )
            for attack in reversed(ATTACKS)
        },
        notes=[
            session.trained_again(),
            f"Accuracies in % of the first {number:,} test images: one image "
            f"is {100 / number:.2g} points.",
            *_masked(rows, 2 / number),
        ],
        settings=settings,
    )


def _measured(session, item, settings):
    data, number = session.subject.data, settings["samples"]
    trained = session.model(trainings.Training(*item))
    model, low, span = _of_pixels(trained, data)
    x = (data.x_test[:number] - low) / span
    # Rounding must not put a pixel outside the range.
    x = np.clip(x, 0.0, 1.0).astype("float32")
    about = {
        "trial": item[0],
        "round": item[1],
        "density": session.subject.density(*item),
    }
    rows = []
    for attack in ATTACKS:
        found = robustness(
            model, (x, data.y_test[:number]), settings["epsilons"], attack,
            clip=(0.0, 1.0), seed=settings["seed"],
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        rows += [
            {
                **about, "attack": attack, "epsilon": epsilon,
                "clean_accuracy": found.clean_accuracy, "accuracy": accuracy,
            }
            for epsilon, accuracy in found.accuracies.items()
        ]
    return rows


def _of_pixels(model, data):
    """Returns a model of pixels from 0 to 1, and what these stand for."""
    axes = tuple(range(data.x_train.ndim - 1))
    low, high = data.x_train.min(axes), data.x_train.max(axes)
    span = high - low
    inputs = keras.Input(data.image_shape)
    scaled = keras.layers.Rescaling(span.tolist(), low.tolist())(inputs)
    return keras.Model(inputs, model(scaled)), low, span


def _wide(row):
    return {
        **row,
        "clean": row["clean_accuracy"],
        f"{row['attack']}_{row['epsilon']}": row["accuracy"],
    }


def _masked(rows, tolerance):
    """Says where the stronger attack is the weaker one."""
    found = {
        (row["trial"], row["round"], row["epsilon"], row["attack"]):
            row["accuracy"] for row in rows
    }
    wrong = sorted({
        number for (trial, number, epsilon, attack), value in found.items()
        if attack == "pgd"
        and value > found[trial, number, epsilon, "fgsm"] + tolerance
    })
    if wrong:
        yield (
            "PGD is weaker than FGSM in rounds "
            f"{', '.join(map(str, wrong))}: gradients are masked there, and "
            "neither says anything."
        )


KIND = kind_lib.Kind(
    "robustness",
    "Adversarial robustness",
    find,
)
