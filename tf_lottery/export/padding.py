"""Strided convolutions with padding on every side, as XNNPACK asks for."""

import keras

from tf_lottery import internals


def explicit_padding(model: keras.Model) -> tuple[keras.Model, list[str]]:
    """Returns a copy whose stride-2 convolutions pad every side alike.

    Padding `"same"` at stride 2 puts nothing before an even image and one
    pixel behind it; XNNPACK's sparse kernels on ARM want one on each side of
    a 3x3 kernel. Where the image is odd the copy computes the same; where it
    is even, kernels lie one pixel further to the upper left: the outputs
    change a little, and some epochs of training bring back the accuracy.

    Args:
        model: A built Sequential or Functional `keras.Model`.

    Returns:
        Tuple of the new `keras.Model` with the same weights, not compiled,
        and a list of the names of the layers that are not what they were.

    Raises:
        ValueError: If the model is subclassed.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)),
    ...     keras.layers.Conv2D(4, 3, 2, padding="same", name="conv")])
    >>> padded, shifted = tfl.export.explicit_padding(model)
    >>> shifted
    ['conv']
    >>> padded.output_shape
    (None, 4, 4, 4)
    """
    sequential = isinstance(model, keras.Sequential)
    if not sequential and not internals.graphs.is_functional(model):
        raise ValueError(
            "Padding can be made explicit in Sequential and Functional "
            f"models only. Received: model={model!r} (of type {type(model)})"
        )
    shifted = []

    def clone(layer):
        if _strided(layer) and layer.padding == "same":
            return _padded(layer, shifted)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return _repadded(layer, shifted)
        return layer.__class__.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy, shifted


def _strided(layer):
    return isinstance(
        layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    ) and (
        tuple(layer.strides) == (2, 2) and layer.data_format == "channels_last"
        and all(size % 2 for size in layer.kernel_size)
    )


def _padded(layer, shifted):
    amounts = tuple((size // 2, size // 2) for size in layer.kernel_size)
    if any(length is None or length % 2 == 0 for length in layer.input.shape[
        1:3
    ]):
        shifted.append(layer.name)
    config = layer.get_config() | {"padding": "valid"}
    return keras.Sequential(
        [
            keras.layers.ZeroPadding2D(amounts, name=f"{layer.name}_pad"),
            layer.__class__.from_config(config),
        ],
        name=layer.name,
    )


def _repadded(layer, shifted):
    readers = internals.graphs.readers(layer)
    config = layer.get_config()
    small = all(
        _strided(reader) and reader.padding == "valid"
        and tuple(reader.kernel_size) == (3, 3)
        for reader in readers
    )
    if readers and small and layer.padding == ((0, 1), (0, 1)):
        shifted.append(layer.name)
        config["padding"] = ((1, 1), (1, 1))
    return keras.layers.ZeroPadding2D.from_config(config)
