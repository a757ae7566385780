"""Values of rounds against density, with bands over trials."""

import collections
import dataclasses
import statistics

from tf_lottery.verdicts import significance

_DASH = "–"


@dataclasses.dataclass(frozen=True)
class Column:
    """One value of each row, as people read it: its head, key and form."""

    name: str
    key: str
    scale: float = 1.0
    form: str = "{:.2f}"

    def values(self, rows):
        found = (row.get(self.key) for row in rows)
        return [
            self.scale * value for value in found
            if value is not None and value == value
        ]

    def cell(self, rows):
        """Returns the mean over rows as text, with its least and greatest."""
        values = self.values(rows)
        if not values:
            return _DASH
        mean, low, high = map(
            self.form.format,
            (statistics.fmean(values), min(values), max(values)),
        )
        return mean if low == high else f"{mean} ({low}{_DASH}{high})"


def by_round(rows):
    """Returns rows by their round, as a dict in the order of the rounds."""
    found = collections.defaultdict(list)
    for row in rows:
        found[row["round"]].append(row)
    return dict(sorted(found.items()))


def records(rows, column):
    """Returns a column as the records of a line against density."""
    found = []
    for same in by_round(rows).values():
        # Means of equal densities may differ in the last digit.
        density = round(
            100 * statistics.fmean(row["density"] for row in same), 9
        )
        counts = collections.Counter()
        for row in same:
            for value in column.values([row]):
                trial = row.get("trial", 0)
                found.append({
                    "series": column.name,
                    "trial": f"{trial}.{counts[trial]}",
                    "x": density,
                    "y": value,
                })
                counts[trial] += 1
    return found


def with_intervals(records):
    """Returns records whose places have a 90 % interval over trials.

    Of several trainings of one trial the mean counts. Of two trials it is
    their range, and of one there is none.
    """
    places = collections.defaultdict(list)
    for record in records:
        place = (record["series"], record["x"], record.get("choice"))
        places[place].append(dict(record))
    for found in places.values():
        trials = collections.defaultdict(list)
        for record in found:
            trials[record["trial"].partition(".")[0]].append(record["y"])
        means = [statistics.fmean(values) for values in trials.values()]
        if len(means) > 2:
            of_mean = significance.test(means, None)
            found[0].update(low=of_mean.low, high=of_mean.high)
        elif len(means) == 2:
            # A t-interval of two says next to nothing.
            found[0].update(low=min(means), high=max(means))
    return [record for found in places.values() for record in found]


def table(rows, columns):
    """Returns heads and rows of a table with a row for each round."""
    density = Column("density %", "density", 100)
    cells = [
        [str(number), density.form.format(
            statistics.fmean(density.values(found))
        )]
        + [column.cell(found) for column in columns]
        for number, found in by_round(rows).items()
    ]
    heads = ["round", density.name, *(column.name for column in columns)]
    return heads, cells
