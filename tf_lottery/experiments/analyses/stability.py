"""Stability: how far apart trainings of a ticket end."""

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
        "keeps: the ticket in two orders of the data (data order), and the "
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

    uses, few = ("seed",), True

    def trainings(self, item):
        """The dense network, and two orders of ticket and of random masks."""
        seed = self.options.seed
        return [trainings.Training(item[0], 0)] + [
            trainings.Training(*item, masks, order,
                               seed if masks == "random" else 0)
            for masks in _MASKS for order in (0, 1 + seed)
        ]

    def measure(self, item):
        dense, *rest = self.trainings(item)
        kept = self.session.trainings
        whole, row = kept.weights(dense), {}
        for masks, (one, other) in zip(_MASKS, (rest[:2], rest[2:])):
            ends = kept.weights(one), kept.weights(other)
            chosen = kept.masks(one)
            pairs = {"order": ends, "pruning": (whole, ends[0])}
            for what, (a, b) in pairs.items():
                found = stability(a, b, chosen)
                row[f"{what}_l2_{masks}"] = found.distance
                row[f"{what}_angle_{masks}"] = found.angle
            row[f"test_accuracy_{masks}"] = kept.accuracy(one)
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
            "One pair of data orders and one random mask for each ticket; "
            "the paper's are means of 18 and 3."
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
