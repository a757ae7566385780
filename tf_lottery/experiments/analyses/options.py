"""Options: what a user may choose about an analysis."""

import dataclasses

from tf_lottery.experiments import durations
from tf_lottery.utils import checks

_LEAST = {"points": 2, "epochs": 1, "orders": 2, "masks": 1, "seed": 0}


@dataclasses.dataclass(frozen=True)
class Options:
    """What is analysed, and how closely.

    Args:
        rounds: Tuple of integers, or `None` for those of the kind.
        samples: Integer, examples of each part of the data, or `None`.
        epsilons: Tuple of floats, radii of an attack in units of the range
            of the pixels; `None` for those usual for the data.
        points: Integer, points on the line between two networks.
        epochs: Integer, epochs of the training on random labels.
        orders: Integer, orders of the data, each compared with each.
        masks: Integer, random masks next to a ticket.
        seed: Integer, of all that is random in an analysis.
        budget: String such as `"10m"`; rounds that do not fit are left out.
    """

    rounds: tuple | None = None
    samples: int | None = None
    epsilons: tuple | None = None
    points: int = 30
    epochs: int = 20
    orders: int = 2
    masks: int = 1
    seed: int = 0
    budget: str = ""

    def __post_init__(self):
        if self.rounds is not None and not self.rounds:
            checks.refuse("rounds", self.rounds, "one round or more")
        for round_ in self.rounds or ():
            checks.whole("rounds", round_, 0)
        checks.optional(checks.whole, "samples", self.samples)
        for name, least in _LEAST.items():
            checks.whole(name, getattr(self, name), least)
        if self.epsilons is not None and not (
            self.epsilons and all(0 < e <= 1 for e in self.epsilons)
        ):
            checks.refuse(
                "epsilons", self.epsilons, "one or more numbers above 0 and "
                "at most 1, in units of the range of the pixels",
            )
        if self.budget:
            durations.parse(self.budget, "budget")

    @property
    def data_orders(self):
        """List of integers, the orders of the data; 0 is the run's."""
        return [0, *range(1 + self.seed, self.orders + self.seed)]

    @property
    def seconds(self):
        """Float, the budget in seconds; infinite without one."""
        if not self.budget:
            return float("inf")
        return durations.parse(self.budget, "budget")
