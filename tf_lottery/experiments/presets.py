"""Presets: one experiment as a frozen value."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_lottery import schedules
from tf_lottery.experiments import augmentation
from tf_lottery.experiments import durations
from tf_lottery.experiments import models
from tf_lottery.runs import rounds as rounds_lib
from tf_lottery.utils import checks
from tf_lottery.verdicts import comparisons
from tf_lottery.verdicts import rules

DECAYS = ("steps", "linear", "cosine")
REWINDS = ("weights", "learning_rate", "none")
_COUNTS = {
    "batch_size": 1, "iterations": 1, "evaluate_every": 1, "rounds": 1,
    "trials": 1, "image_size": 1, "control_trials": 0, "control_every": 0,
    "seed": 0,
}
_RATES = ("momentum", "weight_decay", "drop_by", "margin")
_TEXTS = ("name", "summary", "dataset", "criterion", "pattern")
_CHOICES = {
    "model": models.MODELS,
    "optimizer": ("adam", "sgd"),
    "scope": ("layer", "global"),
    "collapse": schedules.COLLAPSE,
    "decay": DECAYS,
    "rewind": REWINDS,
    "augment": augmentation.AUGMENTATIONS,
    "save_freq": ("round", "epoch"),
}


def _field(help, **kwargs):
    return dataclasses.field(metadata={"help": help}, **kwargs)


@dataclasses.dataclass(frozen=True)
class Preset:
    """One experiment, complete: the same preset gives the same run.

    Example:

    >>> preset = tfl.experiments.preset("lenet-digits", rounds=3)
    >>> preset.epochs_per_round
    60

    Raises:
        ValueError: If a value is invalid.
    """

    name: str
    summary: str
    dataset: str = _field("Data set, such as mnist or cifar10.")
    model: str = _field("Network, such as lenet_300_100 or resnet_20.",
                        default="lenet_300_100")
    optimizer: str = _field("Optimizer: adam or sgd.", default="adam")
    learning_rate: float = _field("Learning rate.", default=1.2e-3)
    momentum: float = _field("Momentum of sgd.", default=0.0)
    weight_decay: float = _field(
        "Factor of the L2 penalty that sgd adds to gradients.", default=0.0
    )
    decay: str = _field(
        "Learning rate: 'steps' (with --drops), 'linear' or 'cosine'.",
        default="steps",
    )
    drops: tuple = _field(
        "Where the learning rate drops, as fractions of a round or steps: "
        "'0.5,0.75' or '20000it'.", default=(),
    )
    drop_by: float = _field("Factor of the learning rate at a drop.",
                            default=0.1)
    warmup: str | int | float = _field(
        "Length of a linear warm-up: 0, '10000it' or a fraction of a round.",
        default=0,
    )
    augment: str = _field("Augmentation: none or crop-flip.", default="none")
    image_size: int = _field("Height and width of images that are streamed.",
                             default=224)
    batch_size: int = _field("Images in a batch.", default=60)
    iterations: int = _field("Training steps of a round.", default=50_000)
    evaluate_every: int = _field("Steps between evaluations.", default=100)
    rounds: int = _field("Number of times to prune.", default=16)
    middle_rounds: float = _field(
        "Length of the rounds between the first and the last, as a part of "
        "--iterations; tickets that are tested then train at full length "
        "once more.",
        default=1.0,
    )
    rate: dict = _field(
        "Fraction of the surviving weights that a round removes, by layer: "
        "'*=0.2,logits=0.1'.",
        default_factory=lambda: {"*": 0.2, "logits": 0.1},
    )
    scope: str = _field("Rank weights by 'layer' or 'global'.",
                        default="layer")
    # As in the papers: layers keep one weight, and nothing else is spared.
    collapse: str = _field(
        "Layers that would lose everything: "
        f"{', '.join(schedules.COLLAPSE)}.",
        default="keep-one",
    )
    exclude: tuple = _field("Layers that are never pruned: 'conv1,logits'.",
                            default=())
    rewind_to: str | int | float = _field(
        "Rewinding point: 0, '500it', or a fraction of a round.", default=0
    )
    also_rewind_to: tuple = _field(
        "Other rewinding points, whose rounds share the dense round: "
        "'0,1000it'.", default=(),
    )
    criterion: str = _field(
        "Criterion by which weights are ranked, one that needs no data.",
        default="magnitude",
    )
    pattern: str = _field(
        "Pattern of the masks, such as unstructured, 2:4 or channel.",
        default="unstructured",
    )
    rewind: str = _field(
        f"What goes back between rounds: {', '.join(REWINDS)}.",
        default="weights",
    )
    tolerance: float | None = _field(
        "Stop after the first round whose validation accuracy is lower than "
        "the dense network's by more than this.",
        default=None,
    )
    max_barrier: float | None = _field(
        "Stop after the first round whose trained weights an error barrier "
        "higher than this parts from those of the round before, on the "
        "validation part; about 0.005 (arXiv 2210.03044).",
        default=None,
    )
    seed: int = _field("Seed of everything random.", default=0)
    trials: int = _field("Independent repetitions.", default=1)
    compare: tuple = _field(
        "What tickets are compared with: "
        f"{', '.join(comparisons.FLAGS)}.",
        default=("random-reinit", "random-mask"),
    )
    control_trials: int = _field(
        "Random controls of each kind for a ticket; 0 for none.", default=3
    )
    control_every: int = _field(
        "Controls for every n-th round besides those of --test-densities; 0 "
        "for none.", default=1
    )
    test_densities: tuple = _field(
        "Where the trials test for winning tickets, at most four densities: "
        "'0.513,0.211'.", default=rules.DENSITIES,
    )
    margin: float = _field(
        "By how much an accuracy may be lower and still count as no lower.",
        default=rules.Rules.margin,
    )
    save_freq: str = _field(
        "When the state of training is saved: at the end of every 'round', "
        "or at every evaluation ('epoch').", default="round",
    )
    compact: bool = _field(
        "Train what masks have left of the network alone, once that is "
        "faster; results differ by rounding.", default=False,
    )
    budget: str = _field(
        "Time, such as 10m or 2h, to which the protocol is shortened.",
        default="",
    )
    shortened: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name, least in _COUNTS.items():
            checks.whole(name, getattr(self, name), least)
        for name in _TEXTS:
            checks.text(name, getattr(self, name))
        for name, choices in _CHOICES.items():
            checks.choice(name, getattr(self, name), choices)
        _check_densities(self.test_densities)
        for name in _RATES:
            checks.number(
                name, getattr(self, name), "at least 0 and less than 1",
                lambda value: 0 <= value < 1,
            )
        self._check_names()
        for name in ("tolerance", "max_barrier"):
            checks.optional(checks.not_negative, name, getattr(self, name))
        checks.flag("compact", self.compact)
        for name in ("compare", "drops", "also_rewind_to"):
            checks.kind(name, getattr(self, name), (tuple, list), "a tuple")
        for name in self.compare:
            checks.choice("compare", name, comparisons.FLAGS)
        checks.names("exclude", self.exclude)
        checks.mapping("shortened", self.shortened, "name to value")
        checks.mapping("rate", self.rate, "layer pattern to fraction")
        schedules.validate_rate(self.rate)
        checks.positive("learning_rate", self.learning_rate)
        if self.optimizer == "adam" and (self.momentum or self.weight_decay):
            raise ValueError(
                "Arguments `momentum` and `weight_decay` need "
                f"optimizer='sgd'. Received: momentum={self.momentum}, "
                f"weight_decay={self.weight_decay}"
            )
        checks.kind("budget", self.budget, str, "a string such as '10m'")
        if self.budget:
            durations.parse(self.budget, "budget")
        self._check_whole("iterations", self.iterations)
        self._check_whole("rewind_to", self.rewind_step)
        for step in self.other_rewind_steps:
            self._check_whole("also_rewind_to", step)
        self._check_middle_rounds()
        self.drop_steps, self.warmup_steps

    def _check_names(self):
        # Both import Keras, which the presets of the catalogue do without.
        if self.criterion != "magnitude":
            from tf_lottery import criteria

            criteria.get(self.criterion)
        if self.pattern != "unstructured":
            from tf_lottery import patterns

            patterns.get_pattern(self.pattern)

    def _check_middle_rounds(self):
        shortest = min(self.round_lengths) * self.evaluate_every
        if self.middle_rounds == 1:
            return
        if self.rewind_step >= shortest:
            raise ValueError(
                "Argument `middle_rounds` must make rounds that end after "
                f"the rewinding point, step {self.rewind_step}. Received: "
                f"middle_rounds={self.middle_rounds!r}, rounds of {shortest} "
                "steps"
            )
        own = [*self.also_rewind_to, *(
            each.flag for each in comparisons.of_flags(self.compare)
            if each.rewind is not None
        )]
        if own:
            raise ValueError(
                "What has rounds of its own is compared with rounds of full "
                "length alone. Received: middle_rounds="
                f"{self.middle_rounds!r}, and {own}"
            )

    @property
    def epochs_per_round(self) -> int:
        """Integer, the epochs of `fit` in a round: it ends with each one."""
        return self.iterations // self.evaluate_every

    @property
    def round_lengths(self) -> tuple[int, ...]:
        """Tuple of integers, the epochs of `fit` at the end of each round."""
        return rounds_lib.lengths(
            self.rounds, self.epochs_per_round, self.middle_rounds
        )

    @property
    def rewind_step(self) -> int:
        """Integer, the step of the rewinding point."""
        return self._step(self.rewind_to, "rewind_to")

    @property
    def other_rewind_steps(self) -> list[int]:
        """List of integers, the steps of the other rewinding points."""
        return [
            self._step(point, "also_rewind_to")
            for point in self.also_rewind_to
        ]

    @property
    def warmup_steps(self) -> int:
        """Integer, the steps of the warm-up."""
        return self._step(self.warmup, "warmup")

    @property
    def drop_steps(self) -> list[int]:
        """List of integers, the steps at which the learning rate drops."""
        return [self._step(point, "drops") for point in self.drops]

    @property
    def steps_per_execution(self) -> int:
        """Integer, how many steps run without coming back to Python."""
        divisors = range(min(100, self.evaluate_every), 0, -1)
        return next(n for n in divisors if self.evaluate_every % n == 0)

    def to_dict(self) -> dict[str, Any]:
        """Returns the preset as a dict of plain values."""
        values = dataclasses.asdict(self)
        if not self.shortened:
            del values["shortened"]
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preset":
        """Makes a preset of what `to_dict` returned."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            # It follows from the others.
            if name != "changed"
        }
        return cls(**fields)

    def _step(self, point, name):
        return schedules.Point.parse(point, name).to_step(
            self.evaluate_every, self.epochs_per_round, name
        )

    def _check_whole(self, name, steps):
        every = self.evaluate_every
        if steps % every:
            nearest = max(1, round(steps / every)) * every
            raise ValueError(
                f"Argument `{name}` must be a multiple of evaluate_every="
                f"{every} steps. Received: {steps} steps. The nearest is "
                f"{nearest}."
            )


def _check_densities(values):
    known = isinstance(values, (tuple, list)) and len(values) <= 4 and all(
        checks.is_number(value) and 0 < value < 1 for value in values
    )
    if not known:
        checks.refuse(
            "test_densities", values, "at most four numbers between 0 and 1"
        )
