"""Prices: what multiplications and bytes of each weight are counted as."""

import collections
import dataclasses


@dataclasses.dataclass(frozen=True)
class Prices:
    """What a model costs, as the sum of its weights.

    A weight costs what its multiplications do, or its bytes if that is more:
    processors compute while they read.

    Attributes:
        macs: Dict from weight key to the price of a multiplication.
        nbytes: Dict from weight key to the price of a byte.
    """

    macs: dict[str, float]
    nbytes: dict[str, float]

    def of(self, macs, nbytes):
        """Returns costs by weight key, from multiplications and bytes."""
        return {
            key: max(
                self.macs.get(key, 0) * macs.get(key, 0),
                self.nbytes.get(key, 0) * nbytes.get(key, 0),
            )
            for key in self.macs | self.nbytes
        }


def of_shares(shares, whole, sizes, macs, nbytes):
    """Returns the `Prices` that follow from the shares of a file's time.

    Operators are told by how many weights they have: their names in a file
    are those of layers with numbers that the converter gives out anew. Where
    several weights have one size, a multiplication of theirs has one price;
    where no operator has it, it has the mean price.

    Args:
        shares: List of `export.shares.Share`.
        whole: Float, what the file costs.
        sizes: Dict from weight key to how many weights it has.
        macs: Dict from weight key to its multiplications.
        nbytes: Dict from those that can be pruned to their bytes.
    """
    computes, reads, takes = (collections.Counter() for _ in range(3))
    for share in shares:
        computes[share.weights] += whole * share.computes
        reads[share.weights] += whole * share.reads
        takes[share.weights] += whole * max(share.computes, share.reads)

    def total(counts):
        found = collections.Counter()
        for key, count in counts.items():
            found[sizes.get(key)] += count
        return found

    worked, stored = total(macs), total(nbytes)
    known = sum(worked[size] for size in takes)
    mean = (
        sum(takes[size] for size in takes if worked[size]) / known
        if known else whole / max(1, sum(worked.values()))
    )
    priced = {
        key: reads[sizes.get(key)] / stored[sizes.get(key)]
        for key in nbytes if reads[sizes.get(key)] and nbytes[key]
    }
    return Prices({
        key: (computes if key in priced else takes)[size] / worked[size]
        if (size := sizes.get(key)) in takes else mean
        for key in macs if macs[key]
    }, priced)
