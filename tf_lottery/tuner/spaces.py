"""Spaces of a hyperparameter: one value, a range, or a choice."""

import numbers

import numpy as np

from tf_lottery.utils import checks
from tf_lottery.utils import configurations

# Before the name of each hyperparameter of a ticket, so that those of the
# user's own model may have any name.
PREFIX = "ticket/"
# These decide nothing before the end of the dense round.
AFTER_DENSE = tuple(
    PREFIX + name
    for name in ("rate", "rounds", "rewind_to", "criterion", "pattern")
)


class Space:
    """The values that one hyperparameter may take.

    A list, or a dict by name, is a choice; a tuple of two numbers a range, on
    a logarithmic scale if asked for; everything else one value.
    """

    def __init__(self, name, values, log=False):
        self.name, self._log = name, log
        self._range = self._names = None
        if isinstance(values, tuple):
            self._range = _checked_range(name, values)
            self.values = list(values)
        elif isinstance(values, (list, dict)):
            if not values:
                checks.refuse(name, values, "a choice that is not empty")
            if not isinstance(values, dict):
                values = {_key(value): value for value in values}
            self._names = values
            self.values = list(values.values())
        else:
            self.values = [values]

    @property
    def is_fixed(self):
        return self._range is None and self._names is None

    def get(self, hp):
        """Returns the value of a trial; `hp` gets to know the space."""
        name = PREFIX + self.name
        if self.is_fixed:
            return self.values[0]
        if self._range is None:
            if _are_numbers(self.values):
                return plain(hp.Choice(name, self.values))
            return self._names[hp.Choice(name, list(self._names))]
        low, high = self._range
        sampling = "log" if self._log else "linear"
        if all(isinstance(end, numbers.Integral) for end in self._range):
            return hp.Int(name, low, high, sampling=sampling)
        return plain(hp.Float(name, low, high, sampling=sampling))

    def describe(self):
        if self.is_fixed:
            return _key(self.values[0])
        if self._range is None:
            return list(self._names)
        return f"{self._range[0]:g}:{self._range[1]:g}"


def plain(value):
    """Returns a value as a search on several machines hands it on.

    Its floats have 32 bits; the shortest decimal number is the same anywhere.
    """
    return float(str(np.float32(value))) if isinstance(value, float) else value


def dense_values(hp):
    """Returns the hyperparameters that the dense round depends on."""
    return {
        name: plain(value) for name, value in sorted(hp.values.items())
        if name not in AFTER_DENSE and not name.startswith("tuner/")
    }


def seed(values):
    """Returns the seed that follows from plain values; below 2 ** 31."""
    return int(configurations.digest(values), 16) % 2**31


def _checked_range(name, values):
    ordered = (
        len(values) == 2
        and all(isinstance(v, numbers.Real) for v in values)
        and values[0] < values[1]
    )
    if not ordered:
        checks.refuse(
            name, values, "one value, a list to choose from, or a range as a "
            "tuple (low, high)",
        )
    return values


def _are_numbers(values):
    return all(type(v) is int for v in values) or all(
        type(v) is float for v in values
    )


def _key(value):
    if isinstance(value, (str, int, float)):
        return str(value)
    return str(getattr(value, "name", None) or value)
