"""WoodFisher: the loss that removing a weight costs once others make up."""

from typing import Literal

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria import fisher_blocks
from tf_lottery.criteria import gradients as gradients_lib
from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.criteria.criterion import masks_so_far
from tf_lottery.criteria.data_criterion import DataCriterion
from tf_lottery.criteria.samples import SampleGradients
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types

_UPDATES = {
    "separate": fisher_blocks.separate_update,
    "joint": fisher_blocks.joint_update,
    None: None,
}


@docs.filled
class WoodFisher(DataCriterion):
    """Optimal brain surgeon with the block-diagonal empirical Fisher.

    The score w^2 / (2 [F^-1]_ii) is the loss that removing a weight costs if
    the other weights of its block move to make up for it; `tf_lottery.prune`
    moves them. F = damp I + (1/N) sum of g g^T over N gradients g, in blocks
    of consecutive weights of one layer (of one output unit first). Where N is
    below the block size its inverse comes from the Woodbury identity, of
    which the paper's recursion is the step for one gradient. Gradients of
    pruned weights are 0.

    The gradients take 4 bytes for each weight times N, at most times one and
    a half block sizes, plus matrices of one block in float64. The scores do
    not depend on `batch_size`.

    Reference: Singh and Alistarh 2020, https://arxiv.org/abs/2004.14340,
    equations 2 and 4 and section 3. The authors' code leaves out the 1/2,
    which changes no order.

    Args:
        block_size: Integer, or `None` for one block per weight. The authors'
            code takes up to 12288. Defaults to 256.
        damp: Float, added to the diagonal of the Fisher matrix. Defaults to
            1e-5.
        fisher_batch_size: Integer, over how many examples each gradient is
            averaged; the authors use mini-batches on large networks, a
            heuristic to see more data. The last group may be smaller.
            Defaults to 1: the gradient of each example.
        update_rule: String. `"separate"` adds up what would be best after
            removing each weight alone, as the authors' code does; `"joint"`
            solves for all removed weights of a block together; `None` leaves
            the other weights as they are. Defaults to `"joint"`.
        {{gradients}}

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((2,)),
    ...     keras.layers.Dense(1, use_bias=False, name="fc")])
    >>> model.set_weights([np.array([[1.0], [1.0]])])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((1, 2)), np.array([[0.0]])  # gradient (4, 4)
    >>> criterion = tfl.criteria.get("woodfisher")
    >>> masks = tfl.prune(model, 0.5, criterion, data=(x, y))
    >>> model.layers[0].kernel.numpy().round(3).tolist()  # makes up for it
    [[2.0], [0.0]]
    """

    name = "woodfisher"

    def __init__(
        self,
        block_size: int | None = 256,
        damp: float = 1e-5,
        fisher_batch_size: int = 1,
        update_rule: Literal["separate", "joint"] | None = "joint",
        data: types.Data | None = None,
        loss: types.Loss | None = None,
        batches: int | None = None,
        batch_size: int = 128,
    ) -> None:
        checks.optional(checks.whole, "block_size", block_size)
        checks.whole("fisher_batch_size", fisher_batch_size)
        checks.positive("damp", damp)
        checks.optional(
            checks.choice, "update_rule", update_rule, _UPDATES
        )
        self.block_size = block_size
        self.damp = damp
        self.fisher_batch_size = fisher_batch_size
        self.update_rule = update_rule
        super().__init__(data, loss, batches, batch_size)

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        rows_at = self._prepare_rows(model, variables, context)

        def scores(masks):
            found = {key: np.zeros(mask.size) for key, mask in masks.items()}
            rows, number = rows_at(masks)
            for key in list(rows):
                for blocks, stack in rows.pop(key).stacks():
                    inverse = self._inverse(stack, number).diagonal()
                    found[key][blocks] = 0.5 / inverse.ravel()
            for key, curvature in found.items():
                values = _values(variables[key], masks[key])
                curvature = _unflattened(curvature, values.shape)
                found[key] = np.square(values, out=values) * curvature
            return self.check_finite(found)

        return scores

    def update(
        self,
        model: keras.Model,
        variables: types.Variables,
        masks: types.Masks,
        context: Context = Context(),
    ) -> dict[str, np.ndarray]:
        rule = _UPDATES[self.update_rule]
        before = masks_so_far(variables, context)
        if rule is None or all(
            np.array_equal(masks[key], before[key]) for key in masks
        ):
            return {}
        values = {
            key: _flattened(_values(variable, before[key])).copy()
            for key, variable in variables.items()
        }
        pruned = {k: _flattened(before[k] & ~masks[k]) for k in masks}
        rows, number = self._prepare_rows(model, variables, context)(before)
        for key in list(rows):
            for block, part in rows.pop(key).blocks():
                gone = pruned[key][block]
                if gone.any():
                    inverse = self._inverse(part, number)
                    values[key][block] += rule(
                        inverse, values[key][block], gone
                    )
        return {
            key: _unflattened(value, masks[key].shape) * masks[key]
            for key, value in values.items()
        }

    def _inverse(self, rows, number):
        return fisher_blocks.InverseFisher(rows, number, self.damp)

    def _prepare_rows(self, model, variables, context):
        """Returns a function from masks to gradients and their number."""
        batches = self.read(context)
        functional, loss = self.trace(model, variables, context)
        gradients = SampleGradients(
            functional, loss, _flattened_rows, self.fisher_batch_size
        )

        def rows_at(masks):
            chunks = gradients(functional.values(masks), batches)
            return self._rows(masks, chunks, functional.dtype)

        return rows_at

    def _rows(self, masks, chunks, dtype):
        rows = {
            key: fisher_blocks.GradientRows(
                mask.size, self.block_size or mask.size, dtype
            )
            for key, mask in masks.items()
        }
        kept = {key: _flattened(mask) for key, mask in masks.items()}
        total = 0
        for number, gradients in chunks:
            total += number
            gradients = self.check_finite(gradients_lib.to_arrays(gradients))
            for key, gradient in gradients.items():
                rows[key].append(gradient * kept[key])
        return rows, total


def _order(ndim):
    """Axes of a kernel with weights of one output unit side by side."""
    return (ndim - 1, ndim - 2, *range(ndim - 2)) if ndim > 1 else (0,)


def _flattened(array):
    return array.transpose(_order(array.ndim)).reshape(-1)


def _unflattened(flat, shape):
    order = _order(len(shape))
    ordered = flat.reshape([shape[axis] for axis in order])
    return ordered.transpose(np.argsort(order))


def _flattened_rows(gradients):
    """Gradients `(number, *shape)` as rows in the order of the blocks."""
    rows = {}
    for key, gradient in gradients.items():
        order = [1 + axis for axis in _order(len(gradient.shape) - 1)]
        size = int(np.prod(gradient.shape[1:]))
        rows[key] = ops.reshape(
            ops.transpose(gradient, [0, *order]), (-1, size)
        )
    return rows


def _values(variable, mask):
    values = ops.convert_to_numpy(variable).astype("float64")
    return np.where(mask, values, 0)
