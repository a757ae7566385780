"""The examples in the docstrings run, and every public name has one line."""

import doctest
import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest

import tf_lottery as tfl

NAMES = [
    "tf_lottery",
    *(
        found.name
        for found in pkgutil.walk_packages(tfl.__path__, "tf_lottery.")
        if not found.name.endswith("__main__")
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    names = {"keras": keras, "np": np, "tfl": tfl}
    said = []
    for test in finder.find(module, globs=vars(module) | names):
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = sum(
        len(test.examples)
        for name in NAMES
        for test in finder.find(importlib.import_module(name))
    )
    assert found > 50


@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    for attribute, value in vars(module).items():
        own = getattr(value, "__module__", None) == name
        if attribute.startswith("_") or not own:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{attribute}"
