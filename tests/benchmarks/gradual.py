"""What gradual pruning costs: `fit` to 90 % against dense `fit`, CPU time.

    python -m tests.benchmarks.gradual [--quick] [--json PATH]

LeNet-300-100 on 784 inputs, Adam, batch 128, 4 epochs of 200 steps: building
the model, compiling, tracing and `fit`, for each variant in turn, in a process
of its own for each tool, beside dense training there (`dense again` is noise).
`GradualPruning` removes 90 % of the kernels by the end of the third epoch.
PQuantML, without quantisation, prunes in the middle two, between one epoch of
training before and one of fine-tuning: by PDP, which ranks all weights in each
step, and by Wanda, which prunes once.
"""

from tests.benchmarks import harness
from tests.benchmarks import peers

_TARGET = 1.05


def main():
    args = harness.parser(__doc__).parse_args()
    harness.report(
        "Gradual pruning to 90 %, CPU time", rows(args.quick), args.json
    )


def rows(quick, with_peer=True):
    """Returns the rows of tf_lottery, and of PQuantML."""
    found = _rows(peers.run(None, "gradual_child", 2 if quick else 8), _TARGET)
    if not with_peer:
        return found
    reason = peers.why_not("pquant")
    if reason:
        return [*found, harness.Row("PQuantML", "skipped", note=reason)]
    # PDP takes minutes.
    theirs = peers.run("pquant", "pquant_peer", 1 if quick else 3)
    return found + _rows(theirs)


def _rows(found, target=None):
    times, rows = found["times"], []
    for name, density in found["densities"].items():
        rows += [
            harness.ratio_row(times, name, "dense", target, f"{name} / dense"),
            harness.Row(f"{name}: density of the kernels", density,
                        note="asked for: 0.1"),
        ]
    again = harness.ratio_row(times, "dense again", "dense")
    return [*rows, again]


if __name__ == "__main__":
    main()
