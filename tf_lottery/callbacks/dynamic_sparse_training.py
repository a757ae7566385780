"""Training at a constant sparsity with masks that move."""

import math
import numbers
import warnings
import zlib
from collections.abc import Sequence
from typing import Any
from typing import Literal

import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import holding
from tf_lottery import masks as masks_lib
from tf_lottery import optimizers
from tf_lottery import schedules
from tf_lottery.callbacks import mask_updater
from tf_lottery.optimizers import holding as recording
from tf_lottery.pruning import allocation
from tf_lottery.pruning import rules
from tf_lottery.utils import checks
from tf_lottery.utils import configurations
from tf_lottery.utils import docs
from tf_lottery.utils import types

_METHODS = ("rigl", "set")


@docs.filled
class DynamicSparseTraining(mask_updater.MaskUpdater):
    """Trains a sparse model from the start, and moves its connections.

    Training begins with random masks of the sparsity asked for, or with the
    masks that the model holds already. Every `frequency` steps each layer
    drops the k of its n weights that are smallest in magnitude, and grows k
    others, `"set"` at random, `"rigl"` where the gradient of the loss is
    largest. With T the step `end`,

    k = int(n * drop_fraction / 2 * (1 + cos(pi * t / T))).

    The number of weights of each layer never changes. A weight that was just
    dropped may grow again: with RigL it keeps its value, with SET it starts
    anew. Grown weights start at 0, and their slots in the optimizer at the
    values of a new one. Equal weights are kept, and equal gradients grown, in
    the order of their index.

    An update takes place at the end of step t, after the optimizer's own,
    with the gradient of the batch of that step at its masked weights. (In the
    algorithm of the RigL paper that batch trains no weights.) It depends on
    weights, masks, step and seed alone, so that a saved and loaded model goes
    on alike.

    The logs of each epoch get `density` and `sparsity`. Place the callback
    first in the list, so that the others see them.

    Args:
        sparsity: Float in (0, 1), the fraction of all prunable weights that
            is zero, or a dict from layer name or pattern to such a fraction;
            what no pattern means stays dense. Of a model that holds masks
            already, theirs counts.
        method: `"rigl"` or `"set"`. Defaults to `"rigl"`.
        scope: How the sparsity is shared out: `"erk"`, `"er"`, `"uniform+"`
            as in `tf_lottery.prune`, or `"layer"`, the same in each. Defaults
            to `"erk"`.
        frequency: Integer, the number of steps from one update to the next.
            Defaults to 100.
        drop_fraction: Float in (0, 1), the fraction that would be dropped at
            step 0. Defaults to 0.3.
        end: Integer, the step from which on masks stay as they are, or a
            float in (0, 1], a fraction of all steps at the end of `fit`.
            Defaults to 0.75.
        seed: Integer, seed of the first masks and of SET. Defaults to 0.
        {{collapse}}
        {{layers}}

    Raises:
        ValueError: For an invalid argument at construction; when training
            begins, if model, sparsity or `end` do not fit.

    References: SET, Mocanu et al. 2018, https://arxiv.org/abs/1707.04780;
    RigL, Evci et al. 2020, algorithm 1, https://arxiv.org/abs/1911.11134.

    Example:

    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])
    >>> model.compile("adam", "mse")
    >>> dynamic = tfl.callbacks.DynamicSparseTraining(0.75, frequency=2)
    >>> history = model.fit(
    ...     np.ones((32, 8)), np.ones((32, 5)), batch_size=8, epochs=2,
    ...     callbacks=[dynamic], verbose=0)
    >>> history.history["sparsity"]
    [0.75, 0.75]
    """

    def __init__(
        self,
        sparsity: types.Fraction,
        method: Literal["rigl", "set"] = "rigl",
        scope: types.Scope = "erk",
        frequency: int = 100,
        drop_fraction: float = 0.3,
        end: int | float = 0.75,
        exclude: types.Names = (),
        include: types.Names = (),
        seed: int = 0,
        collapse: types.Collapse = "keep-one",
    ) -> None:
        super().__init__(
            rules.Rule(scope, "unstructured", collapse, exclude, include)
        )
        schedules.validate_rate(sparsity, "sparsity")
        checks.choice("method", method, _METHODS)
        if scope == "global":
            checks.refuse(
                "scope", scope, "how random masks are shared out: 'erk', "
                "'er', 'uniform+' or 'layer'",
            )
        checks.whole("frequency", frequency)
        checks.fraction("drop_fraction", drop_fraction)
        checks.seed("seed", seed)
        _check_end(end)
        self.sparsity = sparsity
        self.method = method
        self.frequency = int(frequency)
        self.drop_fraction = drop_fraction
        self.end = end
        self.seed = seed

    def protocol(self) -> dict[str, Any]:
        return configurations.of_arguments(self) | self.rule.to_dict()

    def begin(self) -> None:
        super().begin()
        self._end_step = self._moving = None
        if self.method == "rigl":
            self._check_gradients()
        masks = self._first_masks()
        holding.hold(self.model, masks)
        # Of a dense layer there is nothing to move.
        self._moving = {
            key: variable for key, variable in self._weights.variables.items()
            if not masks[key].all()
        }
        if self.method == "rigl":
            self._optimizer = recording.record_gradients(
                self.model, list(self._moving.values()), self.frequency
            )

    def on_epoch_begin(self, epoch: int, logs: types.Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if self.is_begun and self._end_step is None:
            self._end_step = self._find_end(epoch)

    def update(self, steps: Sequence[int]) -> None:
        due = [step for step in steps if step % self.frequency == 0]
        if due and due[-1] < self._end_step:
            self._move(due[-1])

    def on_train_end(self, logs: types.Logs = None) -> None:
        recording.forget_gradients(self.model)

    def fraction_at(self, step: int) -> float:
        """Returns the fraction of its weights that a layer drops at a step.

        Args:
            step: Integer, a step before `end`. A fraction as `end` is known
                once `fit` has begun.
        """
        turn = math.pi * step / self._end_step
        return self.drop_fraction / 2 * (1 + math.cos(turn))

    def _move(self, step):
        masks = constraints.current_masks(self._moving)
        fraction = self.fraction_at(step)
        carried, moved = {}, {}
        for key, variable in self._moving.items():
            carried[key], moved[key] = self._moved(
                key, ops.convert_to_numpy(variable), masks[key],
                self._growth(key, step), fraction,
            )
        # All that is not carried over, weights and slots, starts afresh when
        # it is pruned; so it does where it grows again at once.
        holding.hold(self.model, carried)
        holding.hold(self.model, moved)

    def _moved(self, key, values, mask, growth, fraction):
        """What of a mask is carried over with its values, and the new mask."""
        alive = np.count_nonzero(mask)
        number = int(alive * fraction)
        kept = _best(key, np.abs(values), alive - number, mask)
        grown = _best(key, growth, number, ~kept)
        moved = kept | grown
        return moved & mask if self.method == "rigl" else kept, moved

    def _growth(self, key, step):
        if self.method == "rigl":
            variable = self._moving[key]
            return np.abs(self._optimizer.dense_gradient(variable))
        return self._random(key, step)

    def _random(self, key, step):
        rng = np.random.default_rng(
            (self.seed, step, zlib.crc32(key.encode()))
        )
        return rng.random(tuple(self._weights.variables[key].shape))

    def _first_masks(self):
        weights = self._weights
        rates = weights.rates(self.sparsity, "sparsity")
        held = weights.masks()
        dense = {key: np.ones_like(mask) for key, mask in held.items()}
        groups, keep = weights.allocate(
            rates, dense, allocation.at_sparsity
        )
        if all(mask.all() for mask in held.values()):
            scores = {key: self._random(key, 0) for key in held}
            masks = weights.select(scores, keep, held, groups)
            weights.report(masks, dense)
            return masks
        asked = sum(keep) + sum(
            mask.size for key, mask in held.items() if not rates[key]
        )
        if abs(masks_lib.count(held) - asked) > len(held):
            warnings.warn(
                f"Model '{self.model.name}' holds masks of sparsity "
                f"{1 - masks_lib.density(held):.4g} already, and keeps it. "
                f"Received: sparsity={self.sparsity}",
                stacklevel=3,
            )
        return held

    def _check_gradients(self):
        in_layers = [
            key for key, variable in self._weights.variables.items()
            if (keep := constraints.keep_of(variable)) and keep.in_layer
        ]
        if in_layers:
            raise ValueError(
                "Argument `method='rigl'` needs the gradient of pruned "
                "weights, which `tf_lottery.layers.Masked` hides. Use a model "
                "without such layers, or `method='set'`. Received: masks in "
                f"the layers of {in_layers}"
            )

    def _find_end(self, epoch):
        """The step from which on masks stay, once the first epoch is known."""
        if isinstance(self.end, numbers.Integral):
            return int(self.end)
        steps, epochs = self.params.get("steps"), self.params["epochs"]
        if steps is None:
            raise ValueError(
                "Argument `end` must be a step, an integer, as long as the "
                "number of steps in an epoch is not known. "
                f"Received: end={self.end!r}"
            )
        optimizer = optimizers.innermost(self.model.optimizer)
        size = optimizer.gradient_accumulation_steps or 1
        return self.end * (self._step + steps * (epochs - epoch) // size)


def _best(key, scores, number, mask):
    """The `number` best of a mask, the lower index where scores are equal."""
    return masks_lib.select(
        {key: scores}, int(number), {key: mask}, allow_collapse=True
    )[key]


def _check_end(end):
    whole = isinstance(end, numbers.Integral)
    checks.number(
        "end", end, "a step, an integer of at least 1, or a fraction of "
        "training, a float in (0, 1]",
        lambda value: value >= 1 if whole else 0 < value <= 1,
    )
