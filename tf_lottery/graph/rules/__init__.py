"""One rule per class of layers and operations, registered on import."""

from tf_lottery.graph.rules import attention
from tf_lottery.graph.rules import einsum
from tf_lottery.graph.rules import elementwise
from tf_lottery.graph.rules import keras_hub
from tf_lottery.graph.rules import kernels
from tf_lottery.graph.rules import normalization
from tf_lottery.graph.rules import recurrent
from tf_lottery.graph.rules import reductions
from tf_lottery.graph.rules import shapes
from tf_lottery.graph.rules import slicing
from tf_lottery.graph.rules import spatial
from tf_lottery.graph.rules import wrappers
