"""Linear connectivity: the error between two trained networks."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery import weights as weights_lib
from tf_lottery.analysis import evaluating
from tf_lottery.analysis import preserving
from tf_lottery.analysis import recalibration
from tf_lottery.analysis import sources
from tf_lottery.report import charts
from tf_lottery.utils import checks
from tf_lottery.utils import types

STABLE = 0.02


@dataclasses.dataclass(frozen=True)
class Connectivity:
    """Errors along the line between two networks.

    Attributes:
        fractions: Tuple of floats from 0 (the first) to 1 (the second).
        errors: Dict from the name of the data to a tuple of errors, one for
            each fraction; empty for labels that are no classes.
        losses: The same of mean losses; empty without a loss.
    """

    fractions: tuple[float, ...]
    errors: dict[str, tuple[float, ...]]
    losses: dict[str, tuple[float, ...]]

    @property
    def barriers(self) -> dict[str, float]:
        """Dict from name to the highest error less the mean of both ends."""
        return {
            name: max(values) - (values[0] + values[-1]) / 2
            for name, values in self.errors.items()
        }

    @property
    def loss_barriers(self) -> dict[str, float]:
        """Dict from name to the most that the loss is above the straight line.

        Reference: Entezari et al. 2022, equation 1,
        https://arxiv.org/abs/2110.06296.
        """
        return {
            name: max(
                value - ((1 - fraction) * values[0] + fraction * values[-1])
                for fraction, value in zip(self.fractions, values)
            )
            for name, values in self.losses.items()
        }

    @property
    def stable(self) -> bool:
        """Boolean, whether all barriers of the error are below 2 points."""
        return all(value < STABLE for value in self.barriers.values())

    def chart(self) -> dict[str, Any]:
        """Returns the errors, or else the losses, as a Vega-Lite chart."""
        lines, label, scale = self.errors, "error (%)", 100
        if not lines:
            lines, label, scale = self.losses, "loss", 1
        return charts.lines(
            "Linear interpolation",
            "fraction of the way",
            label,
            [
                {"series": name, "x": fraction, "y": scale * value}
                for name, values in lines.items()
                for fraction, value in zip(self.fractions, values)
            ],
        )


def linear_connectivity(
    model: keras.Model,
    a: sources.Weights,
    b: sources.Weights,
    data: types.Data | Mapping[str, types.Data],
    points: int = 30,
    batch_size: int = 512,
    recalibrate: types.Data | np.ndarray | str | None = "auto",
    loss: types.Loss | None = None,
) -> Connectivity:
    """Measures the error on the line between two trained networks.

    Two trainings are *linearly connected* if no error on the line between
    them is much above those of its ends. All weights and statistics are
    interpolated. Those of batch normalisation are estimated anew at every
    point, both ends included: an interpolated variance is not that of an
    interpolated network, and the barrier would be an artefact.

    Reference: Frankle, Dziugaite, Roy and Carbin 2020, "Linear Mode
    Connectivity and the Lottery Ticket Hypothesis", section 2,
    https://arxiv.org/abs/1912.05671.

    Args:
        model: A built `keras.Model`; it is left as it is.
        a: Weights after the first training: a dict from weight key to
            array, `keras.Model`, `Snapshot` or `Ticket`, or a list of arrays
            as of `model.get_weights()`.
        b: Weights after the second training.
        data: Dict from name to data, such as `{"train": (x, y), "test": ...}`,
            or data alone: arrays `(x, y)`, a batched `tf.data.Dataset` or a
            `keras.utils.PyDataset`.
        points: Integer, evenly spaced points, ends included. Defaults to 30.
        batch_size: Integer, for data that are arrays. Defaults to 512.
        recalibrate: Data, or an array of inputs, to estimate the statistics
            of batch normalisation on; `None` to interpolate them. Defaults
            to `"auto"`: `data["train"]`, if the model has any.
        loss: Loss function or its name. Defaults to the compiled one, if the
            model is compiled.

    Raises:
        ValueError: If weights do not fit the model, `points` is below 2, or
            the model has batch normalisation and there is nothing to
            estimate its statistics on.

    Example:

    >>> import keras, numpy as np
    >>> model = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
    >>> x, y = np.eye(2, dtype="float32"), np.array([0, 1])
    >>> found = linear_connectivity(model, [np.eye(2)], [-np.eye(2)],
    ...                             {"test": (x, y)}, points=3)
    >>> found.errors["test"], found.barriers["test"]
    ((0.0, 0.5, 1.0), 0.5)
    """
    checks.whole("points", points, 2)
    weights_lib.check_built(model)
    check_recalibrate(recalibrate)
    data = named(data)
    line = _Line(model, a, b)
    with preserving.preserved(model):
        renew = _recalibration(model, data, recalibrate, batch_size)
        evaluate = evaluating.Evaluator(
            model, loss, batch_size, "linear_connectivity"
        )
        fractions = [float(f) for f in np.linspace(0, 1, points)]
        found = {name: [] for name in data}
        for fraction in fractions:
            line.go_to(fraction)
            renew()
            for name, part in data.items():
                found[name].append(evaluate(part))
    return Connectivity(
        tuple(fractions), _along(found, "error"), _along(found, "loss")
    )


def named(data):
    """Returns data by name, where they have none `"data"`."""
    if isinstance(data, dict) and not data:
        checks.refuse("data", data, "data, or a dict of some")
    return dict(data) if isinstance(data, dict) else {"data": data}


def check_recalibrate(value):
    """Raises an error if it is no argument `recalibrate`."""
    if isinstance(value, str):
        checks.choice("recalibrate", value, ("auto",))
    else:
        checks.data("recalibrate", value)


class _Line:
    """The line between two points in the space of a model's weights."""

    def __init__(self, model, a, b):
        a, b = _arrays(model, a, "a"), _arrays(model, b, "b")
        sources.check_alike(a, b, ("a", "b"))
        self._variables = _floating(model, a)
        self._a = {key: a[key].astype("float64") for key in self._variables}
        self._b = {key: b[key].astype("float64") for key in self._variables}

    def go_to(self, fraction):
        for key, variable in self._variables.items():
            value = self._b[key]
            if fraction < 1:
                # Exact where both are equal.
                value = self._a[key] + fraction * (value - self._a[key])
            variable.assign(ops.cast(value, variable.dtype))


def _arrays(model, source, name):
    if isinstance(source, (list, tuple)):
        keys = {id(v): k for k, v in weights_lib.variables(model).items()}
        known = [keys[id(v)] for v in model.weights]
        if len(known) != len(source):
            raise ValueError(
                f"Argument `{name}` must have an array for each of the "
                f"{len(known)} weights of model '{model.name}'. "
                f"Received: {len(source)} arrays"
            )
        source = dict(zip(known, source))
    return sources.weights(source, name)


def _floating(model, arrays):
    variables = weights_lib.variables(model)
    unknown = sorted(arrays.keys() - variables.keys())
    if unknown:
        raise ValueError(
            f"Model '{model.name}' has no weights {unknown}. "
            f"Expected keys among: {sorted(variables)}"
        )
    for key, array in arrays.items():
        shape = tuple(variables[key].shape)
        if np.shape(array) != shape:
            raise ValueError(
                f"The weight '{key}' of model '{model.name}' has shape "
                f"{shape}. Received: an array of shape {np.shape(array)}"
            )
    return {
        key: variables[key] for key in arrays
        if keras.backend.is_float_dtype(variables[key].dtype)
    }


def _recalibration(model, data, given, batch_size):
    if given is None or not recalibration.normalizations(model):
        return lambda: None
    if isinstance(given, str):
        if "train" not in data:
            raise ValueError(
                f"Model '{model.name}' has batch normalisation, whose "
                "statistics are estimated anew at each point of the line. "
                "Pass `recalibrate=x_train`, or `data={'train': ..., "
                "'test': ...}`, or `recalibrate=None` to interpolate them. "
                f"Received: recalibrate={given!r}, data of {sorted(data)}"
            )
        given = data["train"]
    return recalibration.Recalibration(model, given, batch_size)


def _along(found, name):
    return {
        key: tuple(getattr(value, name) for value in values)
        for key, values in found.items()
        if all(getattr(value, name) is not None for value in values)
    }
