"""The masks and clusters of a model in the files that Keras writes.

`.keras` and `.weights.h5` files have a group of their own for those of a
model, next to its layers and its optimizer. Keras itself passes it over, so
that the file loads without tf_lottery; masks are found by weight key, which
says nothing of the optimizer. A model inside another one has its own group.
"""

import contextlib
import json
import math
import operator
import warnings
import weakref

import keras
import numpy as np
from keras import ops

from tf_lottery import clusters as clusters_lib
from tf_lottery import constraints
from tf_lottery import holding
from tf_lottery import internals
from tf_lottery import masks as masks_lib
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.holding import homes
from tf_lottery.holding import models

VERSION = 1

# Keras tells what it has saved by the ids of objects, which must not be those
# of objects that are gone.
_carriers = weakref.WeakKeyDictionary()
_asked = []


class Carrier(internals.models.Saveable):
    """What Keras saves and loads as the masks of a model."""

    def __init__(self, model):
        # Not the model itself: Keras would save it as a part of this.
        self._model = weakref.ref(model)

    def __repr__(self):
        return f"<Masks of model '{self._model().name}'>"

    def save_own_variables(self, store):
        model = self._model()
        holding.settle(model)
        if internals.models.path_in_file(store) == internals.models.GROUP:
            _warn_of_loading(model)
        held = {
            key: variable for key, variable in _own(model).items()
            if (keep := constraints.keep_of(variable)) and not keep.in_layer
        }
        if held:
            masks = {k: constraints.mask_of(v) for k, v in held.items()}
            clusters = clusters_lib.held(held)
            header = {
                "version": VERSION,
                "shapes": {key: mask.shape for key, mask in masks.items()},
            }
            if clusters:
                header["clusters"] = {k: c.each for k, c in clusters.items()}
                store["indices"] = _joined(clusters.values())
            store["header"] = np.frombuffer(
                json.dumps(header).encode(), "uint8"
            )
            store["bits"] = np.frombuffer(
                b"".join(map(masks_lib.pack, masks.values())), "uint8"
            )

    def load_own_variables(self, store):
        model = self._model()
        masks, clusters = read(store)
        if masks:
            path = internals.models.path_in_file(store)
            are_lost = _are_lost(model, masks)
            holding.hold(model, masks)
            if are_lost:
                internals.models.load_again(model, store, path)
            _share(model, clusters)
        if models.is_compiled(model):
            _finish(model)


def of(model):
    """Returns the `Carrier` of a model, or `None` where there is no need."""
    needed = (
        len(_asked) or optimizers.awaits_masks() or homes.are_in(model)
    )
    if not needed:
        return None
    if model not in _carriers:
        _carriers[model] = Carrier(model)
    return _carriers[model]


@contextlib.contextmanager
def asked_for():
    """Restores the masks of files, whatever the class of the model."""
    internals.models.install()
    _asked.append(None)
    try:
        yield
    finally:
        _asked.pop()


def read(store):
    """Reads the masks, and the clusters with their number, of a file by key.

    Raises:
        ValueError: If a newer tf_lottery wrote it, or it is damaged.
    """
    if not len(store.keys()):
        return {}, {}
    try:
        header = json.loads(np.asarray(store["header"]).tobytes())
        version, shapes = header["version"], header["shapes"]
        shapes = {key: _shape(shape) for key, shape in shapes.items()}
        bits = np.asarray(store["bits"], "uint8").tobytes()
        each = header.get("clusters", {})
        each = {key: operator.index(n) for key, n in each.items()}
        indices = np.asarray(store["indices"] if each else (), "int64").ravel()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            "The masks of this file are damaged: their header cannot be read "
            f"({error!r})."
        ) from None
    if not isinstance(version, int) or version > VERSION:
        raise ValueError(
            f"The masks of this file have version {version!r}. Expected: at "
            f"most {VERSION}. Install a newer tf_lottery."
        )
    return _unpacked(bits, shapes), _separated(indices, each, shapes)


def _shape(lengths):
    shape = tuple(map(operator.index, lengths))
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape}")
    return shape


def _unpacked(bits, shapes):
    sizes = [-(-math.prod(shape) // 8) for shape in shapes.values()]
    if sum(sizes) != len(bits):
        raise ValueError(
            "The masks of this file are damaged. "
            f"Received: {len(bits)} bytes. Expected: {sum(sizes)} bytes."
        )
    masks, start = {}, 0
    for (key, shape), size in zip(shapes.items(), sizes):
        masks[key] = masks_lib.unpack(bits[start:start + size], shape)
        start += size
    return masks


def _joined(clusters):
    """The clusters of all weights, in as few bytes as hold them."""
    found = np.concatenate(
        [ops.convert_to_numpy(c.index).ravel() for c in clusters]
    )
    return found.astype(np.min_scalar_type(found.max()))


def _separated(indices, each, shapes):
    found, start = {}, 0
    for key, number in each.items():
        shape = shapes.get(key, (0,))
        index = indices[start:start + math.prod(shape)]
        start += math.prod(shape)
        if not 2 <= number <= 257 or not index.size or not (
            0 <= index.min() <= index.max() < number * index.size
        ):
            break
        found[key] = index.reshape(shape), number
    if len(found) < len(each) or start != len(indices):
        raise ValueError(
            "The clusters of this file are damaged. Received: "
            f"{len(indices)} weights. Expected: those of {list(each)}."
        )
    return found


def _share(model, clusters):
    """Puts clusters on the weights of a model that holds the masks."""
    variables = weights_lib.variables(model)
    with internals.models.strategy_scope(model):
        for key, (index, each) in clusters.items():
            clusters_lib.attach(variables[key], index, each)
    if clusters and models.is_compiled(model):
        internals.models.forget_trace(model)


def _own(model):
    """The variables of a model that no model inside it has."""
    inner = {
        id(variable)
        for layer in internals.layers.below(model)
        if isinstance(layer, keras.Model) for variable in layer.variables
    }
    return {
        key: variable
        for key, variable in weights_lib.variables(model).items()
        if id(variable) not in inner
    }


def _are_lost(model, masks):
    """Whether masks held before have pruned weights that the file keeps."""
    variables = weights_lib.variables(model)
    for key, mask in masks.items():
        variable = variables.get(key)
        held = None if variable is None else constraints.mask_of(variable)
        if held is not None and held.shape == mask.shape:
            if (mask & ~held).any():
                return True
    return False


def _finish(model):
    """Ends the loading of a model: the optimizer has its masks."""
    masked = optimizers.find(model.optimizer)
    if masked is None:
        return
    if masked.legacy_masks:
        _take_over(model, masked.legacy_masks)
    expected, found = masked.expected, len(masked.held(model.variables))
    masked.has_arrived()
    if found < expected:
        raise ValueError(
            f"The optimizer of model '{model.name}' held masks of {expected} "
            f"weights when it was saved. Received: masks of {found} weights."
        )


def _take_over(model, masks):
    """Holds masks of the first release, once all weights are loaded."""
    keys = {id(v): key for key, v in weights_lib.variables(model).items()}
    found = {keys[id(variable)]: mask for variable, mask in masks}
    wrong = [
        keys[id(variable)] for variable, mask in masks
        if np.count_nonzero(ops.convert_to_numpy(variable)[~mask])
    ]
    if wrong:
        raise ValueError(
            "The masks of this file lie by position, and these are no "
            f"positions of zeros in model '{model.name}': {wrong}. Weights "
            "were frozen before it was saved. Load it with `compile=False`, "
            "and hold its masks by `tf_lottery.hold`."
        )
    holding.hold(model, found)


def _warn_of_loading(model):
    masked = models.is_compiled(model) and optimizers.find(model.optimizer)
    custom = type(model).compile is not keras.Model.compile and (
        type(model).compile_from_config is keras.Model.compile_from_config
    )
    keys = [
        key for key, variable in weights_lib.variables(model).items()
        if (keep := constraints.keep_of(variable)) and not keep.in_layer
    ]
    if not keys or masked and not custom:
        return
    reason = "overrides `compile`" if custom else "is not compiled"
    warnings.warn(
        f"Model '{model.name}' {reason}, so Keras loads the file that is "
        f"saved now without the masks of {keys}, which are in it. Load it "
        "with `tf_lottery.load_model(path)`, or weights with "
        "`tf_lottery.load_weights(model, path)`.",
        stacklevel=2,
    )


internals.models.register(of, holding.on_compile, holding.hold_shared)
