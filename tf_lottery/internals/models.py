"""Models: what Keras saves with one, its `compile`, its steps.

Keras has no public way to save something of one's own with every model, nor
to hear of a `compile`. Both are attributes here that `keras.Model` gets when
the first mask is held: Keras looks for what it saves among the attributes of
a model, and sets one when `compile` ends. A third asks, when `fit` begins,
for masks that came through another model. `import tf_lottery` adds nothing.
"""

import contextlib
import functools
import operator

import keras
from keras.src.backend.common import global_state
from keras.src.backend.common import stateless_scope
from keras.src.saving import keras_saveable
from keras.src.saving import saving_lib
from keras.src.trainers import epoch_iterator
from keras.src.trainers.data_adapters import py_dataset_adapter

from tf_lottery.internals import layers

# The name of the group in a saved file.
GROUP = "_tf_lottery_masks"
# A dict of the arguments a model was compiled with.
compile_config = operator.attrgetter("_compile_config.config")
# Whether assignments are collected instead of done, as under JAX.
is_stateless = stateless_scope.in_stateless_scope

_hooks = {}
# How many weights have got a first mask; how many had when the step of a model
# was made is an attribute of the model.
_first_masks = [0]
_KNOWN = "_tf_lottery_known_masks"


class Saveable(keras_saveable.KerasSaveable):
    """The base class of what Keras saves and loads with a model."""

    def _obj_type(self):
        # Keras knows a fixed set of words; this one has no attributes of its
        # own that would hide ours.
        return "Loss"


def register(carry, compiled, shared):
    """Names what `install` calls for any model.

    `carry` returns the `Saveable` that is saved and loaded with it, or `None`;
    `compiled` is called after its `compile`; `shared` holds the masks that it
    got through another one, and returns whether there are any.
    """
    _hooks.update(carry=carry, compiled=compiled, shared=shared)


def install():
    """Adds the attributes to `keras.Model`, once in a process."""
    if GROUP not in vars(keras.Model):
        setattr(keras.Model, GROUP, property(_hooks["carry"]))
        keras.Model._compile_config = _CompileConfig()
        keras.Model.make_train_function = _heeding_masks(
            keras.Model.make_train_function
        )


def note_first_mask():
    """Lets models whose step is traced look for masks before their next."""
    _first_masks[0] += 1


def _heeding_masks(make):
    @functools.wraps(make)
    def make_train_function(self, force=False):
        is_old = vars(self).get(_KNOWN, 0) < _first_masks[0]
        vars(self)[_KNOWN] = _first_masks[0]
        if is_old and not force and self.train_function is not None:
            force = _hooks["shared"](self)
        return make(self, force)

    return make_train_function


class _CompileConfig:
    """The attribute that Keras sets at the end of `compile`."""

    def __get__(self, model, owner=None):
        if model is None:
            return self
        config = vars(model).get("_compile_config")
        if config is None:
            raise AttributeError(f"Model '{model.name}' was not compiled.")
        # Saving to a legacy .h5 file takes the optimizer out, for good.
        config.config.setdefault("optimizer", getattr(model, "optimizer", None))
        return config

    def __set__(self, model, config):
        vars(model)["_compile_config"] = config
        _hooks["compiled"](model)

    def __delete__(self, model):
        vars(model).pop("_compile_config", None)


def set_optimizer(model, optimizer):
    """Replaces the optimizer of a compiled model and nothing else.

    `compile` would also drop metrics. The configuration must know it, or a
    saved file would have the old one; and loading must not put a second
    `LossScaleOptimizer` around a chain that has one.
    """
    model.optimizer = optimizer
    config = compile_config(model)
    config["optimizer"] = optimizer
    while optimizer is not None:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            config["auto_scale_loss"] = False
        optimizer = getattr(optimizer, "inner_optimizer", None)


def share_metrics(model, other):
    """Makes a compiled model count in the metrics of another one."""
    model._loss_tracker = other._loss_tracker
    model._compile_metrics = other._compile_metrics


def compiled_loss(model):
    """Returns the loss a model was compiled with, or `None`, and weights."""
    found = getattr(model, "_compile_loss", None)
    if found is None:
        return None, None
    return found._user_loss, found._user_loss_weights


def arguments_of(loss):
    """Returns a dict of the arguments that a loss gives to its function."""
    return getattr(loss, "_fn_kwargs", {})


def set_arguments(loss, **arguments):
    """Sets some of the arguments that a loss gives to its function."""
    loss._fn_kwargs = {**loss._fn_kwargs, **arguments}


def set_dtype(loss, dtype):
    """Sets the dtype that a loss computes in."""
    loss._dtype = dtype


def is_built(model):
    """Whether a model and all of its layers have their variables."""
    return model.built and all(x.built for x in model._flatten_layers())


def build(model, batch):
    """Builds a model and what it was compiled with, of a batch or its spec."""
    model._symbolic_build(data_batch=batch)


def strategy_scope(model):
    """Where variables are made that each device of a model has a copy of."""
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None:
        return contextlib.nullcontext()
    return strategy.scope()


def set_first_epoch(model, epoch):
    """Makes `fit` begin at an epoch, whatever it was told; `None`: as told."""
    model._initial_epoch = epoch


def end_epoch_of_data():
    """Lets a `PyDataset` end its epoch when the next one begins.

    Under torch Keras does not tell it of the end of an epoch cut short.
    """
    adapter = py_dataset_adapter.PyDatasetAdapter
    begin = adapter.on_epoch_begin

    def on_epoch_begin(self):
        if self._within_epoch:
            adapter.on_epoch_begin = begin
            self.on_epoch_end()
        begin(self)

    adapter.on_epoch_begin = on_epoch_begin


def lengths_forgotten():
    """A scope in which no epoch is as short as one before it was cut.

    Keras takes for the length of data that do not tell theirs where they first
    ended.
    """
    kind = epoch_iterator.EpochIterator
    begin = kind.__iter__

    def __iter__(self):
        self._num_batches = self.data_adapter.num_batches
        return begin(self)

    return layers.replaced(kind, "__iter__", __iter__)


def forget_trace(model):
    """Makes a model trace its train step anew, if it has a traced one."""
    if getattr(model, "train_function", None) is not None:
        model.make_train_function(force=True)


def is_loading():
    """Whether a model is made from a file that Keras loads."""
    shared = global_state.get_global_attribute("shared_objects/id_to_obj_map")
    return shared is not None


def load_again(model, store, path):
    """Loads the weights of a model from an open file once more.

    The group of its masks lies at `path` in what Keras loads from.
    """
    inside = path.rpartition(GROUP)[0].rstrip("/")
    saving_lib._load_state(
        model, store, None, inside,
        visited_saveables={id(getattr(model, GROUP))},
    )


def path_in_file(store):
    """Returns where in a file a group of variables lies, or `None`."""
    for name in ("_h5_entry_path", "path"):
        path = getattr(store, name, None)
        if isinstance(path, str):
            return path
    return None
