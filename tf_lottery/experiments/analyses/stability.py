"""Stability: how far apart trainings of a ticket end."""

import itertools
import statistics

from tf_lottery.analysis import bands
from tf_lottery.analysis.stability import stability
from tf_lottery.experiments.analyses import kind
from tf_lottery.experiments.analyses import trainings

_WORDS = {"order": "data order", "pruning": "pruning"}
_MASKS = {"ticket": "tickets", "random": "random masks"}


class Analysis(kind.Kind):
    """The stability of a run's tickets to data order and to pruning."""

    name = "stability"
    title = "Stability to pruning and to data order"
    summary = (
        "How far apart two trainings end over the weights that the ticket "
        "keeps: the ticket in other orders of the data (data order), and the "
        "ticket and the dense network in the same order (pruning); next to "
        "them the same of random masks with the ticket's density in each "
        "layer."
    )
    least = 1
    columns = [
        bands.Column(f"{_WORDS[what]} {unit}, {masks}",
                     f"{what}_{key}_{masks}", form="{:.1f}")
        for what in _WORDS for key, unit in (("l2", "L2"), ("angle", "°"))
        for masks in _MASKS
    ]

    uses, few = ("seed", "orders", "masks"), True

    def trainings(self, item):
        """The dense network, and all orders of ticket and of random masks."""
        return [trainings.Training(item[0], 0), *(
            training for networks in self._networks(item).values()
            for orders in networks for training in orders
        )]

    def _networks(self, item):
        """Dict from kind of masks to lists of one network in all orders."""
        seeds = {
            "ticket": [0],
            "random": [
                self.options.seed + i for i in range(self.options.masks)
            ],
        }
        return {
            masks: [
                [trainings.Training(*item, masks, order, seed)
                 for order in self.options.data_orders]
                for seed in seeds[masks]
            ]
            for masks in _MASKS
        }

    def measure(self, item):
        kept, row = self.session.trainings, {}
        whole = kept.weights(trainings.Training(item[0], 0))
        for masks, networks in self._networks(item).items():
            found = {what: [] for what in _WORDS}
            for orders in networks:
                chosen = kept.masks(orders[0])
                ends = [kept.weights(training) for training in orders]
                found["pruning"].append(stability(whole, ends[0], chosen))
                found["order"] += [
                    stability(a, b, chosen)
                    for a, b in itertools.combinations(ends, 2)
                ]
            for what, between in found.items():
                for key, name in (("l2", "distance"), ("angle", "angle")):
                    row[f"{what}_{key}_{masks}"] = statistics.fmean(
                        getattr(each, name) for each in between
                    )
            row[f"test_accuracy_{masks}"] = statistics.fmean(
                kept.accuracy(orders[0]) for orders in networks
            )
        for what in _WORDS:
            ticket = row[f"{what}_l2_ticket"]
            random = row[f"{what}_l2_random"]
            row[f"{what}_ratio"] = random / ticket if ticket else None
        return [row]

    def charts(self):
        return {
            name: self.chart(f"Stability: {label}", *(
                bands.Column(f"{_WORDS[what]}, {masks}",
                             f"{what}_{key}_{masks}")
                for what in _WORDS for masks in _MASKS
            ), label=label)
            for name, key, label in (
                ("", "l2", "L2 distance"),
                ("angle", "angle", "angle (degrees)"),
            )
        }

    @property
    def compared(self):
        return _compared(self.subject.published.get("stability"), self.rows)

    def notes(self):
        yield (
            f"Means of {self.options.orders} data orders, each with each, and "
            f"of random masks: {self.options.masks} for each ticket; the "
            "paper's are means of 18 and 3."
        )


def _compared(published, rows):
    """The paper's distances next to those of the round of its density."""
    if not published:
        return []
    density = published["density"]
    near = [
        row for row in rows
        if abs(row["density"] - density) <= 0.05 * density
    ]

    def claim(what, paper, key, form):
        cell = bands.Column("", key, form=form)
        return {
            "what": what, "density": density, "paper": form.format(paper),
            "ours": cell.cell(near) if near else "not measured",
            "source": published["source"],
        }

    found = []
    for what, word in _WORDS.items():
        paper = published[f"{word.replace(' ', '_')}_l2"]
        ticket, random = paper["ticket"], paper["random_masks"]
        found += [
            claim(f"{word}, L2 distance, {_MASKS[masks]}", number,
                  f"{what}_l2_{masks}", "{:.1f}")
            for masks, number in (("ticket", ticket), ("random", random))
        ]
        found.append(claim(f"{word}, random masks over tickets",
                           random / ticket, f"{what}_ratio", "{:.1f}×"))
    return found
