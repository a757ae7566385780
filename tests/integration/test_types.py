"""Annotations of all that is public, and what a type checker makes of them."""

import dataclasses
import inspect
import os
import pathlib
import re
import subprocess
import sys
import typing

import pytest

import tf_lottery as tfl
import tf_lottery.verdicts.judging
import tf_lottery.verdicts.significance
import tf_lottery.verdicts.words
from tests.public_names import is_ours
from tests.public_names import public

ROOT = pathlib.Path(tfl.__file__).parents[1]
# They are public by their place.
VERDICTS = (
    tf_lottery.verdicts.definitions,
    tf_lottery.verdicts.judging,
    tf_lottery.verdicts.rules,
    tf_lottery.verdicts.significance,
    tf_lottery.verdicts.words,
)
# What Python calls by itself takes what the language says.
CALLED = ("__init__", "__call__", "__getitem__", "__len__", "__iter__")


def methods(cls):
    """The public functions of a class, inherited ones of ours as well."""
    for base in cls.__mro__:
        if not base.__module__.startswith("tf_lottery"):
            continue
        for name, value in vars(base).items():
            if name.startswith("_") and name not in CALLED:
                continue
            value = getattr(value, "__func__", value)
            if isinstance(value, property):
                value = value.fget
            if inspect.isfunction(value):
                yield value


def functions(callables):
    """Functions, and those of classes, each once, by module and name."""
    found = {}
    for value in callables:
        each = methods(value) if inspect.isclass(value) else [value]
        for function in map(inspect.unwrap, each):
            code = function.__code__
            if code.co_filename.startswith(str(ROOT)):
                key = f"{function.__module__}.{function.__qualname__}"
                found[key] = function
    return found


def returned(function):
    """The classes of ours that a function's annotations name."""
    try:
        hints = typing.get_type_hints(function)
    # Types whose modules are imported for type checkers alone.
    except NameError:
        return
    waiting = list(hints.values())
    while waiting:
        hint = waiting.pop()
        if isinstance(hint, (list, tuple)):
            waiting += hint
        elif inspect.isclass(hint) and is_ours(hint):
            yield hint
        else:
            waiting += typing.get_args(hint)


def everything():
    """All public functions, and those of all classes that they name."""
    waiting = list(public().values())
    waiting += [
        value for module in VERDICTS for value in vars(module).values()
        if is_ours(value) and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    ]
    waiting += map(tfl.experiments.models.get, tfl.experiments.models.MODELS)
    seen = {}
    while waiting:
        value = waiting.pop()
        for name, function in functions([value]).items():
            if name not in seen:
                seen[name] = function
                waiting += returned(function)
        if dataclasses.is_dataclass(value):
            waiting += [c for c in returned(value) if c is not value]
    return seen


FUNCTIONS = everything()


def annotated(function):
    """The arguments of a function but the first of a method."""
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        del parameters[0]
    return parameters


def test_there_are_functions():
    assert len(FUNCTIONS) > 450


def test_every_argument_and_every_result_has_a_type():
    bare = [
        f"{name}: {parameter.name}"
        for name, function in FUNCTIONS.items()
        for parameter in annotated(function)
        if parameter.annotation is parameter.empty
    ]
    bare += [
        f"{name}: what it returns"
        for name, function in FUNCTIONS.items()
        if inspect.signature(function).return_annotation
        is inspect.Signature.empty
    ]
    assert not bare


def test_none_is_said_where_it_is_the_default():
    wrong = [
        f"{name}: {parameter}"
        for name, function in FUNCTIONS.items()
        for parameter in annotated(function)
        if parameter.default is None
        and parameter.annotation is not typing.Any
        and type(None) not in typing.get_args(parameter.annotation)
    ]
    assert not wrong


def test_python_can_read_all_annotations():
    for name, function in FUNCTIONS.items():
        try:
            typing.get_type_hints(function)
        except NameError as error:
            assert error.name in ("keras", "rich", "tensorflow"), name


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "tf_lottery" / "py.typed").exists()


RIGHT = """
import keras
import numpy as np

import tf_lottery as tfl

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
data = np.ones((8, 4)), np.ones(8)
masks: dict[str, np.ndarray] = tfl.prune(
    model, {"*": 0.5}, criterion=tfl.criteria.SNIP(loss="mse"),
    pattern=tfl.patterns.NM(2, 4), data=data, exclude="logits",
)
imp = tfl.IterativeMagnitudePruning(
    rounds=3, rewind_to="500it", data=tfl.data.Replay(*data), directory="run"
)
model.fit(*data, epochs=imp.epochs, callbacks=[imp])
densities: list[float] = [result.density for result in imp.results]
ticket = imp.candidate_ticket()
if ticket is not None:
    tfl.controls.reshuffle(ticket, seed=1).apply(model)
small = tfl.structured.shrink(model, tfl.structured.plan(model, ratio=0.5))
size: int = tfl.export.tflite(small, "model.tflite").shipped.nbytes
preset = tfl.experiments.preset("lenet-digits", rounds=3)
rows: list[dict[str, object]] = tfl.experiments.run(preset, "out").rows()


@tfl.graph.register_rule(keras.layers.Layer)
def rule(call: object) -> object:
    return None


def pathless(model: keras.Model) -> str:
    return tfl.paths.why_dead(model) or "none is dead"
"""
# Each line with a part of what mypy says to it.
WRONG = {
    'tfl.IterativeMagnitudePruning(rounds="ten")': 'argument "rounds"',
    'tfl.IterativeMagnitudePruning(round=3)': 'keyword argument "round"',
    'tfl.prune(model, sparsity="x")': 'argument "sparsity"',
    'tfl.prune(model, 0.5, scope="globl")': 'argument "scope"',
    'tfl.prune(model, 0.5, criterion=3)': 'argument "criterion"',
    'tfl.callbacks.GradualPruning(0.5)': 'argument 1 to "gradualpruning"',
    'tfl.Ticket.of(model).apply()': 'argument "model"',
    'tfl.Ticket.load("ticket").mask': 'no attribute "mask"',
    'tfl.masks.density([True])': 'argument 1 to "density"',
    'tfl.hold(model, "masks")': 'argument 2 to "hold"',
    'imp.candidate_ticket().density': '"none" of "ticket | none"',
    'tfl.export.tflite(model, "m", quantize="int4")': 'argument "quantize"',
    'tfl.experiments.run("lenet-digits", "out")': 'argument 1 to "run"',
    'tfl.tuner.RandomSearch("model")': 'argument 1 to "randomsearch"',
    'tfl.pruned(model)': 'no attribute "pruned"',
}


def what_mypy_says(tmp_path, program):
    """The errors in a user's program, who has mypy's strictest settings."""
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports",
         "--follow-imports=silent", "--config-file=", path.name],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True, text=True,
    )
    assert not done.stderr
    return re.findall(r"program.py:(\d+): error: (.*)", done.stdout)


@pytest.mark.slow
def test_mypy_accepts_what_is_right_and_refuses_what_is_wrong(tmp_path):
    pytest.importorskip("mypy")
    named = "".join(f"print({name})\n" for name in public())
    program = RIGHT + named
    first = program.count("\n") + 1
    program += "".join(f"{line}\n" for line in WRONG)
    found = what_mypy_says(tmp_path, program)
    assert [int(line) for line, _ in found] == [
        first + number for number in range(len(WRONG))
    ], found
    for (_, said), (line, expected) in zip(found, WRONG.items()):
        assert expected in said.lower(), (line, said)
