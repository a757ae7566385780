"""The state of a run, saved so that a kill at any moment loses little."""

import functools
import json

import numpy as np
from keras import ops

from tf_lottery import holding
from tf_lottery import internals
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.runs import codec
from tf_lottery.weights import snapshots

_PLAIN = (bool, int, float, str, type(None))
# What a monitoring callback finds out at the end of its first epoch.
_COMPARISONS = {"less": ops.less, "greater": ops.greater}


class Checkpoint:
    """Saves and restores a model in training, in a run directory."""

    def __init__(self, model, files):
        self.model = model
        self.files = files

    def save(self, position, callbacks=(), within_epoch=False):
        """Writes the state; within an epoch, metrics have counted batches."""
        holding.synchronise(self.model)
        holding.agree(self.model)
        values = {
            "weight": weights_lib.variables(self.model),
            "optimizer": optimizers.state(self.model.optimizer),
        }
        if within_epoch:
            values["metric"] = self.model.metrics_variables
        arrays = {
            name: functools.partial(snapshots.value_of, variable)
            for name, variable in codec.join(**values).items()
        }
        states, comparisons = [], []
        for i, callback in enumerate(callbacks):
            plain, weights = _state_of(callback)
            states.append(plain)
            comparisons.append(_comparisons_of(callback))
            for name, values in weights.items():
                arrays |= codec.join(**{f"callback/{i}/{name}": values})
        self.files.save_state(
            arrays,
            {**position, "callbacks": states, "comparisons": comparisons},
        )

    def load(self):
        """Reads the last whole state as given to `save`, `None` without one."""
        found = self.files.load_state()
        if found is None:
            return None
        self._arrays, position = found
        return position

    def restore_model(self):
        variables = weights_lib.variables(self.model)
        values = codec.part(self._arrays, "weight")
        snapshots.restore(
            variables.values(), [values[key] for key in variables]
        )
        snapshots.restore(
            optimizers.state(self.model.optimizer),
            codec.numbered(self._arrays, "optimizer"),
        )

    def restore_metrics(self, batch):
        """Gives metrics what they had counted within the epoch.

        A new model makes their variables from the first batch it sees.
        """
        values = codec.numbered(self._arrays, "metric")
        if values:
            internals.models.build(self.model, batch)
            snapshots.restore(self.model.metrics_variables, values)

    def restore_callbacks(self, callbacks, position):
        for i, (callback, plain) in enumerate(
            zip(callbacks, position["callbacks"])
        ):
            for name, value in plain.items():
                setattr(callback, name, value)
            for name, op in position["comparisons"][i].items():
                setattr(callback, name, _COMPARISONS[op])
            own = codec.part(self._arrays, f"callback/{i}")
            for name in {key.partition("/")[0] for key in own}:
                setattr(callback, name, codec.numbered(own, name))


def _state_of(callback):
    """Plain attributes of a callback, and those that are lists of arrays."""
    plain, weights = {}, {}
    for name, value in vars(callback).items():
        if name == "params":
            continue
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, list) and value and all(
            isinstance(v, np.ndarray) for v in value
        ):
            weights[name] = value
        elif isinstance(value, _PLAIN) or _is_plain_list(value):
            plain[name] = value
    return plain, weights


def _comparisons_of(callback):
    return {
        name: op
        for name, value in vars(callback).items()
        for op, function in _COMPARISONS.items() if value is function
    }


def _is_plain_list(value):
    if not isinstance(value, (list, dict)):
        return False
    try:
        return json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        return False
