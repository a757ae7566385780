"""Summaries as TensorBoard's own plugins read them.

Made with the `tensorboard` package alone, so that they do not depend on the
backend of Keras.
"""

import importlib

import numpy as np
from packaging import version

_BUCKETS = 30
# As in setup.cfg.
_TENSORBOARD = "2.18"


def check_tensorboard():
    """Raises an `ImportError` unless TensorBoard is there and new enough."""
    how = f"Install it: pip install 'tensorboard>={_TENSORBOARD}'"
    try:
        from tensorboard import version as found
    except ImportError as error:
        raise ImportError(
            f"`SparsityBoard` needs TensorBoard, which is missing. {how}"
        ) from error
    if version.parse(found.VERSION) < version.parse(_TENSORBOARD):
        raise ImportError(
            f"`SparsityBoard` needs TensorBoard {_TENSORBOARD} or newer. "
            f"Received: version {found.VERSION}. {how}"
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
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams import summary

    ended = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
    # It is made of TensorFlow's messages, which are not TensorBoard's.
    return summary_pb2.Summary.FromString(ended.SerializeToString()).value[0]


def _value(tag, array, plugin):
    """The array of a tag, for one of TensorBoard's plugins."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.util import tensor_util

    metadata = importlib.import_module(f"tensorboard.plugins.{plugin}.metadata")
    return summary_pb2.Summary.Value(
        tag=tag,
        # No name and no description of their own.
        metadata=metadata.create_summary_metadata(None, None),
        tensor=tensor_util.make_tensor_proto(array),
    )
