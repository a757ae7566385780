"""Stability: how far apart trainings of a ticket end."""

from tf_lottery.analysis import bands
from tf_lottery.analysis.stability import stability
from tf_lottery.experiments.analyses import kind as kind_lib
from tf_lottery.experiments.analyses import trainings

_SUMMARY = (
    "How far apart two trainings end over the weights that the ticket keeps: "
    "the ticket in two orders of the data (data order), and the ticket and "
    "the dense network in the same order (pruning); beside them the same of "
    "random masks with the ticket's density in each layer."
)
_WORDS = {"order": "data order", "pruning": "pruning"}
_MASKS = {"ticket": "tickets", "random": "random masks"}


def find(session):
    """Returns stability to data order and to pruning."""
    subject, seed = session.subject, session.options.seed

    def needs(item):
        return _trainings(*item, seed), 0.0

    def measure(item):
        return [_stability(session, *item, seed)]

    default = default_rounds(subject)
    rows = session.measure(
        "stability", session.items(default, least=1), {"seed": seed}, needs,
        measure,
    )
    columns = [
        bands.Column(f"{_WORDS[what]} {unit}, {masks}",
                     f"{what}_{key}_{masks}", form="{:.1f}")
        for what in _WORDS for key, unit in (("l2", "L2"), ("angle", "°"))
        for masks in _MASKS
    ]
    return kind_lib.finding(
        session, KIND, _SUMMARY, rows, bands.table(rows, columns),
        {
            "": _stability_chart(rows, "l2", "L2 distance"),
            "angle": _stability_chart(rows, "angle", "angle (degrees)"),
        },
        compared=_compared(subject.published.get("stability"), rows),
        notes=[
            session.trained_again(),
            "One pair of data orders and one random mask for each ticket; "
            "the paper's are means of 18 and 3.",
        ],
        settings={"seed": seed},
    )


def _trainings(trial, number, seed):
    """The dense network, and two orders of ticket and of random masks."""
    found = [trainings.Training(trial, 0)]
    for masks in _MASKS:
        own = seed if masks == "random" else 0
        found += [
            trainings.Training(trial, number, masks, order, own)
            for order in (0, 1 + seed)
        ]
    return found


def _stability(session, trial, number, seed):
    dense, *rest = _trainings(trial, number, seed)
    kept = session.trainings
    whole = kept.weights(dense)
    row = {
        "trial": trial,
        "round": number,
        "density": session.subject.density(trial, number),
    }
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
    return row


def _stability_chart(rows, key, label):
    return bands.chart(
        f"Stability: {label}", label, rows,
        [
            bands.Column(f"{_WORDS[what]}, {masks}", f"{what}_{key}_{masks}")
            for what in _WORDS for masks in _MASKS
        ],
    )


def _compared(published, rows):
    """The paper's distances beside those of the round of its density."""
    if not published:
        return []
    density = published["density"]
    near = [
        row for row in rows
        if abs(row["density"] - density) <= 0.05 * density
    ]
    found = []
    for what, key in (("order", "data_order_l2"), ("pruning", "pruning_l2")):
        numbers = published[key]
        for masks, name in (("ticket", "ticket"), ("random", "random_masks")):
            cell = bands.Column("", f"{what}_l2_{masks}", form="{:.1f}")
            found.append({
                "what": f"{_WORDS[what]}, L2 distance, {_MASKS[masks]}",
                "density": density,
                "paper": f"{numbers[name]:.1f}",
                "ours": cell.cell(near) if near else "not measured",
                "source": published["source"],
            })
        ratio = bands.Column("", f"{what}_ratio", form="{:.1f}×")
        found.append({
            "what": f"{_WORDS[what]}, random masks over tickets",
            "density": density,
            "paper": f"{numbers['random_masks'] / numbers['ticket']:.1f}×",
            "ours": ratio.cell(near) if near else "not measured",
            "source": published["source"],
        })
    return found


def default_rounds(subject):
    """The round of the paper's density and the candidate tickets'."""
    found = set(subject.candidates)
    density = subject.published.get("stability", {}).get("density")
    results = max(subject.results.values(), key=len)
    if density:
        found |= {
            result.round for result in results
            if abs(result.density - density) <= 0.05 * density
        }
    return sorted(found - {0}) or subject.rounds[1:][-1:]


KIND = kind_lib.Kind(
    "stability",
    "Stability to pruning and to data order",
    find,
)
