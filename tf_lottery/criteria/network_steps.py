"""Reads a model into the steps that lookahead pruning looks along."""

import keras
import numpy as np
from keras import tree

from tf_lottery.criteria import neighbours
from tf_lottery.graph import functional

_PASSING_LAYERS = tuple(
    getattr(keras.layers, name)
    for name in (
        "Activation ActivityRegularization AlphaDropout Dropout ELU "
        "GaussianDropout GaussianNoise Identity LeakyReLU Masking "
        "Normalization PReLU ReLU Rescaling Softmax SpatialDropout1D "
        "SpatialDropout2D SpatialDropout3D AveragePooling1D "
        "AveragePooling2D AveragePooling3D MaxPooling1D MaxPooling2D "
        "MaxPooling3D GlobalAveragePooling1D GlobalAveragePooling2D "
        "GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D "
        "GlobalMaxPooling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D "
        "Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D "
        "UpSampling3D Resizing CenterCrop RandomBrightness RandomContrast "
        "RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom"
    ).split()
)
_PASSING_OPERATIONS = tuple(
    functional.operation_classes(
        *(
            "Absolute AveragePool Cast Celu Clip Elu Exp Gelu HardSigmoid "
            "HardSilu HardTanh LeakyRelu LogSigmoid LogSoftmax MaxPool "
            "Negative Pad Relu Relu6 Selu Sigmoid Silu Softmax Softplus "
            "Softsign StopGradient Tanh"
        ).split()
    )
)
_SUMS = (
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Average,
    *functional.operation_classes("Add", "Subtract"),
)
# With one tensor they shift or scale it by a constant.
_WITH_A_CONSTANT = tuple(
    functional.operation_classes(
        "Add", "Subtract", "Multiply", "Divide", "TrueDivide"
    )
)
_CONCATENATIONS = (
    keras.layers.Concatenate,
    *functional.operation_classes("Concatenate"),
)
_RESHAPES = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    *functional.operation_classes("Reshape", "Ravel"),
)
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


class Network:
    """The steps of a model in their order.

    Args:
        model: A built `keras.Model`.
        epsilon: See `tf_lottery.criteria.neighbours.BatchNorm`.

    Attributes:
        steps: List of `tf_lottery.criteria.neighbours.Step`.
        inputs: List of `Tensor`.
        outputs: List of `Tensor`.

    Raises:
        ValueError: If the model is no graph, or has an operation between
            weights whose channels cannot be followed; says why.
    """

    def __init__(self, model, epsilon):
        self.epsilon = epsilon
        self.steps = []
        view = functional.view(model)
        self.inputs = [_tensor(symbol) for symbol in view.graph.inputs]
        self.outputs = self._read(view, self.inputs)
        for tensor in self.outputs:
            tensor.uses += 1

    def _read(self, view, inputs):
        def call(operation, args, kwargs, outputs):
            return self._call(view, operation, args, kwargs, outputs)

        return functional.run(view.graph, inputs, call)

    def _call(self, view, operation, args, kwargs, outputs):
        inputs = [x for x in tree.flatten((args, kwargs)) if _is_tensor(x)]
        layer = _unwrapped(operation)
        step = self._step(layer, inputs, outputs)
        if step is not None:
            return step
        nested = self._nested(view, operation, args, kwargs)
        if nested.constants is None:
            inputs = functional.ordered(
                nested.graph, args, kwargs, _is_tensor
            )
        return self._read(nested, inputs)

    def _nested(self, view, operation, args, kwargs):
        reason = f"{type(operation).__name__} '{operation.name}'"
        if not isinstance(operation, keras.layers.Layer) or (
            functional.own_graph(operation) is None
            and type(operation).__module__.startswith("keras.")
        ):
            raise ValueError(
                "Criterion 'lookahead' cannot follow channels through "
                f"{reason}: it does not connect weights by sums over "
                "channels. Use a criterion without neighbours, such as "
                "'magnitude' or 'lamp'."
            )
        symbols = tree.map_structure(
            lambda x: x.symbol if _is_tensor(x) else x, (args, kwargs)
        )
        try:
            return functional.part(view, operation, *symbols)
        except functional.Unreadable as error:
            raise ValueError(
                f"Criterion 'lookahead' cannot read {reason}: {error}."
            ) from error

    def _add(self, step):
        for tensor in step.inputs:
            tensor.uses += 1
        self.steps.append(step)
        return step.output

    def _step(self, layer, inputs, outputs):
        """The output of a step that is known, else `None`."""
        output = _tensor(outputs[0])
        if getattr(layer, "data_format", None) == "channels_first":
            return None
        if isinstance(layer, keras.layers.BatchNormalization):
            if layer.axis not in (-1, len(outputs[0].shape) - 1):
                return None
            return self._add(
                neighbours.BatchNorm(
                    inputs[:1], output, layer, self.epsilon
                )
            )
        weights = _weights(layer)
        if weights:
            return self._linear(inputs, output, weights)
        kind = _kind(layer, inputs, output)
        return None if kind is None else self._add(kind(inputs, output))

    def _linear(self, inputs, output, weights):
        for variable, rows, columns in weights:
            # Masks, as an embedding hands on, are no inputs of a weight.
            width = int(columns.max()) + 1
            made = neighbours.Tensor(output.symbol, width)
            step = neighbours.Linear(
                [] if rows is None else inputs[:1],
                made,
                variable,
                np.zeros(1, int) if rows is None else rows,
                columns,
            )
            inputs = [self._add(step)]
        return inputs[0]


def _kind(layer, inputs, output):
    if isinstance(layer, _RESHAPES):
        return _reshape(inputs[0], output)
    if isinstance(layer, _PASSING_LAYERS + _PASSING_OPERATIONS):
        inputs[1:] = []
        return _same_width(neighbours.Step, inputs, output)
    if isinstance(layer, keras.layers.Permute):
        kept = layer.dims[-1] == len(layer.dims)
        return neighbours.Step if kept else None
    if len(inputs) == 1 and isinstance(layer, _WITH_A_CONSTANT):
        return _same_width(neighbours.Step, inputs, output)
    if isinstance(layer, _SUMS):
        return _same_width(neighbours.Sum, inputs, output)
    if isinstance(layer, _CONCATENATIONS):
        last = layer.axis in (-1, len(output.symbol.shape) - 1)
        return neighbours.Concatenation if last else None
    return None


def _same_width(kind, inputs, output):
    same = all(tensor.width == output.width for tensor in inputs)
    return kind if same else None


def _reshape(tensor, output):
    """Only what keeps the channels, or lines all positions up, is followed."""
    if tensor.width == output.width:
        return neighbours.Step
    flat = len(output.symbol.shape) == 2 and tensor.width
    if flat and output.width and output.width % tensor.width == 0:
        return neighbours.Flattening
    return None


def _weights(layer):
    """Returns (variable, rows, columns) of each weight of a layer in turn."""
    if type(layer).call not in _KNOWN_CALLS:
        return None
    if isinstance(layer, keras.layers.Embedding):
        return [(layer.embeddings, None, _range(layer.embeddings, -1))]
    if isinstance(layer, _SEPARABLE):
        return [
            _depthwise(layer.depthwise_kernel),
            _dense(layer.pointwise_kernel),
        ]
    if isinstance(layer, _DEPTHWISE):
        return [_depthwise(layer.kernel)]
    if isinstance(layer, _TRANSPOSED):
        kernel = layer.kernel
        return [(kernel, _range(kernel, -1), _range(kernel, -2)[:, None])]
    if isinstance(layer, _CONVOLUTIONS):
        return [_grouped(layer.kernel, layer.groups)]
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum(layer)
    return [_dense(layer.kernel)]


# A subclass with a call of its own may do anything with its weights.
_KNOWN_CALLS = {
    cls.call
    for cls in (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.Embedding,
        *_CONVOLUTIONS,
        *_TRANSPOSED,
        *_DEPTHWISE,
        *_SEPARABLE,
    )
}


def _range(variable, axis):
    return np.arange(variable.shape[axis])


def _dense(kernel):
    return kernel, _range(kernel, -2)[:, None], _range(kernel, -1)


def _depthwise(kernel):
    channels, multiplier = kernel.shape[-2:]
    columns = np.arange(channels * multiplier).reshape(channels, multiplier)
    return kernel, np.arange(channels)[:, None], columns


def _grouped(kernel, groups):
    if groups == 1:
        return _dense(kernel)
    size, filters = kernel.shape[-2:]
    first = np.arange(filters) // (filters // groups) * size
    return kernel, np.arange(size)[:, None] + first, np.arange(filters)


def _einsum(layer):
    """One that is a Dense layer on the last axis."""
    kernel = layer.kernel
    terms, result = layer.equation.replace(" ", "").split("->")
    source, weight = terms.split(",")
    if weight != source[-1] + result[-1]:
        return None
    return [_dense(kernel)]


def _tensor(symbol):
    return neighbours.Tensor(symbol, symbol.shape[-1])


def _is_tensor(value):
    return isinstance(value, neighbours.Tensor)


def _unwrapped(operation):
    while getattr(operation, "transparent", False) or isinstance(
        operation, keras.layers.TimeDistributed
    ):
        operation = operation.layer
    return operation
