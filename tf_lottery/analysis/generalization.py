"""Generalisation gap: what a model loses on data it has not seen."""

import dataclasses

import keras

from tf_lottery.analysis import evaluating
from tf_lottery.analysis import preserving
from tf_lottery.utils import types


@dataclasses.dataclass(frozen=True)
class Gap:
    """A model on the data it was trained on, and on others.

    Attributes:
        train: `evaluating.Evaluation` on the training data.
        test: `evaluating.Evaluation` on the test data.
    """

    train: evaluating.Evaluation
    test: evaluating.Evaluation

    @property
    def accuracy(self) -> float:
        """Float, accuracy in training less accuracy in test."""
        return self.train.accuracy - self.test.accuracy

    @property
    def loss(self) -> float | None:
        """Float, loss in test less loss in training, or `None`."""
        if self.train.loss is None:
            return None
        return self.test.loss - self.train.loss


def generalization_gap(
    model: keras.Model,
    train: types.Data,
    test: types.Data,
    loss: types.Loss | None = None,
    batch_size: int = 512,
) -> Gap:
    """Measures the generalisation gap of a model as it is.

    Both sides are measured on the same weights in inference mode, unlike the
    running metrics of `fit`.

    Reference: Zhang et al. 2017, "Understanding deep learning requires
    rethinking generalization", https://arxiv.org/abs/1611.03530; of tickets,
    Frankle and Carbin 2019, section 5, https://arxiv.org/abs/1803.03635.

    Args:
        model: A built `keras.Model`; it is left as it is.
        train: Arrays `(x, y)`, a batched `tf.data.Dataset` or a
            `keras.utils.PyDataset`.
        test: The same of data that the model was not trained on.
        loss: Loss function or its name. Defaults to the compiled one; a
            model that is not compiled has no loss then.
        batch_size: Integer, for data that are arrays. Defaults to 512.

    Raises:
        ValueError: If the model is not built or the labels are no classes.

    Example:

    >>> import keras, numpy as np
    >>> model = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
    >>> model.set_weights([np.eye(2)])
    >>> x = np.eye(2, dtype="float32")
    >>> gap = generalization_gap(model, (x, np.array([0, 1])),
    ...                          (x, np.array([0, 0])))
    >>> gap.accuracy
    0.5
    """
    with preserving.preserved(model):
        evaluate = evaluating.Evaluator(
            model, loss, batch_size, "generalization_gap"
        )
        for data in (train, test):
            evaluate.batches(data)
        found = [
            evaluating.check_classes(evaluate(data), "a generalisation gap")
            for data in (train, test)
        ]
    return Gap(*found)
