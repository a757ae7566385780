"""The examples in the docstrings run, and every public name has one line."""

import doctest
import importlib
import inspect
import pkgutil
import re

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tf_lottery.utils import docs

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
            if value is not docs.filled:
                assert "{{" not in value.__doc__, f"{name}.{attribute}"


@pytest.mark.parametrize(
    "documented, paragraphs",
    [
        (tfl.prune, ("rule", "evidence")),
        (tfl.IterativeMagnitudePruning, ("rule",)),
        (tfl.callbacks.GradualPruning, ("rule", "evidence")),
        (tfl.callbacks.EarlyBird, ("collapse", "layers")),
        (tfl.callbacks.DynamicSparseTraining, ("collapse", "layers")),
        (tfl.criteria.SNIP, ("gradients",)),
        (tfl.criteria.WoodFisher, ("gradients",)),
        (tfl.criteria.OBC, ("calibration",)),
        (tfl.experiments.models.conv_2, ("network",)),
    ],
)
def test_shared_paragraphs_are_complete(documented, paragraphs):
    lines = [line.strip() for line in inspect.getdoc(documented).splitlines()]
    for name in paragraphs:
        for line in docs.PARAGRAPHS[name].splitlines():
            assert "{{" in line or line.strip() in lines


def test_documented_arguments_are_those_of_the_signature():
    for documented in (tfl.prune, tfl.criteria.SNIP, tfl.criteria.score,
                       tfl.callbacks.GradualPruning, tfl.weights.inspect):
        text = inspect.getdoc(documented)
        arguments = text.partition("Args:\n")[2].partition("\n\n")[0]
        names = re.findall(r"^    (\w+):", arguments, re.MULTILINE)
        expected = inspect.signature(documented).parameters
        assert sorted(names) == sorted(expected)


def test_an_unknown_paragraph_is_refused():
    def function():
        """{{missing}}"""

    with pytest.raises(KeyError, match="missing"):
        docs.filled(function)
