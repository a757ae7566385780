"""All public names: what must have types, documentation and checks."""

import types

import tf_lottery as tfl
from tf_lottery import experiments
from tf_lottery import tuner

SPACES = {
    "tfl": tfl,
    "tfl.experiments": experiments,
    "tfl.experiments.models": experiments.models,
    "tfl.tuner": tuner,
    **{
        f"tfl.{name}": value for name in tfl.__all__
        if isinstance(value := getattr(tfl, name), types.ModuleType)
    },
}
# One module says it to another.
INTERNAL = ("tfl.masks.brief",)


def is_ours(value):
    module = getattr(value, "__module__", None)
    return str(module).startswith("tf_lottery") and callable(value)


def public():
    """Every public callable by the name that a user writes."""
    return {
        f"{space}.{name}": getattr(SPACES[space], name)
        for space, names in by_space().items() for name in names
    }


def by_space():
    """The names of the public callables of every public module."""
    found = {}
    for space, module in SPACES.items():
        names = getattr(module, "__all__", None) or dir(module)
        found[space] = [
            name for name in names
            if not name.startswith("_") and is_ours(getattr(module, name))
            and f"{space}.{name}" not in INTERNAL
        ]
    return found
