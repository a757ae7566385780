"""What a run leaves on disk, in bytes per weight and round.

    python -m tests.benchmarks.disk [--quick] [--json PATH]

LeNet-300-100 with Adam, one step a round: the size of a run directory does
not depend on how long is trained. open_lth writes 20 bytes per weight and
round (two models, a checkpoint, masks of integers); its figure was measured
once with version 2ce732f and is quoted here.
"""

import pathlib
import tempfile

import tf_lottery as tfl
from tests.benchmarks import harness
from tests.benchmarks import models

_OPEN_LTH = 20.0


def main():
    args = harness.parser(__doc__).parse_args()
    rounds = 3 if args.quick else 16
    weights, first, whole = run(rounds)
    later = (whole - first) / rounds
    harness.report(
        f"Disk, {rounds} rounds after the dense one, {weights:,} weights",
        [
            harness.Row(
                "each further round", later / weights, 0.2, "B/weight",
                f"{later:,.0f} bytes; a packed mask is 0.125",
            ),
            harness.Row(
                "snapshot, first masks, configuration", first / weights,
                None, "B/weight", f"{first:,} bytes, once",
            ),
            harness.Row(
                "whole run / (rounds x weights)",
                whole / (rounds + 1) / weights, _OPEN_LTH / 3, "B/weight",
                f"open_lth, quoted: {_OPEN_LTH:g}",
            ),
        ],
        args.json,
    )


def run(rounds):
    """Returns the number of weights, and bytes after round 0 and the last."""
    model = models.lenet()
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = models.random_data((784,), 8)
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "run")
        imp = tfl.IterativeMagnitudePruning(
            rounds=rounds, epochs_per_round=1, monitor="loss",
            directory=path, verbose=0,
        )
        model.fit(x, y, epochs=imp.epochs, callbacks=[imp], verbose=0)
        later = [p for p in path.glob("rounds/*") if p.name != "00"]
        whole = _size(path)
        first = whole - sum(map(_size, later))
    return sum(d.size for d in imp.ticket(0).masks.values()), first, whole


def _size(path):
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


if __name__ == "__main__":
    main()
