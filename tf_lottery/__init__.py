"""Pruning and lottery tickets for Keras 3.

Examples in docstrings assume `import keras`, `import numpy as np` and
`import tf_lottery as tfl`.
"""

import importlib as _importlib
import typing as _typing

from tf_lottery.utils import faces as _faces

__version__ = "0.1.0"

if not _faces.IS_COMMAND_LINE:
    from tf_lottery.api import *  # noqa: F403
    from tf_lottery.api import __all__ as __all__

# They import tensorflow-datasets and keras-tuner where these are used.
_LATER = ("experiments", "tuner")

if _typing.TYPE_CHECKING:
    from tf_lottery import experiments as experiments
    from tf_lottery import tuner as tuner
else:

    def __getattr__(name):
        if name in _LATER:
            return _importlib.import_module(f"tf_lottery.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    names = globals().get("__all__", ())
    return sorted([*names, *_LATER, "__version__"])
