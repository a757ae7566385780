"""Rules: what a verdict is measured by, fixed before a run."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

DENSITIES = (0.513, 0.211, 0.135, 0.036)


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is fixed before a run.

    An early stop that is later by the `interval` of evaluations counts as no
    later, an accuracy that is lower by the `margin` as no lower. Tickets are
    tested at four `densities` at most, on so many `images` and `classes`.
    """

    steps: int | None
    interval: int
    margin: float = 0.005
    densities: tuple[float, ...] = DENSITIES
    images: int | None = None
    classes: int | None = None

    @classmethod
    def of(cls, config: dict, **known: Any) -> "Rules":
        """Makes the rules of a configuration and of what is `known` besides."""
        return cls(
            config.get("iterations"),
            config.get("evaluate_every", 0),
            config.get("margin", cls.margin),
            tuple(config.get("test_densities", DENSITIES)),
            **known,
        )


def tested_rounds(
    densities: Mapping[int, float], wanted: Sequence[float]
) -> list[int]:
    """Returns the rounds nearest to wanted densities, each once.

    >>> tested_rounds({1: 0.8, 2: 0.64, 3: 0.51}, (0.513, 0.211))
    [3]
    """
    return sorted({
        min(densities, key=lambda number: abs(densities[number] - density))
        for density in wanted if densities
    })


def controlled_rounds(
    densities: Mapping[int, float], wanted: Sequence[float], every: int
) -> list[int]:
    """Returns the tested rounds, and every n-th besides (0 for none).

    >>> controlled_rounds({1: 0.8, 2: 0.64, 3: 0.51, 4: 0.41}, (0.513,), 2)
    [2, 3, 4]
    """
    return sorted({
        *tested_rounds(densities, wanted),
        *(number for number in densities if every and number % every == 0),
    })
