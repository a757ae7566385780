"""OBC: least squares, layer by layer, for what stays and what goes."""

import errno
import functools
import os
import tempfile
import weakref

import keras
import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery.criteria import layer_inputs
from tf_lottery.criteria import least_squares
from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.criteria.criterion import masks_so_far
from tf_lottery.criteria.data_criterion import InputCriterion
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types

# What sums in float32 lose of large inputs, which hardly change.
_ROUNDING = 1e-5


@docs.filled
class OBC(InputCriterion):
    """Optimal brain compression: what a layer makes changes least.

    The score of a weight is the squared error of its layer's outputs that
    removing it adds, with the other weights of its output moved to make up
    for it: w^2 / [H^-1]_ii, where H is the Gram matrix of what the layer
    reads. `tf_lottery.prune` moves them: for given masks, the weights that
    stay are the solution of least squares, which is exact, while the authors
    of OBC and of SparseGPT come near it weight by weight. Those that have a
    constraint are then brought within it. No label, no loss and no training
    is needed. With `iterations`, weights are scored anew
    under the masks so far; one weight at a time would be OBC's order.

    Errors are divided by the squared outputs of the layer, so that those of
    different layers compare. Renew the statistics of batch normalisation
    afterwards, by `tf_lottery.recalibrate`.

    The Gram matrices take 8 bytes for each input of a layer times the block
    size, and the time grows with the cube of the block size, for each output.
    They lie in a temporary file, and in memory one by one; the data are gone
    through several times where all of them take more than 8 MiB, and than the
    weights do.

    Reference: Frantar and Alistarh 2022, https://arxiv.org/abs/2208.11580,
    equation 3; damping as in SparseGPT, Frantar and Alistarh 2023,
    https://arxiv.org/abs/2301.00774.

    Args:
        block_size: Integer, how many inputs of a layer are looked at
            together, or `None` for all; a kernel of a convolution has
            `height * width * channels`. Inputs in different blocks count as
            uncorrelated. Defaults to 2048.
        damp: Float, what is added to the diagonal of H, in means of it. The
            fewer examples, the more is needed. Defaults to 0.01.
        {{calibration}}

    Raises:
        ValueError: If an argument is out of range. When called, if a weight
            is not multiplied by inputs as it is (one of an Embedding, say),
            or there are no data.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((2,)),
    ...     keras.layers.Dense(1, use_bias=False, name="fc")])
    >>> model.set_weights([np.array([[1.0], [2.0]])])
    >>> model.compile("sgd", "mse")
    >>> x = np.array([[1.0, 1.0], [2.0, 2.0]])  # the same input twice
    >>> criterion = tfl.criteria.OBC(damp=1e-4)
    >>> masks = tfl.prune(model, 0.5, criterion, data=x)
    >>> model.layers[0].kernel.numpy().round(2).tolist()  # makes up for it
    [[0.0], [3.0]]
    """

    name = "obc"

    def __init__(
        self,
        block_size: int | None = 2048,
        damp: float = 0.01,
        data: types.Data | None = None,
        batches: int | None = None,
        batch_size: int = 128,
    ) -> None:
        checks.optional(checks.whole, "block_size", block_size)
        checks.positive("damp", damp)
        self.block_size = block_size
        self.damp = damp
        super().__init__(data, batches, batch_size)

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        return self.prepare_both(model, variables, context)[0]

    def update(
        self,
        model: keras.Model,
        variables: types.Variables,
        masks: types.Masks,
        context: Context = Context(),
    ) -> dict[str, np.ndarray]:
        return self.prepare_both(model, variables, context)[1](masks)

    def prepare_both(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> tuple[Scorer, Scorer]:
        problems = Problems(self, model, variables, context)
        problems.inputs.check_known(self.name)

        def solved(of, masks):
            return self.check_finite({
                key: of(problems[key], mask) for key, mask in masks.items()
            })

        return (
            functools.partial(solved, Problem.costs),
            functools.partial(solved, Problem.refit),
        )


class Problems:
    """The least squares of each weight, with what is pruned before at 0.

    Gram matrices lie in a file as long as this object is there.

    Args:
        centred: Function of a weight key and its `LinearMap`: whether only
            the changes of its outputs around their means count. Defaults to
            `None`: never.

    Attributes:
        inputs: `layer_inputs.LayerInputs`, which says what is known.
    """

    def __init__(self, criterion, model, variables, context, centred=None):
        self._model, self._variables = model, variables
        self._damp, self._block_size = criterion.damp, criterion.block_size
        self._centred = centred
        self._before = masks_so_far(variables, context)
        self.inputs = layer_inputs.LayerInputs(
            model, variables, criterion.read(context)
        )
        # It has no name, so that nothing is left however the process ends.
        # Without a buffer, arrays are written as they are.
        self._file, self._places = tempfile.TemporaryFile(buffering=0), {}
        weakref.finalize(self, self._file.close)

    def __getitem__(self, key):
        """Returns the `Problem` of a weight as it is now."""
        self.measure()
        backends.release(self._model, traces=False)
        start, number = self._places[key]
        self._file.seek(start)
        sums = [np.load(self._file) for _ in range(number)]
        variable, linear = self._variables[key], self.inputs.linear[key]
        centred = self._centred is not None and self._centred(key, linear)
        # Without a mask's, which another one is going to replace.
        keep = constraints.keep_of(variable)
        return Problem(
            linear, sums,
            np.where(self._before[key], ops.convert_to_numpy(variable), 0),
            self._damp, centred,
            variable.constraint if keep is None else keep.constraint,
        )

    def measure(self):
        """Measures the Gram matrices, if they are not there yet."""
        if self._places or not self.inputs.linear:
            return
        places = {}
        for key, sums in self.inputs.sums(
            self._before, self._grams, self._size
        ):
            start = self._file.seek(0, os.SEEK_END)
            try:
                for each in sums:
                    np.save(self._file, each)
            except OSError as error:
                raise OSError(
                    error.errno or errno.ENOSPC,
                    f"Gram matrices cannot be written ({error}). They take "
                    "8 bytes for each input of a layer times the block size. "
                    "Expected: room in the temporary directory, which "
                    "environment variable TMPDIR names, or a smaller "
                    "`block_size`", tempfile.gettempdir(),
                ) from error
            places[key] = start, len(sums)
        self._places = places

    def _blocks(self, width):
        number = -(-width // (self._block_size or width))
        return np.array_split(np.arange(width), number)

    def _grams(self, rows):
        parts = (
            rows[..., int(block[0]):int(block[-1]) + 1]
            for block in self._blocks(rows.shape[-1])
        )
        return [ops.sum(rows, 1), ops.sum(ops.ones_like(rows[0, :, 0])), *(
            ops.matmul(ops.transpose(part, (0, 2, 1)), part)
            for part in parts
        )]

    def _size(self, linear):
        stack, width, _ = linear.sizes
        return stack * sum(len(block) ** 2 for block in self._blocks(width))


class Problem:
    """The least squares of one weight.

    Args:
        sums: List of arrays over rows: their sums `(stack, inputs)`, their
            number, and Gram matrices `(stack, inputs, inputs)`, one for each
            block.
        centred: Boolean, whether something else makes up for what the means
            of outputs change by. Defaults to `False`.
        constraint: Function of a tensor, Keras' of the weight, or `None`.
    """

    def __init__(
        self, linear, sums, values, damp, centred=False, constraint=None
    ):
        self.linear, self._damp = linear, damp
        self._constraint = constraint
        total, number, *grams = sums
        self._means = total / number
        self._weights = linear.to_matrices(values).astype(
            np.result_type(values, "float32"), copy=False
        )
        self._grams = [list(stack) for stack in grams]
        for gram, means in self._parts(self._means):
            if centred:
                least_squares.centre(gram, means, number, _ROUNDING)
            least_squares.damped(gram, damp)

    def costs(self, mask):
        """Returns the relative error that each weight would add."""
        whole = sum(
            least_squares.error(gram, weights)
            for gram, weights in self._parts(self._weights)
        )
        return self._solved(
            least_squares.costs, mask, whole if whole > 0 else 1.0
        )

    def refit(self, mask):
        """Returns the weight that stays, within its constraint."""
        return self._legal(self._solved(least_squares.refit, mask), mask)

    def rounded(self, value, bits):
        """Returns a weight with so many bits to each output, zeros as zeros."""
        most = 2 ** (bits - 1) - 1
        values = np.array(self.linear.to_matrices(value), "float64", order="C")
        steps = np.abs(values).max(1, keepdims=True) / most
        steps = np.broadcast_to(np.where(steps > 0, steps, 1), values.shape)
        for gram, weights, step in self._parts(values, steps):
            least_squares.rounded(gram, weights, weights != 0, step[0], most)
        return self._legal(self.linear.from_matrices(values), value != 0)

    def _legal(self, value, mask):
        """What is within the constraint of the weight."""
        if self._constraint is None:
            return value
        legal = self._constraint(
            ops.convert_to_tensor(value, self._weights.dtype.name)
        )
        return np.where(mask, ops.convert_to_numpy(legal), 0)

    def shift(self, value):
        """Returns what means of outputs fall by with another weight."""
        change = np.subtract(
            self._weights, self.linear.to_matrices(value), dtype="float64"
        )
        return np.einsum("si,sio->so", self._means, change)

    def _solved(self, function, mask, *args):
        kept = self.linear.to_matrices(mask)
        found = np.zeros_like(self._weights)
        for gram, weights, part, into in self._parts(
            self._weights, kept, found
        ):
            try:
                function(gram, weights, part, into, *args)
            except np.linalg.LinAlgError:
                raise ValueError(
                    "The Gram matrix of what a layer reads cannot be "
                    "inverted: argument `damp` is too small for so few "
                    f"examples. Received: damp={self._damp!r}"
                ) from None
        return self.linear.from_matrices(found)

    def _parts(self, *matrices):
        """Yields a Gram matrix, and the parts of matrices it is about."""
        start = 0
        for stack in self._grams:
            stop = start + len(stack[0])
            for index, gram in enumerate(stack):
                yield (gram, *(m[index, start:stop] for m in matrices))
            start = stop
