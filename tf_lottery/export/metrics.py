"""Metrics of files: one word for the table and for what may be lost."""

from typing import Any

import keras
import numpy as np

from tf_lottery.utils import checks

# What another data type may cost: of a share, or of the Keras model's value.
_DROP = 0.01
_ACCURACY = ("accuracy", "acc")


class Metric:
    """A measure of outputs against labels, and which way is better.

    Args:
        metric: A `keras.metrics.Metric`, or the name of one, for models with
            one output; or a callable of labels and outputs, structured as
            the model's, that returns a number, higher = better. Defaults to
            `None`, the share of right answers.

    Raises:
        ValueError: If it is none of these.
    """

    def __init__(self, metric: Any = None) -> None:
        self._keras = self._function = None
        self._rises, self.name = True, "accuracy"
        if isinstance(metric, str):
            metric = None if metric in _ACCURACY else _named(metric)
        if isinstance(metric, keras.metrics.Metric):
            self._keras, self.name = metric, metric.name
            # Keras says it of its own ones, to callbacks too.
            self._rises = getattr(metric, "_direction", "up") != "down"
        elif callable(metric) and not isinstance(metric, type):
            self._function = metric
            self.name = getattr(metric, "__name__", type(metric).__name__)
        elif metric is not None:
            checks.refuse(
                "metric", metric, "a `keras.metrics.Metric`, the name of one, "
                "or a function of labels and outputs"
            )

    def __call__(self, labels: Any, outputs: Any) -> float:
        """Returns the value for outputs, in the structure of the model's."""
        try:
            found = float(self._value(labels, outputs))
        # Whatever a metric runs into says that it does not fit.
        except Exception as error:
            shapes = keras.tree.map_structure(np.shape, outputs)
            raise ValueError(
                f"Argument `metric` does not fit the model's outputs. "
                f"Received: '{self.name}', which says {type(error).__name__}: "
                f"{str(error)[:200]}; outputs of shape {shapes}, labels of "
                f"shape {keras.tree.map_structure(np.shape, labels)}. "
                "Expected: a metric of one output, or a function of labels "
                "and outputs"
            ) from error
        if not np.isfinite(found):
            raise ValueError(
                f"Metric '{self.name}' is not finite. Received: {found}"
            )
        return found

    def _value(self, labels, outputs):
        if self._function is not None:
            return self._function(labels, outputs)
        if keras.tree.is_nested(outputs):
            flat = keras.tree.flatten(outputs)
            if len(flat) != 1:
                raise ValueError(f"the model has {len(flat)} outputs")
            outputs, = flat
        if self._keras is None:
            return agreement(outputs, labels)
        self._keras.reset_state()
        self._keras.update_state(labels, outputs)
        return self._keras.result()

    def drop(self, value: float, reference: float) -> float:
        """Returns by how much a value is worse than another one."""
        return reference - value if self._rises else value - reference

    def loss(self, value: float, reference: float) -> str:
        """Returns how much worse a value is, or nothing if little enough."""
        worse = self.drop(value, reference)
        is_share = self._rises and 0 <= reference <= 1
        if worse <= (_DROP if is_share else _DROP * abs(reference)):
            return ""
        if self.name == "accuracy":
            return f"loses {100 * worse:.1f} points"
        return f"{self.name} {value:.4g}, not {reference:.4g}"


def text(name, value):
    """Returns the value of the metric of a name as a string, `None` as none.
    """
    if value is None:
        return ""
    return f"{100 * value:.2f} %" if name == "accuracy" else f"{value:.4g}"


def _named(name):
    try:
        return keras.metrics.get(name)
    # Keras: unknown names, and metrics that need arguments.
    except (ValueError, TypeError) as error:
        raise ValueError(
            "Argument `metric` must be the name of a Keras metric. Received: "
            f"metric={name!r} ({error})"
        ) from error


def agreement(outputs: Any, labels: Any) -> float:
    """Returns the share of rows whose largest output is the label's.

    One output says 1 above 0.5, or, if outputs lie beyond 0 and 1 and so are
    logits, above 0.

    Raises:
        ValueError: If the labels are no classes.

    Example:

    >>> tfl.export.metrics.agreement(
    ...     np.array([[0.1, 0.9], [0.8, 0.2]]), [1, 1])
    0.5
    """
    labels = np.asarray(labels)
    if not np.all(labels == np.round(labels)):
        raise ValueError("accuracy is of classes, the labels are none")
    if outputs.shape[-1] == 1:
        logits = outputs.min() < 0 or outputs.max() > 1
        found = (outputs[..., 0] > (0.0 if logits else 0.5)).astype("int64")
        labels = labels.reshape(found.shape)
        if labels.min() < 0 or labels.max() > 1:
            raise ValueError("accuracy of one output is of labels 0 and 1")
    else:
        found = outputs.argmax(-1)
        if labels.ndim == outputs.ndim and labels.shape[-1] > 1:
            labels = labels.argmax(-1)
        labels = labels.reshape(found.shape)
        if labels.min() < 0 or labels.max() >= outputs.shape[-1]:
            raise ValueError(
                f"accuracy of {outputs.shape[-1]} outputs is of labels from 0 "
                f"to {outputs.shape[-1] - 1}, those here are {labels.min():g} "
                f"to {labels.max():g}"
            )
    return float(np.mean(found == labels))
