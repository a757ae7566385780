"""The private ground of Keras: what tf_lottery uses and Keras may change.

Nothing private to Keras is touched elsewhere, except in classes that extend
one of Keras'. `tests/test_internals.py` says which names these are.
"""

from tf_lottery.internals import graphs
from tf_lottery.internals import layers
from tf_lottery.internals import models
from tf_lottery.internals import optimizers

__all__ = ["graphs", "layers", "models", "optimizers"]
