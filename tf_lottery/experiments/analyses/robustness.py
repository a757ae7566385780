"""Robustness of trained tickets against adversarial examples."""

import functools

import keras
import numpy as np

from tf_lottery.analysis import bands
from tf_lottery.analysis.robustness import ATTACKS
from tf_lottery.analysis.robustness import robustness
from tf_lottery.experiments.analyses import kind

_GRAY = (0.05, 0.1, 0.2)
_COLOR = (2 / 255, 4 / 255, 8 / 255)
_CLEAN = bands.Column("clean", "clean", 100)


class Analysis(kind.Kind):
    """The robustness of a run's trained tickets."""

    name = "robustness"
    title = "Adversarial robustness"
    summary = (
        "Test accuracy of trained tickets on clean images and under white-box "
        "attacks in the maximum norm: one step (FGSM), and ten projected "
        "steps from a random start (PGD). Epsilon is in units of the range of "
        "the pixels, which attacked images do not leave."
    )

    uses = ("epsilons", "samples", "seed")
    samples, few = 1000, True

    @functools.cached_property
    def settings(self):
        color = self.subject.data.image_shape[-1] > 1
        usual = _COLOR if color else _GRAY
        return super().settings | {
            "epsilons": list(self.options.epsilons or usual)
        }

    def measure(self, item):
        settings, data = self.settings, self.subject.data
        trained = self.session.model(*self.trainings(item))
        model, low, span = _of_pixels(trained, data)
        x, y = self.first("test")
        # Rounding must not put a pixel outside the range.
        x = np.clip((x - low) / span, 0.0, 1.0).astype("float32")
        found = [
            robustness(
                model, (x, y), settings["epsilons"], attack, clip=(0.0, 1.0),
                seed=settings["seed"],
                loss=keras.losses.SparseCategoricalCrossentropy(
                    from_logits=True
                ),
            )
            for attack in ATTACKS
        ]
        return [
            {
                "attack": each.attack, "epsilon": epsilon,
                "clean_accuracy": each.clean_accuracy, "accuracy": accuracy,
            }
            for each in found for epsilon, accuracy in each.accuracies.items()
        ]

    @property
    def shown(self):
        return [
            {
                **row, "clean": row["clean_accuracy"],
                f"{row['attack']}_{row['epsilon']}": row["accuracy"],
            }
            for row in self.rows
        ]

    @property
    def columns(self):
        return [_CLEAN, *self._under("fgsm"), *self._under("pgd")]

    def charts(self):
        return {
            "" if attack == "pgd" else attack: self.chart(
                f"Test accuracy under {attack.upper()} (%)",
                _CLEAN, *self._under(attack), label="test accuracy (%)",
            )
            for attack in reversed(ATTACKS)
        }

    def notes(self):
        number = len(self.first("test")[0])
        yield (
            f"Accuracies in % of the first {number:,} test images: one image "
            f"is {100 / number:.2g} points."
        )
        yield from _masked(self.rows, 2 / number)

    def _under(self, attack):
        return [
            bands.Column(f"{attack.upper()} {epsilon:.3g}",
                         f"{attack}_{epsilon}", 100)
            for epsilon in self.settings["epsilons"]
        ]


def _of_pixels(model, data):
    """Returns a model of pixels from 0 to 1, and what these stand for."""
    axes = tuple(range(data.x_train.ndim - 1))
    low, high = data.x_train.min(axes), data.x_train.max(axes)
    span = high - low
    inputs = keras.Input(data.image_shape)
    scaled = keras.layers.Rescaling(span.tolist(), low.tolist())(inputs)
    return keras.Model(inputs, model(scaled)), low, span


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
