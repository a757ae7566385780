"""Claims: a paper's numbers next to those of a run."""

import dataclasses

from tf_lottery.analysis.curves import TICKETS


@dataclasses.dataclass(frozen=True)
class Claim:
    """One number of a paper, and the same of a run.

    Attributes:
        what: String.
        density: Float, where it is measured.
        paper: String.
        ours: String; says why where there is none.
        source: String, an address.
        recollected: Boolean, whether the paper's number was read in
            quotations of it only.
    """

    what: str
    density: float
    paper: str
    ours: str
    source: str
    recollected: bool = False


def compare(published, found):
    """Puts a run's numbers beside the paper's.

    Accuracies are those at the early-stop step, as in the paper, but for the
    table of the stabilizing paper, which is of the end of training.

    Args:
        published: Dict, an entry of `published.PUBLISHED`.
        found: What `curves` returned.

    Returns:
        List of `Claim`.
    """
    claims = _Claims(published, found)
    for number, density in published.get("densities", {}).items():
        claims.density(number, density)
    for name in (
        "early_stop", "gain", "matches_dense_down_to", "dense_accuracy",
    ):
        if name in published:
            getattr(claims, name)(published[name])
    if "stability" in published:
        claims.accuracies(published["stability"])
    return claims.found


class _Claims:
    def __init__(self, published, found):
        self.found = []
        self._published, self._curves = published, found

    def density(self, number, density):
        ours = self._densities().get(number)
        self._add(
            f"weights left after {number} rounds", density,
            f"{100 * density:.1f} %", ours and f"{100 * ours:.1f} %",
            "densities",
        )

    def early_stop(self, numbers):
        at = numbers["density"]
        dense, ticket = self._pair("early_stop_step", at)
        reinit = self._at("random_reinitialize", "early_stop_step", at)
        part = "early_stop"
        if "earlier" in numbers:
            self._add(
                "ticket stops earlier than the dense network", at,
                f"{100 * numbers['earlier']:.0f} % earlier",
                dense and ticket and _earlier(ticket / dense), part,
            )
        if "speedup" in numbers:
            self._add(
                "ticket stops earlier than the dense network", at,
                f"{numbers['speedup']:.1f} times faster",
                dense and ticket and f"{dense / ticket:.2f} times faster",
                part,
            )
        if "faster_than_reinit" in numbers:
            self._add(
                "ticket stops earlier than its random re-initialisation", at,
                f"{numbers['faster_than_reinit']:.2f} times faster",
                reinit and ticket and f"{reinit / ticket:.2f} times faster",
                part,
            )
        if "gain_over_reinit" in numbers:
            self._add(
                "ticket's accuracy over its random re-initialisation", at,
                _points(numbers["gain_over_reinit"]),
                _difference(
                    self._pair("early_stop_test_accuracy", at)[1],
                    self._at("random_reinitialize",
                             "early_stop_test_accuracy", at),
                ),
                part,
            )

    def gain(self, numbers):
        dense, ticket = self._pair(
            "early_stop_test_accuracy", numbers["density"]
        )
        self._add(
            "ticket's accuracy over the dense network", numbers["density"],
            _points(numbers["accuracy"]), _difference(ticket, dense), "gain",
        )

    def matches_dense_down_to(self, density):
        dense, ticket = self._pair("early_stop_test_accuracy", density)
        self._add(
            "ticket's accuracy is back at that of the dense network", density,
            _points(0.0), _difference(ticket, dense), "matches_dense_down_to",
        )

    def dense_accuracy(self, accuracy):
        dense = self._pair("test_accuracy", 1.0)[0]
        self._add(
            "accuracy at the end, dense network", 1.0,
            f"{100 * accuracy:.1f} %", dense and f"{100 * dense:.1f} %",
            "dense_accuracy",
        )

    def accuracies(self, table):
        at = table["density"]
        dense, ticket = self._pair("test_accuracy", at)
        ours = {
            "dense": dense,
            "ticket": ticket,
            "random_masks": self._at("random_masks", "test_accuracy", at),
        }
        names = {
            "dense": "dense network", "ticket": "ticket",
            "random_masks": "random masks",
        }
        for name, value in table["accuracy"].items():
            self._add(
                f"accuracy at the end, {names[name]}",
                1.0 if name == "dense" else at,
                f"{100 * value:.1f} %",
                ours[name] and f"{100 * ours[name]:.1f} %",
                "stability", table["source"],
            )

    def _add(self, what, density, paper, ours, part, source=None):
        self.found.append(
            Claim(
                what, density, paper, ours or "not measured",
                source or self._published["source"],
                part in self._published.get("recollected", ()),
            )
        )

    def _pair(self, metric, density):
        """What the dense network and the ticket have."""
        found = self._curves[TICKETS].get(metric)
        if found is None or found.rounds[0] != 0:
            return None, None
        return found.means[0], found.at(density)

    def _at(self, series, metric, density):
        found = self._curves.get(series, {}).get(metric)
        return None if found is None else found.at(density)

    def _densities(self):
        metrics = self._curves[TICKETS].values()
        longest = max(metrics, key=lambda curve: len(curve.rounds))
        return dict(zip(longest.rounds, longest.densities))


def _earlier(ratio):
    word = "earlier" if ratio <= 1 else "later"
    return f"{100 * abs(1 - ratio):.0f} % {word}"


def _points(difference):
    return f"{100 * difference:+.1f} points"


def _difference(value, reference):
    if value is None or reference is None:
        return None
    return f"{100 * (value - reference):+.2f} points"
