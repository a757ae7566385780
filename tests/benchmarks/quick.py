"""A few ratios in three minutes, to see a slowdown before it is merged.

    python -m tests.benchmarks quick --check [--json PATH]

Parts of `held`, `gradual`, `global_selection`, `criteria` and `structured`.
"""

import functools

from tests.benchmarks import criteria
from tests.benchmarks import global_selection
from tests.benchmarks import gradual
from tests.benchmarks import harness
from tests.benchmarks import held
from tests.benchmarks import structured


def main():
    args = harness.parser(__doc__).parse_args()
    rows = []
    for part in (
        functools.partial(held.lenet, True, jits=(False,), with_ones=False),
        functools.partial(gradual.rows, True, with_peer=False),
        functools.partial(global_selection.halves, 5),
        functools.partial(global_selection.measure, 10_000_000, 24, 5),
        criteria.steps,
        lambda: structured._cost("MobileNetV2", 3),
    ):
        rows += part()
    harness.report(__doc__.splitlines()[0], rows, args.json)


if __name__ == "__main__":
    main()
