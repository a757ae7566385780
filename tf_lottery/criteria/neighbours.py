"""Steps of a network between one weight and the next, channel by channel.

Each step carries a number per channel of its inputs forward, or of its output
backward. There are two kinds of numbers: squared norms, which normalisation
scales, and counts of identities and missing neighbours, which it does not.
"""

import dataclasses

import numpy as np
from keras import ops


@dataclasses.dataclass(eq=False)
class Tensor:
    """What flows between steps.

    Attributes:
        symbol: `keras.KerasTensor`.
        width: Integer, the number of channels.
        uses: Integer, how many steps read it, and outputs of the model.
    """

    symbol: object
    width: int
    uses: int = 0


@dataclasses.dataclass(eq=False)
class Step:
    """Channels pass as they are."""

    inputs: list
    output: Tensor

    def forward(self, values, counts):
        return values[0]

    def backward(self, value, counts):
        return [value]


class Sum(Step):
    """Where paths meet, as in residual networks."""

    def forward(self, values, counts):
        return sum(values)

    def backward(self, value, counts):
        return [value] * len(self.inputs)


class Concatenation(Step):
    """Channels of several tensors side by side."""

    def forward(self, values, counts):
        return np.concatenate(values)

    def backward(self, value, counts):
        widths = [tensor.width for tensor in self.inputs]
        return np.split(value, np.cumsum(widths)[:-1])


class Flattening(Step):
    """Every position of a channel, channels varying fastest, as a channel."""

    def _positions(self):
        return self.output.width // self.inputs[0].width

    def forward(self, values, counts):
        return np.tile(values[0], self._positions())

    def backward(self, value, counts):
        value = value.reshape(self._positions(), -1)
        return [value.mean(0) if counts else value.sum(0)]


@dataclasses.dataclass(eq=False)
class BatchNorm(Step):
    """Each channel is divided by its standard deviation.

    Args:
        layer: `keras.layers.BatchNormalization`.
        epsilon: Float added to the variance, or `None` for the layer's.
    """

    layer: object
    epsilon: float | None

    def _factor(self):
        layer = self.layer
        epsilon = layer.epsilon if self.epsilon is None else self.epsilon
        gamma = values_of(layer.gamma) if layer.scale else 1.0
        return gamma**2 / (values_of(layer.moving_variance) + epsilon)

    def forward(self, values, counts):
        return values[0] if counts else values[0] * self._factor()

    def backward(self, value, counts):
        return [value if counts else value * self._factor()]


@dataclasses.dataclass(eq=False)
class Linear(Step):
    """A weight. What is before it cannot be seen from behind.

    Attributes:
        variable: `keras.Variable`.
        rows: Integer array that broadcasts against the weight: the channel of
            the input that each weight reads.
        columns: Likewise, the channel of the output that it makes.
    """

    variable: object
    rows: np.ndarray
    columns: np.ndarray

    def norms(self, squares):
        """Returns squared norms per input and per output channel."""
        width = self.inputs[0].width if self.inputs else 1
        return (
            _sums(squares, self.rows, width),
            _sums(squares, self.columns, self.output.width),
        )


def values_of(variable):
    """Returns the values of a variable in float64."""
    return ops.convert_to_numpy(variable).astype("float64")


def _sums(squares, index, size):
    """Sums over all weights of equal index."""
    index = index.reshape((1,) * (squares.ndim - index.ndim) + index.shape)
    # Axes along which the index is one and the same first: cheap.
    axes = tuple(a for a in range(index.ndim) if index.shape[a] == 1)
    squares = squares.sum(axes, keepdims=True)
    return np.bincount(index.ravel(), squares.ravel(), minlength=size)


def look_back(steps, inputs, norms):
    """Returns the sum over what comes before each tensor.

    Args:
        steps: List of `Step` in the order of the network.
        inputs: List of `Tensor`, the model's inputs.
        norms: Dict from `Linear` to `(per input, per output)` squared norms.

    Returns:
        Dict from `Tensor` to array of its width.
    """
    none = {tensor: np.zeros(tensor.width) for tensor in inputs}
    found = none, {tensor: np.ones(tensor.width) for tensor in inputs}
    forks = identities(steps, inputs)
    for step in steps:
        for counts, values in enumerate(found):
            if isinstance(step, Linear):
                value = np.zeros(step.output.width)
                value = value if counts else norms[step][1]
            else:
                parts = [
                    np.full(tensor.width, float(counts))
                    if isinstance(step, Sum) and tensor in forks
                    else values[tensor]
                    for tensor in step.inputs
                ]
                value = step.forward(parts, counts)
            values[step.output] = value
    return {tensor: found[0][tensor] + found[1][tensor] for tensor in found[0]}


def look_ahead(steps, inputs, outputs, norms):
    """Returns the sum over what reads each tensor.

    Args:
        steps: See `look_back`.
        inputs: See `look_back`.
        outputs: List of `Tensor`, the model's outputs.
        norms: See `look_back`.

    Returns:
        Dict from `Tensor` to array of its width.
    """
    tensors = [*inputs, *(step.output for step in steps)]
    found = [{t: np.zeros(t.width) for t in tensors} for _ in range(2)]
    for tensor in outputs:
        found[1][tensor] = np.ones(tensor.width)
    forks = identities(steps, inputs)
    for step in reversed(steps):
        for counts, values in enumerate(found):
            if isinstance(step, Linear):
                parts = [np.zeros(t.width) for t in step.inputs]
                if not counts:
                    parts = [norms[step][0]] * len(parts)
            else:
                parts = step.backward(values[step.output], counts)
            for tensor, part in zip(step.inputs, parts):
                if isinstance(step, Sum) and tensor in forks:
                    part = float(counts)
                values[tensor] = values[tensor] + part
    return {tensor: found[0][tensor] + found[1][tensor] for tensor in tensors}


def identities(steps, inputs):
    """The tensors that skip weights: from a fork on, no weight in between."""
    found = {tensor for tensor in inputs if tensor.uses > 1}
    for step in steps:
        passed = not isinstance(step, (Linear, Sum))
        if step.output.uses > 1 or (
            passed and all(tensor in found for tensor in step.inputs)
        ):
            found.add(step.output)
    return found
