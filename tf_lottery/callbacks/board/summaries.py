"""Summaries as TensorBoard's own plugins read them.

Made with the `tensorboard` package alone, so that they do not depend on the
backend of Keras.
"""

import importlib
import time

import numpy as np

_BUCKETS = 30
# As in setup.cfg.
_TENSORBOARD = (2, 18)


def check_tensorboard():
    """Raises an `ImportError` unless TensorBoard is there and new enough."""
    wanted = ".".join(map(str, _TENSORBOARD))
    how = f"Install it: pip install 'tensorboard>={wanted}'"
    try:
        from tensorboard import version
    except ImportError as error:
        raise ImportError(
            f"`SparsityBoard` needs TensorBoard, which is missing. {how}"
        ) from error
    found = tuple(int(part) for part in version.VERSION.split(".")[:2])
    if found < _TENSORBOARD:
        raise ImportError(
            f"`SparsityBoard` needs TensorBoard {wanted} or newer. "
            f"Received: version {version.VERSION}. {how}"
        )


def scalars(values):
    """Returns summary values of a dict from tag to number."""
    return [
        _value(tag, np.asarray(value, "float32"), "scalar")
        for tag, value in values.items()
    ]


def histogram(tag, values):
    """Returns a summary value: how numbers, if finite, are distributed."""
    buckets = np.zeros((_BUCKETS, 3))
    values = np.asarray(values, "float64").ravel()
    values = values[np.isfinite(values)]
    if values.size:
        low, high = values.min(), values.max()
        edges = np.linspace(low, high, _BUCKETS + 1)
        buckets[:, 0], buckets[:, 1] = edges[:-1], edges[1:]
        if edges[0] < edges[1]:
            buckets[:, 2] = np.histogram(values, _BUCKETS, (low, high))[0]
        else:
            buckets[-1, 2] = values.size
    return _value(tag, buckets, "histogram")


def image(tag, size, png):
    """Returns a summary value: a PNG picture of a width and a height."""
    width, height = (str(length).encode() for length in size)
    return _value(tag, np.array([width, height, png], dtype=object), "image")


def text(tag, markdown):
    """Returns a summary value: text in Markdown."""
    return _value(tag, np.array(markdown.encode(), dtype=object), "text")


def session(hparams):
    """Returns summary values: the hyperparameters of a training."""
    from tensorboard.plugins.hparams import api

    return list(api.hparams_pb(hparams).value)


def session_end():
    """Returns a summary value: the training with hyperparameters is over."""
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams import plugin_data_pb2

    content = plugin_data_pb2.HParamsPluginData(
        session_end_info=plugin_data_pb2.SessionEndInfo(
            status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time()
        )
    )
    return _value(
        metadata.SESSION_END_INFO_TAG, np.zeros(0, "float32"), "hparams",
        content,
    )


def _value(tag, array, plugin, *content):
    """The array of a tag, for one of TensorBoard's plugins."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.util import tensor_util

    metadata = importlib.import_module(f"tensorboard.plugins.{plugin}.metadata")
    return summary_pb2.Summary.Value(
        tag=tag,
        # No name and no description of their own, which most plugins ask for.
        metadata=metadata.create_summary_metadata(*(content or (None, None))),
        tensor=tensor_util.make_tensor_proto(array),
    )
