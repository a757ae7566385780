"""Budgets: the smallest ratio that meets one."""

from collections.abc import Mapping

from tf_lottery import graph as graph_lib
from tf_lottery.structured import latency
from tf_lottery.structured import plans
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils import companion

_LARGEST = 0.999
_STEPS = 24
_MEASUREMENTS = 7


def chosen(**budgets):
    """Returns the one budget that is given, by name and value.

    Raises:
        ValueError: If none or several are given, or the value is invalid.
    """
    given = {k: v for k, v in budgets.items() if v is not None}
    if len(given) != 1:
        raise ValueError(
            f"Exactly one of {', '.join(budgets)} must be given. "
            f"Received: {given or 'none'}"
        )
    ((name, value),) = given.items()
    if name == "ratio":
        check_ratio(name, value, "a float in [0, 1)", lambda v: 0 <= v < 1)
    else:
        checks.positive(name, value)
    return name, value


def check_ratio(name, value, expected, fits):
    """Refuses anything but a number that fits, or a dict of them by group."""
    if isinstance(value, Mapping) and not value:
        checks.refuse(name, value, f"{expected}, or a dict that is not empty")
    for number in value.values() if isinstance(value, Mapping) else [value]:
        checks.number(name, number, f"{expected}, or a dict of them", fits)


def ratio_for(name, value, chooser, costs):
    """Returns the smallest ratio at which a budget is met.

    Raises:
        ValueError: If the budget cannot be met.
    """
    whole = costs.count(chooser.kept(0.0))[name]
    target = value * whole if value <= 1 else value

    def cost(ratio):
        return costs.count(chooser.kept(ratio))[name]

    if cost(_LARGEST) > target:
        raise ValueError(
            f"Argument `{name}` cannot be met: with one unit, or `round_to` "
            f"units, in every layer the model still has {cost(_LARGEST):,}. "
            f"Received: {name}={value}, that is {target:,.0f} of {whole:,}."
        )
    return _bisect(lambda ratio: cost(ratio) <= target, _STEPS)


def ratio_for_latency(value, kept, graph, inputs=None):
    """Returns the ratio that meets a latency, and both models' milliseconds.

    Small models with the weights cut but nothing proved are converted to
    TFLite and measured in turns with the whole model; under another backend
    than TensorFlow that is done elsewhere, on a model of the same shapes.

    Raises:
        ValueError: If the budget cannot be met.
    """
    if not backends.is_tensorflow():
        return companion.ask(
            _ratio_elsewhere, value, companion.Here(kept), graph.model, inputs
        )
    whole = latency.interpreter_of(graph, kept(0.0), inputs)
    measured = {}

    def measure(ratio):
        small = latency.interpreter_of(graph, kept(ratio), inputs)
        measured[ratio] = latency.compare([small, whole])
        return measured[ratio][0] <= value

    if measure(0.0):
        return 0.0, *measured[0.0]
    if not measure(_LARGEST):
        raise ValueError(
            "Argument `latency_ms` cannot be met: with one unit, or "
            "`round_to` units, in every layer the model takes "
            f"{measured[_LARGEST][0]:.3g} ms, the whole one "
            f"{measured[_LARGEST][1]:.3g} ms. Received: latency_ms={value}."
        )
    ratio = _bisect(measure, _MEASUREMENTS)
    if ratio not in measured:
        measure(ratio)
    return ratio, *measured[ratio]


def _ratio_elsewhere(value, kept, model, inputs):
    return ratio_for_latency(value, kept, graph_lib.trace(model), inputs)


def plan_within(
    name, value, chooser, costs, arguments, frozen, inputs=None
):
    """Returns the `Plan` that meets a budget with the least removed."""
    graph, reached = chooser.graph, {}
    if name == "ratio":
        ratio = value
    elif name == "latency_ms":
        ratio, small, whole = ratio_for_latency(
            value, chooser.kept, graph, inputs
        )
        reached = {"latency_ms": small, "whole_latency_ms": whole}
    else:
        ratio = ratio_for(name, value, chooser, costs)
    kept = chooser.kept(ratio)
    before, after = costs.count(graph.kept()), costs.count(kept)
    if reached:
        before["latency_ms"] = reached.pop("whole_latency_ms")
        after |= reached
    arguments = arguments | {name: value, "reached_ratio": ratio}
    return plans.plan_of(graph, kept, before, after, arguments, frozen)


def _bisect(is_met, steps):
    """The smallest ratio found where `is_met`, which larger ones meet."""
    if is_met(0.0):
        return 0.0
    low, high = 0.0, _LARGEST
    for _ in range(steps):
        middle = (low + high) / 2
        if is_met(middle):
            high = middle
        else:
            low = middle
    return high
