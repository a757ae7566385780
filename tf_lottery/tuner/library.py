"""keras-tuner, which has to be there and new enough."""

from packaging import version

_LEAST = "1.4.7"
_INSTALL = "Install it: pip install --upgrade 'tf_lottery[tuner]'"


def load():
    """Imports and returns keras-tuner, or says what to do."""
    try:
        import keras_tuner
    except ImportError as error:
        raise ImportError(
            f"`tf_lottery.tuner` needs keras-tuner: {error}. {_INSTALL}"
        ) from error
    if version.parse(keras_tuner.__version__) < version.parse(_LEAST):
        raise ImportError(
            f"`tf_lottery.tuner` needs keras-tuner {_LEAST} or later. "
            f"Received: version {keras_tuner.__version__}. {_INSTALL}"
        )
    return keras_tuner


def need_bayesian():
    """Raises an `ImportError` unless Bayesian search can run."""
    try:
        import scipy.optimize  # noqa: F401
        import sklearn.gaussian_process  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Bayesian search needs scikit-learn and scipy: {error}. Install "
            "them: pip install 'tf_lottery[bayesian]'"
        ) from error


def need_grpc():
    """Imports and returns gRPC, by which machines talk to each other."""
    try:
        import grpc
    except ImportError as error:
        raise ImportError(
            f"A search on several machines needs gRPC: {error}. Install it: "
            "pip install 'tf_lottery[tuner]'"
        ) from error
    return grpc


keras_tuner = load()
