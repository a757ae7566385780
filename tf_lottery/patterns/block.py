"""Blocks of consecutive weights."""

import dataclasses
import re

from tf_lottery.patterns import grid
from tf_lottery.patterns import layouts as layouts_lib
from tf_lottery.patterns import units
from tf_lottery.utils import checks

_POOLS = ("mean", "max")


@dataclasses.dataclass(frozen=True)
class Block(units.UnitPattern):
    """Blocks of consecutive inputs x outputs are kept or pruned together.

    A block's score is the mean or the highest of its surviving weights'
    scores. The number of weights kept is the one nearest to what is asked,
    the smaller of two equally near. Where a weight's size does not divide,
    the blocks at its far edge are smaller.

    The string counts outputs first, as TFLite and its converter do:
    `"block:1x4"` is one output, 4 inputs: `block_size=(4, 1)` on the (in,
    out) kernel in the TensorFlow Model Optimization Toolkit, whose masks
    these are (`AVG` or `MAX`) where sizes divide. TFLite runs 1x4 (float)
    and 1x16 (int8) fast. See Gray et al., "GPU Kernels for Block-Sparse
    Weights", 2017.

    Args:
        inputs: Integer, consecutive entries of the reduction dimension.
            Defaults to `4`.
        outputs: Integer, consecutive entries of the output dimension.
            Defaults to `1`.
        pool: String, `"mean"` or `"max"`. Defaults to `"mean"`.

    Raises:
        ValueError: If a size is less than 1 or `pool` is unknown.

    Example:

    >>> kernel = np.array([[1., 5.], [2., 0.], [3., 0.], [4., 0.]])
    >>> kept = tfl.masks.select({"fc/kernel": kernel}, 4, pattern="block:1x2")
    >>> kept["fc/kernel"].astype(int).tolist()
    [[0, 1], [0, 1], [1, 0], [1, 0]]
    """

    inputs: int = 4
    outputs: int = 1
    pool: str = "mean"

    name = "block"
    forms = ("block", "block:1x4", "block:2x2:max")

    def __post_init__(self):
        checks.whole("inputs", self.inputs)
        checks.whole("outputs", self.outputs)
        checks.choice("pool", self.pool, _POOLS)

    @property
    def spec(self) -> str:
        """String such as `"block:1x4"` or `"block:2x2:max"`."""
        pool = "" if self.pool == "mean" else f":{self.pool}"
        return f"block:{self.outputs}x{self.inputs}{pool}"

    @classmethod
    def parse(cls, spec: str) -> "Block | None":
        """See `Pattern`."""
        if spec == cls.name:
            return cls()
        found = re.fullmatch(r"block:([0-9]+)x([0-9]+)(?::([a-z]+))?", spec)
        if not found:
            return None
        outputs, inputs, pool = found.groups()
        return cls(int(inputs), int(outputs), pool or "mean")

    def _units(self, scores, masks, layouts):
        shapes = {key: score.shape for key, score in scores.items()}
        found = layouts_lib.complete(layouts, shapes)
        grids = {
            key: grid.Grid(shape, found[key], self.inputs, self.outputs)
            for key, shape in shapes.items()
        }
        return units.Units(scores, masks, grids, self.pool)
