"""Dead units of a model under unstructured masks."""

import functools
import warnings

import numpy as np
from keras import ops

from tf_lottery import graph as graph_lib
from tf_lottery import holding
from tf_lottery import weights as weights_lib
from tf_lottery.structured import constants as constants_lib
from tf_lottery.structured import liveness
from tf_lottery.weights import reasons


class Dead:
    """What is dead in a model under masks, see `structured.compact`.

    Attributes:
        graph: `tf_lottery.graph.Graph` of the model.
        masks: Dict from weight key to boolean array.
        kept: Boolean array over the ids of the graph, `False` = dead.
        constant: Boolean array over the ids: dead, for it does not vary.
    """

    def __init__(self, model, masks, inputs=None):
        self.inputs = inputs
        self.graph = graph_lib.trace(model)
        self.weights = {
            key: ops.convert_to_numpy(variable)
            for key, variable in weights_lib.variables(model).items()
        }
        self.masks = _masks(model, masks, self.weights)
        self.lives = liveness.Liveness(self.graph, self.masks)
        self.constant = np.zeros(self.graph.size, bool)
        self._find()

    def _find(self):
        """Removes until nothing is dead but what its layer needs."""
        fixed = ~self.lives.varying()
        fixed[0] = False
        pinned = np.zeros(self.graph.size, bool)
        while True:
            self._remove(fixed & ~pinned, pinned)
            empty = [
                producer.ids[0]
                for producer in self.graph.producers
                if len(producer.ids) and not self.kept[producer.ids].any()
            ]
            if not empty:
                break
            # Again from the start, for these may read what had gone.
            pinned[empty] = True

    def _remove(self, fixed, pinned):
        self.constant = np.zeros(self.graph.size, bool)
        while True:
            read = self.lives.read(self.constant)
            found = fixed & read & ~self.constant
            if found.any():
                found = self._removable(found, read & ~self.constant)
            if not found.any():
                break
            self.constant |= found
        self.kept = read & ~self.constant | pinned
        self.kept[0] = True

    @functools.cached_property
    def _own_constants(self):
        return self._constants(self.weights)

    def _constants(self, weights):
        masked = {
            key: np.where(self.masks[key], value, 0)
            if key in self.masks else value
            for key, value in weights.items()
        }
        return constants_lib.Constants(self.graph, masked, self.inputs)

    def taken_up(self, weights=None):
        """Returns what removed constants add to biases, by weight key."""
        added = {}
        if not self.constant.any():
            return added
        constants = self._own_constants
        if weights is not None:
            constants = self._constants(weights)
        for binding in self.graph.bindings:
            removed = self._read_constants(binding)
            if not removed.any():
                continue
            values = constants.of(binding)
            bias = constants.bias_of(binding)
            if bias is None or np.isnan(values[removed]).any():
                if np.any(values[removed] != 0):
                    _warn(binding, self.graph.model)
                continue
            added[bias] = constants.taken_up(binding, removed)
        return added

    def _removable(self, candidates, read):
        """Candidates that are zero, or that every reader can take up."""
        constants = self._own_constants
        found = candidates.copy()
        for binding in self.graph.bindings:
            if binding.kind not in ("in", "zero"):
                continue
            ids = np.asarray(binding.ids)
            reads = candidates[ids] & self.lives.weights_of(binding, read)
            if not reads.any():
                continue
            values = constants.of(binding)
            if binding.kind == "zero" or values is None:
                found[ids[reads]] = False
                continue
            exact = values == 0
            if constants.bias_of(binding) is not None:
                exact |= ~np.isnan(values)
            found[ids[reads & ~exact]] = False
        return found

    def _read_constants(self, binding):
        """Positions of a reader that are removed constants."""
        ids = np.asarray(binding.ids)
        if binding.kind != "in" or not self.constant[ids].any():
            return np.zeros(len(ids), bool)
        return self.constant[ids] & self.lives.weights_of(binding, self.kept)


def _masks(model, masks, weights):
    if masks is not None:
        holding.check_masks(model, masks)
        return {key: np.asarray(mask) for key, mask in masks.items()}
    held = holding.masks_of(model)
    if held:
        return held
    prunable = [
        weight.key for weight in weights_lib.inspect(model)
        if weight.reason is None or weight.reason in reasons.ON_REQUEST
    ]
    return {key: np.asarray(weights[key] != 0) for key in prunable}


def _warn(binding, model):
    warnings.warn(
        f"Units of model '{model.name}' that '{binding.key}' reads are "
        "removed, for they are zero in the trained model; at the rewinding "
        "point they are not, and cannot be taken up by a bias. The rewound "
        "small model differs from the rewound masked one by them.",
        stacklevel=4,
    )
