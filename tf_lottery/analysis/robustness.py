"""Adversarial robustness: accuracy on inputs that were changed to mislead."""

import dataclasses
from collections.abc import Iterable
from typing import Any
from typing import Literal

import keras
import numpy as np

from tf_lottery.analysis import attacks
from tf_lottery.analysis import evaluating
from tf_lottery.analysis import preserving
from tf_lottery.report import charts
from tf_lottery.utils import checks
from tf_lottery.utils import types

ATTACKS = ("fgsm", "pgd")


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Clean accuracy, and accuracy under attack.

    Attributes:
        attack: `"fgsm"` or `"pgd"`.
        norm: `"linf"` or `"l2"`.
        clean_accuracy: Float.
        accuracies: Dict from epsilon to the accuracy under attack.
        examples: Integer.
    """

    attack: str
    norm: str
    clean_accuracy: float
    accuracies: dict[float, float]
    examples: int

    def chart(self) -> dict[str, Any]:
        points = {0.0: self.clean_accuracy, **self.accuracies}
        return charts.lines(
            "Adversarial robustness",
            f"epsilon ({self.norm})",
            "accuracy (%)",
            [
                {"series": self.attack, "x": epsilon, "y": 100 * accuracy}
                for epsilon, accuracy in sorted(points.items())
            ],
            reference=("clean", 100 * self.clean_accuracy),
        )


def robustness(
    model: keras.Model,
    data: types.Data,
    epsilons: float | Iterable[float],
    attack: Literal["fgsm", "pgd"] = "fgsm",
    steps: int = 10,
    step_size: float | None = None,
    norm: Literal["linf", "l2"] = "linf",
    clip: tuple[Any, Any] | None = None,
    seed: int | None = 0,
    loss: types.Loss | None = None,
    batch_size: int = 512,
) -> Robustness:
    """Measures the accuracy of a model under a white-box attack.

    FGSM takes one step of size epsilon up the loss, PGD several smaller ones
    from a random start, each followed by a projection into the ball. PGD is
    the stronger attack: if its accuracies are not the lower ones (except an
    example or two), or do not fall towards zero for a large epsilon,
    gradients are masked and neither says anything.

    References: Goodfellow, Shlens and Szegedy 2015,
    https://arxiv.org/abs/1412.6572 (FGSM); Madry et al. 2018,
    https://arxiv.org/abs/1706.06083 (PGD).

    Args:
        model: A built `keras.Model` of one output; it is left as it is.
        data: Arrays `(x, y)`, a batched `tf.data.Dataset` or a
            `keras.utils.PyDataset`. Only floating inputs are attacked.
        epsilons: Float or iterable of floats, the radii of the ball, in
            units of the inputs as the model gets them.
        attack: `"fgsm"` or `"pgd"`. Defaults to `"fgsm"`.
        steps: Integer, the number of steps of PGD. Defaults to 10.
        step_size: Float, the length of a step of PGD. Defaults to
            `2.5 * epsilon / steps`.
        norm: `"linf"` or `"l2"`, for each example and input. Defaults to
            `"linf"`.
        clip: Pair `(low, high)` of the range of the data, numbers or arrays
            that broadcast to an example. Defaults to `None`: any value.
        seed: Integer, seed of the random start of PGD; `None` starts at the
            inputs themselves. Defaults to 0.
        loss: Loss function or its name. Defaults to the compiled one.
        batch_size: Integer, for data that are arrays. Defaults to 512.

    Raises:
        ValueError: If an argument is invalid, there is no loss, the labels
            are no classes, or no input is floating.

    Example:

    >>> import keras, numpy as np
    >>> model = keras.Sequential([
    ...     keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    >>> model.set_weights([np.ones((1, 1))])
    >>> x = np.array([[0.1], [0.3], [-0.3]], "float32")
    >>> loss = keras.losses.BinaryCrossentropy(from_logits=True)
    >>> found = robustness(model, (x, np.array([1, 1, 0])), [0.2], loss=loss)
    >>> found.clean_accuracy, round(found.accuracies[0.2], 3)
    (1.0, 0.667)
    """
    radii = _check(
        model, epsilons, attack, steps, step_size, norm, clip, seed
    )
    with preserving.preserved(model):
        gradients = attacks.gradients_of(model, loss)
        evaluate = evaluating.Evaluator(model, loss, batch_size, "robustness")
        clean = evaluating.check_classes(evaluate(data), "robustness")
        found = {}
        if attack == "fgsm":
            steps, seed = 1, None
        for epsilon in radii:
            length = step_size or 2.5 * epsilon / steps
            if attack == "fgsm":
                length = epsilon

            def change(x, y, number, epsilon=epsilon, length=length):
                rng = None
                if seed is not None:
                    rng = np.random.default_rng((seed, number))
                return attacks.pgd(
                    gradients, x, y, epsilon, steps, length, norm, clip, rng
                )

            found[epsilon] = evaluate(data, change).accuracy
    return Robustness(attack, norm, clean.accuracy, found, clean.examples)


def _check(model, epsilons, attack, steps, step_size, norm, clip, seed):
    """Returns the epsilons as a list; raises if an argument is invalid."""
    checks.choice("attack", attack, ATTACKS)
    checks.choice("norm", norm, attacks.NORMS)
    checks.whole("steps", steps)
    checks.optional(checks.positive, "step_size", step_size)
    checks.optional(checks.seed, "seed", seed)
    if clip is not None and not _is_range(clip, model):
        checks.refuse("clip", clip, "a pair of the least and greatest value")
    epsilons = [epsilons] if checks.is_number(epsilons) else epsilons
    if not isinstance(epsilons, Iterable) or not list(epsilons):
        checks.refuse("epsilons", epsilons, "numbers of at least 0")
    for epsilon in epsilons:
        checks.not_negative("epsilons", epsilon)
    return [float(epsilon) for epsilon in epsilons]


def _is_range(clip, model):
    if not isinstance(clip, (tuple, list, np.ndarray)) or len(clip) != 2:
        return False
    low, high = map(np.asarray, clip)
    example = getattr(model, "input_shape", None) or ()
    most = len(example) - 1 if isinstance(example, tuple) else 0
    return (
        low.dtype.kind in "buif" and high.dtype.kind in "buif"
        and bool(np.all(low <= high))
        and (not most or max(low.ndim, high.ndim) <= most)
    )
