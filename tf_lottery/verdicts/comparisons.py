"""Comparisons: the names of everything a ticket is compared with."""

import dataclasses
import re

# Not a comparison: the ticket of a round that was shorter than the dense one.
FULL_LENGTH = "full_length"
EQUAL_COMPUTE = "equal_compute"
_POINT = "rewind_to_"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One kind of training that tickets are compared with.

    It has a name in files and tables (`key`), on the command line and in
    presets (`flag`), and in text and legends (`label`). If `sampled` it has
    several seeds, a spread to judge by. It trains `from_start`, or from the
    rewinding point on; `rewind` is the argument of `IterativeMagnitudePruning`
    whose sequence of rounds it is, `None` where each ticket has its own.
    """

    key: str
    flag: str
    label: str
    sampled: bool = False
    from_start: bool = False
    rewind: str | None = None


COMPARISONS = {
    comparison.key: comparison
    for comparison in (
        Comparison(
            "random_reinitialize", "random-reinit", "random re-init",
            sampled=True, from_start=True,
        ),
        Comparison(
            "random_masks", "random-mask", "random masks", sampled=True
        ),
        Comparison(
            "signed_reinitialize", "signed-reinit", "signed re-init",
            sampled=True, from_start=True,
        ),
        Comparison(
            "reshuffle", "reshuffle", "reshuffled values", sampled=True
        ),
        Comparison("constant", "constant", "constant magnitudes"),
        Comparison("invert", "invert", "inverted masks"),
        Comparison("snip", "snip", "SNIP"),
        Comparison("synflow", "synflow", "SynFlow"),
        Comparison("one_shot", "one-shot", "one-shot"),
        Comparison(
            "equal_parameters", "equal-parameters", "dense, equal parameters",
            from_start=True,
        ),
        Comparison(
            EQUAL_COMPUTE, "equal-compute", "dense, equal compute",
            from_start=True,
        ),
        Comparison("fine_tune", "fine-tune", "fine-tune", rewind="none"),
        Comparison(
            "lr_rewind", "lr-rewind", "lr-rewind", rewind="learning_rate"
        ),
    )
}
FLAGS = tuple(comparison.flag for comparison in COMPARISONS.values())


def of_flags(flags):
    """Returns comparisons in the order of the table."""
    return [each for each in COMPARISONS.values() if each.flag in flags]


def of_point(step):
    """Returns the key of the rounds rewound to another step."""
    return f"{_POINT}{step}"


def label(key):
    """Returns the name of a comparison, or a series, in text and legends.

    >>> label("random_reinitialize"), label("rewind_to_500")
    ('random re-init', 'rewound to step 500')
    """
    if key.startswith(_POINT):
        return f"rewound to step {key.removeprefix(_POINT)}"
    known = COMPARISONS.get(key)
    return known.label if known else key.replace("_", " ")


def head(key):
    """Returns the label in two lines, for the head of a narrow column.

    >>> head("random_masks"), head("one_shot"), head("rewind_to_500")
    ('random\\nmasks', 'one-\\nshot', 'rewind\\nto 500')
    """
    if key.startswith(_POINT):
        return f"rewind\nto {key.removeprefix(_POINT)}"
    return re.sub(" |(?<=-)", "\n", label(key), count=1)
