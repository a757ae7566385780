"""Base class of callbacks that prune."""

import weakref
from collections.abc import Callable
from typing import Any

import keras

from tf_lottery import internals
from tf_lottery import optimizers
from tf_lottery.runs import results as results_lib
from tf_lottery.utils import types
from tf_lottery.utils.backends import tf

_REASONS = {
    "MultiWorkerMirroredStrategy": (
        "Keras 3 cannot `fit` under it "
        "(https://github.com/keras-team/keras/issues/20585). Hold masks in a "
        "`strategy.run` loop of your own, as examples/multi_worker_loop.py "
        "does; docs/several_machines.md tells of other ways"
    ),
    "ParameterServerStrategy": (
        "its workers step at different times, so that there is no moment at "
        "which all weights can be pruned and rewound"
    ),
    "experimental.CentralStorageStrategy": "it was never tried with masks",
    "TPUStrategy": "it was never tried with masks",
}
# The callbacks that prune a model, or have done so in an earlier `fit`.
_PRUNERS = weakref.WeakKeyDictionary()


class Pruner(keras.callbacks.Callback):
    """The base class of callbacks that prune while a model trains.

    Keras builds a model without input shapes inside `fit`; under TensorFlow
    when the first batch is at hand, after callbacks have heard of training,
    epoch and batch. Subclasses begin in `begin`, which has a built model, and
    ask `is_early` in hooks that come before a batch; `was_early` says that
    epochs had begun. `results` are `None` where training has no rounds.
    """

    @property
    def results(self) -> list[results_lib.RoundResult] | None:
        return None

    def protocol(self) -> dict[str, Any]:
        """Returns how it prunes: a dict from argument to plain value."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `protocol`."
        )

    def begin(self) -> None:
        """Begins to prune; the model is built."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `begin`."
        )

    def on_train_begin(self, logs: types.Logs = None) -> None:
        optimizers.check_compiled(self.model)
        check_strategy(self.model)
        _PRUNERS.setdefault(self.model, weakref.WeakSet()).add(self)
        self._early, self.was_early = None, False
        if internals.models.is_built(self.model):
            self.begin()
            return
        self._early, self.was_early = [], True
        self._step_of_keras = self.model.train_function
        self.model.train_function = self._first_step

    @property
    def is_begun(self) -> bool:
        """Whether `begin` was called: the model is built."""
        return self._early is None

    def is_early(self, hook: Callable[..., Any], *args: Any) -> bool:
        """Whether the hook is called again later, when the model is built."""
        if self.is_begun:
            return False
        self._early.append((hook, args))
        return True

    def _first_step(self, iterator):
        self.model.train_function = self._step_of_keras
        internals.models.build(self.model, iterator.element_spec)
        early, self._early = self._early, None
        self.begin()
        for hook, args in early:
            hook(*args)
        return self.model.train_function(iterator)


def beside(callback):
    """Returns the `Pruner` callbacks in the same `fit` as a callback."""
    # One `fit` gives the same dict of parameters to all of its callbacks.
    return [
        other for other in _PRUNERS.get(callback.model, ())
        if other is not callback and other.params is callback.params
    ]


def check_is_alone(callback):
    """Raises a `ValueError` if another one runs rounds in the same `fit`."""
    if any(isinstance(other, type(callback)) for other in beside(callback)):
        raise ValueError(
            f"Two `{type(callback).__name__}` callbacks cannot prune in one "
            "`fit`: each would undo the other's rounds. Pass one of them."
        )


def name_of(value):
    """Returns the name of a criterion, a function or an object."""
    if isinstance(value, str):
        return value
    name = getattr(value, "name", None) or getattr(
        value, "__qualname__", type(value).__qualname__
    )
    return str(name)


def check_strategy(model):
    """Raises a `ValueError` unless `model` may train with masks in `fit`."""
    # Only under TensorFlow does a model have a strategy.
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None:
        return
    for name, reason in _REASONS.items():
        owner = tf.distribute
        for part in name.split("."):
            owner = getattr(owner, part)
        if isinstance(strategy, owner):
            raise ValueError(
                f"Model '{model.name}' cannot be pruned in `fit` under "
                f"`tf.distribute.{name}`: {reason}. Received: {strategy}. "
                "Expected: `tf.distribute.MirroredStrategy`, "
                "`tf.distribute.OneDeviceStrategy`, or none."
            )
