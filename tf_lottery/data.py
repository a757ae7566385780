"""Training data whose order can be replayed from any step.

Two copies of a network differ in their initialisation, and in the order of
their data. To compare rounds, to rewind to the middle of an epoch, or to go
on after a kill as if nothing had happened, the order must be a function of
what is asked for, not of what was read before.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import keras
import numpy as np

from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils import types
from tf_lottery.utils.backends import tf

if TYPE_CHECKING:
    import tensorflow


class Replay(keras.utils.PyDataset):
    """Batches of arrays, in an order that follows from seed and position.

    The batch of a step depends on the seed, the step within the round and,
    only if asked, on the round: not on what was read before. Pass the same
    object to `fit` and to `IterativeMagnitudePruning(data=...)`, which tells
    it where each epoch begins.

    `fit(shuffle=True)`, Keras' default, does not change the order: batches
    are served one after the other, whatever index is asked for.

    Args:
        x: Array, or a structure of arrays of equal length.
        y: Array or structure of arrays, or `None`. Defaults to `None`.
        batch_size: Integer. Defaults to 32.
        seed: Integer, seed of the order and the augmentation. Defaults to 0.
        shuffle: Boolean, whether each epoch has an order of its own. Defaults
            to `True`.
        reshuffle_rounds: Boolean, whether rounds differ in their order.
            Defaults to `False`: every round sees what round 0 saw.
        augment: Callable `f(x, rng)` that returns a changed copy of a batch
            of inputs; `rng` is a `numpy.random.Generator` that follows from
            seed and position too. Defaults to `None`.
        drop_remainder: Boolean, whether a last, smaller batch is left out.
            Defaults to `False`.

    Raises:
        ValueError: If the arrays are empty or differ in length.

    Example:

    >>> data = tfl.data.Replay(np.arange(6), batch_size=2, shuffle=False)
    >>> data.start(round=1, step=4)
    >>> data.on_epoch_begin()
    >>> [data[i].tolist() for i in range(2)]
    [[2, 3], [4, 5]]
    """

    def __init__(
        self,
        x: types.Arrays,
        y: types.Arrays = None,
        batch_size: int = 32,
        seed: int = 0,
        shuffle: bool = True,
        reshuffle_rounds: bool = False,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
        drop_remainder: bool = False,
    ) -> None:
        super().__init__()
        arrays = [a for a in keras.tree.flatten((x, y)) if a is not None]
        for name, value in (("x", x), ("y", y)):
            parts = keras.tree.flatten(value)
            fits = parts and all(getattr(p, "shape", ()) for p in parts)
            if not fits and (name == "x" or y is not None):
                checks.refuse(name, value, "arrays of examples")
        lengths = set(map(len, arrays))
        if len(lengths) != 1 or not min(lengths):
            raise ValueError(
                "Arguments `x` and `y` must be arrays of equal length, not "
                f"empty. Received: arrays of lengths {sorted(lengths)}."
            )
        checks.whole("batch_size", batch_size)
        checks.seed("seed", seed)
        for name, value in (
            ("shuffle", shuffle), ("reshuffle_rounds", reshuffle_rounds),
            ("drop_remainder", drop_remainder),
        ):
            checks.flag(name, value)
        checks.optional(
            checks.takes, "augment", augment, 2, "a callable of `(x, rng)`"
        )
        self.x, self.y = x, y
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.reshuffle_rounds = reshuffle_rounds
        self.augment = augment
        (self.examples,) = lengths
        whole, rest = divmod(self.examples, batch_size)
        self._length = whole + bool(rest and not drop_remainder)
        if not self._length:
            raise ValueError(
                f"A batch is larger than the data of {self.examples} "
                "examples, and the remainder is dropped. Received: "
                f"batch_size={batch_size}, drop_remainder=True"
            )
        self._round, self._next, self._told = 0, 0, False
        self._epochs_begun = 0
        self._cached = None

    @property
    def num_batches(self) -> int:
        """Integer, the number of steps in an epoch."""
        return self._length

    def start(self, round: int, step: int) -> None:
        """Says where the next epoch of `fit` begins.

        Args:
            round: Integer, the round.
            step: Integer, the step within the round.
        """
        self._round, self._next, self._told = round, step, True

    def on_epoch_begin(self) -> None:
        if not self._told:
            self._next = self._epochs_begun * self._length
        self._epochs_begun += 1
        self._told = False

    def __getitem__(self, index: int) -> Any:
        batch = self.batch(self._round, self._next)
        self._next += 1
        return batch

    def as_dataset(self) -> "tensorflow.data.Dataset":
        """Returns the same batches as a `tf.data.Dataset`.

        It is endless: pass `steps_per_epoch=replay.num_batches` to `fit`, and
        the `Replay` itself to `IterativeMagnitudePruning(data=...)`. Nothing
        is read ahead, so that an epoch begins where it is told to.
        """

        def batches():
            while True:
                yield self[0]

        def spec_of(array):
            return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

        first = keras.tree.map_structure(np.asarray, self.batch(0, 0))
        return backends.unbuffered(tf.data.Dataset.from_generator(
            batches, output_signature=keras.tree.map_structure(spec_of, first)
        ))

    def get_config(self) -> dict[str, Any]:
        """Returns what the order follows from, as plain values."""
        names = (
            "examples", "batch_size", "seed", "shuffle", "reshuffle_rounds",
        )
        return {
            **{name: getattr(self, name) for name in names},
            "augment": getattr(self.augment, "__qualname__", None),
        }

    def batch(self, round: int, step: int) -> Any:
        """Returns the batch of a step, whatever was read before.

        Args:
            round: Integer, the round.
            step: Integer, the step within the round.

        Returns:
            `x`, or a tuple of `x` and `y`.
        """
        epoch, index = divmod(step, self._length)
        begin = index * self.batch_size
        chosen = self._order(round, epoch)[begin:begin + self.batch_size]
        x = keras.tree.map_structure(lambda array: array[chosen], self.x)
        if self.augment is not None:
            x = self.augment(x, self._rng(round, epoch, index + 1))
        if self.y is None:
            return x
        return x, keras.tree.map_structure(lambda array: array[chosen], self.y)

    def _order(self, round, epoch):
        if not self.shuffle:
            return np.arange(self.examples)
        key = (round if self.reshuffle_rounds else 0, epoch)
        if self._cached is None or self._cached[0] != key:
            rng = self._rng(round, epoch, 0)
            self._cached = (key, rng.permutation(self.examples))
        return self._cached[1]

    def _rng(self, round, epoch, purpose):
        round = round if self.reshuffle_rounds else 0
        return np.random.default_rng((self.seed, round, epoch, purpose))
