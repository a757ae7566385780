"""Loss and accuracy of a model as it is, leaving no trace in it."""

import dataclasses

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.criteria import losses
from tf_lottery.utils import backends
from tf_lottery.utils import checks


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a model reaches on data.

    Attributes:
        accuracy: Float, the fraction of labels that it predicts; `None`
            where the labels are no classes or the model has several outputs.
        loss: Float, the mean loss without penalties; `None` for a model that
            is not compiled, if none is given.
        examples: Integer.
    """

    accuracy: float | None
    loss: float | None
    examples: int

    @property
    def error(self) -> float | None:
        """Float, `1 - accuracy`, or `None`."""
        return None if self.accuracy is None else 1.0 - self.accuracy


class Evaluator:
    """Evaluates a model in inference mode, and leaves its metrics as they are.

    Values assigned to its weights count at once. `name` says in errors what is
    being done.
    """

    def __init__(self, model, loss=None, batch_size=512, name="evaluation"):
        weights_lib.check_built(model)
        checks.whole("batch_size", batch_size)
        checks.loss("loss", loss)
        self._model, self._name = model, name
        self._batch_size = batch_size
        self._loss, self._threshold = None, 0.5
        if loss is None:
            loss, _ = internals.models.compiled_loss(model)
        if loss is not None:
            self._loss = losses.resolve(model, loss, name)
            self._threshold = threshold_of(loss)
        self._run, self._judge = map(
            backends.compiled, (self._outputs, self._value)
        )

    def __call__(self, data, change=None):
        """Returns the `Evaluation` on data, with inputs `change(x, y, index)`.
        """
        def outcomes():
            for index, (x, y, weight) in enumerate(self.batches(data)):
                x = x if change is None else change(x, y, index)
                yield batches_lib.len_of(x), y, *self._run(x, y, weight)

        return self._evaluation(outcomes())

    def of(self, outputs, batches):
        return self._evaluation(
            (batches_lib.len_of(x), y, found, self._judge(y, found, weight))
            for found, (x, y, weight) in zip(outputs, batches, strict=True)
        )

    def batches(self, data):
        """Returns the batches of data, or raises if there are none."""
        return batches_lib.batches_of(
            data, batch_size=self._batch_size, criterion=self._name
        )

    def _outputs(self, x, y, weight):
        outputs = self._model(x, training=False)
        return outputs, self._value(y, outputs, weight)

    def _value(self, y, outputs, weight):
        return 0.0 if self._loss is None else self._loss(y, outputs, weight)

    def _evaluation(self, outcomes):
        correct, labels, loss, examples = 0, 0, 0.0, 0
        for number, y, outputs, value in outcomes:
            hits = hits_of(y, outputs, self._threshold)
            examples += number
            loss += number * float(ops.convert_to_numpy(value))
            if hits is None or correct is None:
                correct = None
            else:
                correct, labels = correct + int(hits.sum()), labels + hits.size
        return Evaluation(
            None if correct is None else correct / labels,
            None if self._loss is None else loss / examples,
            examples,
        )


def threshold_of(loss):
    """Returns from where on one output means class 1."""
    if isinstance(loss, (dict, list, tuple)):
        return 0.5
    return 0.0 if getattr(keras.losses.get(loss), "from_logits", False) else 0.5


def hits_of(y, outputs, threshold=0.5):
    """Returns for which labels the model is right; `None` if they are no class.

    Labels are classes, or a row of probabilities for each example, outputs
    logits or probabilities; a single one means class 1 from a threshold on.
    """
    if isinstance(y, (dict, list, tuple)) or not hasattr(outputs, "shape"):
        return None
    y = np.asarray(ops.convert_to_numpy(y))
    outputs = np.asarray(ops.convert_to_numpy(outputs))
    if outputs.ndim < 2 or y.dtype.kind not in "buif":
        return None
    if outputs.shape[-1] == 1:
        return _binary_hits(y, outputs[..., 0], threshold)
    if y.shape == outputs.shape:
        rows = np.asarray(y, "float64")
        if (rows < 0).any() or not np.allclose(rows.sum(-1), 1, atol=1e-3):
            return None
        y = rows.argmax(-1)
    elif y.shape == (*outputs.shape[:-1], 1):
        y = y[..., 0]
    if y.shape != outputs.shape[:-1] or (y != np.round(y)).any():
        return None
    return outputs.argmax(-1) == y


def _binary_hits(y, outputs, threshold):
    y = y[..., 0] if y.shape == (*outputs.shape, 1) else y
    if y.shape != outputs.shape or not np.isin(y, (0, 1)).all():
        return None
    return (outputs > threshold) == (y > 0)


def check_classes(evaluation, name):
    """Returns an `Evaluation`; raises if it has no accuracy."""
    if evaluation.accuracy is None:
        raise ValueError(
            f"Measuring {name} takes a model of one output and classes as "
            "labels: integers, or rows of probabilities. Received: other "
            "labels, or several outputs."
        )
    return evaluation
