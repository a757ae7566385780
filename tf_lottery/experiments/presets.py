"""What to run: the protocols of the papers as frozen values."""

import dataclasses
import numbers

from tf_lottery import schedules

_OPTIMIZERS = ("adam", "sgd")
_COUNTS = (
    "batch_size", "iterations", "evaluate_every", "rounds", "trials",
)


def _field(help, **kwargs):
    return dataclasses.field(metadata={"help": help}, **kwargs)


@dataclasses.dataclass(frozen=True)
class Preset:
    """One experiment, complete: the same preset gives the same run.

    Example:

    >>> from tf_lottery import experiments
    >>> preset = experiments.preset("lenet-digits", rounds=3)
    >>> preset.epochs_per_round
    30

    Raises:
        ValueError: If a value is invalid.
    """

    name: str
    summary: str
    dataset: str
    model: str = "lenet_300_100"
    optimizer: str = _field("Optimizer: adam or sgd.", default="adam")
    learning_rate: float = _field("Learning rate.", default=1.2e-3)
    batch_size: int = _field("Images in a batch.", default=60)
    iterations: int = _field("Training steps of a round.", default=50_000)
    evaluate_every: int = _field("Steps between evaluations.", default=100)
    rounds: int = _field("Number of times to prune.", default=16)
    rate: dict = _field(
        "Fraction of the surviving weights that a round removes, by layer: "
        "'*=0.2,logits=0.1'.",
        default_factory=lambda: {"*": 0.2, "logits": 0.1},
    )
    scope: str = _field("Rank weights by 'layer' or 'global'.",
                        default="layer")
    rewind_to: str | int | float = _field(
        "Rewinding point: 0, '500it', or a fraction of a round.", default=0
    )
    seed: int = _field("Seed of everything random.", default=0)
    trials: int = _field("Independent repetitions.", default=1)
    control_trials: int = _field(
        "Random controls of each kind for a ticket; 0 for none.", default=3
    )
    control_every: int = _field(
        "Controls for every n-th round and the winning ticket.", default=1
    )

    def __post_init__(self):
        for name in _COUNTS:
            _check_at_least(1, name, getattr(self, name))
        _check_at_least(0, "seed", self.seed)
        _check_at_least(0, "control_trials", self.control_trials)
        _check_at_least(1, "control_every", self.control_every)
        _check_choice("optimizer", self.optimizer, _OPTIMIZERS)
        _check_choice("scope", self.scope, ("layer", "global"))
        schedules.validate_rate(self.rate)
        if not self.learning_rate > 0:
            raise ValueError(
                "Argument `learning_rate` must be greater than 0. "
                f"Received: learning_rate={self.learning_rate}"
            )
        self._check_whole("iterations", self.iterations)
        self._check_whole("rewind_to", self.rewind_step)

    @property
    def epochs_per_round(self):
        """Integer, the epochs of `fit` in a round: it ends with each one."""
        return self.iterations // self.evaluate_every

    @property
    def rewind_step(self):
        """Integer, the step of the rewinding point."""
        point = schedules.Point.parse(self.rewind_to)
        return point.to_step(self.evaluate_every, self.epochs_per_round)

    @property
    def total_epochs(self):
        """Integer, the epochs of all trainings, controls included."""
        first = self.epochs_per_round
        later = first - self.rewind_step // self.evaluate_every
        tickets = self.rounds // self.control_every
        controls = tickets * self.control_trials * (first + later)
        return self.trials * (first + self.rounds * later + controls)

    @property
    def steps_per_execution(self):
        """Integer, how many steps run without coming back to Python."""
        divisors = range(min(100, self.evaluate_every), 0, -1)
        return next(n for n in divisors if self.evaluate_every % n == 0)

    def to_dict(self):
        """Returns the preset as a dict of plain values."""
        return dataclasses.asdict(self)

    def _check_whole(self, name, steps):
        every = self.evaluate_every
        if steps % every:
            nearest = max(1, round(steps / every)) * every
            raise ValueError(
                f"Argument `{name}` must be a multiple of evaluate_every="
                f"{every} steps. Received: {steps} steps. The nearest is "
                f"{nearest}."
            )


def _check_at_least(least, name, value):
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}"
        )


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Argument `{name}` must be one of {list(choices)}. "
            f"Received: {name}={value!r}"
        )


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "lenet-digits",
            "LeNet-300-100 on 1,797 handwritten digits that come with "
            "tf_lottery; about a minute.",
            dataset="digits",
            batch_size=50,
            iterations=600,
            evaluate_every=20,
            rounds=15,
        ),
        Preset(
            "lenet-mnist",
            "LeNet-300-100 on MNIST, the protocol of arXiv 1803.03635; "
            "about an hour a trial, most of it for the controls.",
            dataset="mnist",
            control_every=4,
        ),
        Preset(
            "lenet-fashion",
            "LeNet-300-100 on Fashion-MNIST, otherwise as lenet-mnist.",
            dataset="fashion_mnist",
            control_every=4,
        ),
    )
}


def preset(name, **changes):
    """Returns the preset of that name.

    Args:
        name: String, one of `PRESETS`.
        **changes: Values of `Preset` to replace; `None` leaves one as it is.

    Returns:
        `Preset`.

    Raises:
        ValueError: If there is no such preset, or a value is invalid.
    """
    if name not in PRESETS:
        raise ValueError(
            f"There is no preset {name!r}. Expected one of: "
            f"{', '.join(PRESETS)}."
        )
    changes = {k: v for k, v in changes.items() if v is not None}
    return dataclasses.replace(PRESETS[name], **changes)
