"""Claims: a paper's numbers next to those of a run."""

from tf_lottery.analysis.curves import TICKETS


def compare(published, found):
    """Returns a run's numbers next to the paper's, see `tables.claims`.

    Accuracies are those at early stop, in the stabilizing paper at the end.
    """
    return [
        {
            "what": what,
            "density": density,
            "paper": paper,
            "ours": ours or "not measured",
            "source": (
                published["stability"] if part == "stability" else published
            )["source"],
            "recollected": part in published.get("recollected", ()),
        }
        for part, claims in _CLAIMS.items() if part in published
        for what, density, paper, ours in claims(published[part], found)
    ]


def _reached(curves, series, metric, density):
    """The mean that a series reached, `None` where it was not measured."""
    if series == "dense":
        found = curves[TICKETS].get(metric)
        has = found is not None and found.rounds[0] == 0
        return found.means[0] if has else None
    found = curves.get(series, {}).get(metric)
    return None if found is None else found.at(density)


def _densities(numbers, curves):
    longest = max(curves[TICKETS].values(), key=lambda each: len(each.rounds))
    ours = dict(zip(longest.rounds, longest.densities))
    for number, density in numbers.items():
        yield (
            f"weights left after {number} rounds", density, _percent(density),
            _percent(ours.get(number)),
        )


def _early_stop(numbers, curves):
    at = numbers["density"]
    dense, ticket, reinit = (
        _reached(curves, series, "early_stop_step", at) for series in _SERIES
    )
    earlier = "ticket stops earlier than the dense network"
    if "earlier" in numbers:
        yield earlier, at, _earlier(1 - numbers["earlier"]), (
            dense and ticket and _earlier(ticket / dense)
        )
    if "speedup" in numbers:
        yield earlier, at, f"{numbers['speedup']:.1f} times faster", (
            dense and ticket and f"{dense / ticket:.2f} times faster"
        )
    if "faster_than_reinit" in numbers:
        paper = numbers["faster_than_reinit"]
        yield (
            "ticket stops earlier than its random re-initialisation", at,
            f"{paper:.2f} times faster",
            reinit and ticket and f"{reinit / ticket:.2f} times faster",
        )
    if "gain_over_reinit" in numbers:
        yield (
            "ticket's accuracy over its random re-initialisation", at,
            _points(numbers["gain_over_reinit"]),
            _over(_SERIES[2], at, curves),
        )


def _gain(numbers, curves):
    at = numbers["density"]
    yield (
        "ticket's accuracy over the dense network", at,
        _points(numbers["accuracy"]), _over("dense", at, curves),
    )


def _matches(density, curves):
    yield (
        "ticket's accuracy is back at that of the dense network", density,
        _points(0.0), _over("dense", density, curves),
    )


def _dense_accuracy(accuracy, curves):
    yield (
        "accuracy at the end, dense network", 1.0, _percent(accuracy),
        _percent(_reached(curves, "dense", "test_accuracy", 1.0)),
    )


def _accuracies(table, curves):
    for name, series, what in (
        ("dense", "dense", "dense network"), ("ticket", TICKETS, "ticket"),
        ("random_masks", "random_masks", "random masks"),
    ):
        at = 1.0 if name == "dense" else table["density"]
        yield (
            f"accuracy at the end, {what}", at,
            _percent(table["accuracy"][name]),
            _percent(_reached(curves, series, "test_accuracy", at)),
        )


_SERIES = ("dense", TICKETS, "random_reinitialize")
_CLAIMS = {
    "densities": _densities,
    "early_stop": _early_stop,
    "gain": _gain,
    "matches_dense_down_to": _matches,
    "dense_accuracy": _dense_accuracy,
    "stability": _accuracies,
}


def _earlier(ratio):
    word = "earlier" if ratio <= 1 else "later"
    return f"{100 * abs(1 - ratio):.0f} % {word}"


def _percent(value):
    return value and f"{100 * value:.1f} %"


def _points(difference):
    return f"{100 * difference:+.1f} points"


def _over(series, density, curves):
    """How far tickets are above a series at early stop."""
    metric = "early_stop_test_accuracy"
    ticket = _reached(curves, TICKETS, metric, density)
    other = _reached(curves, series, metric, density)
    if None in (ticket, other):
        return None
    return f"{100 * (ticket - other):+.2f} points"
