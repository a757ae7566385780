"""Every class that Keras may save is registered and says its arguments."""

import importlib
import inspect
import pkgutil

import keras
import pytest

import tf_lottery as tfl

KERAS_BASES = (
    keras.layers.Layer,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.initializers.Initializer,
    keras.losses.Loss,
    keras.metrics.Metric,
)
# Made by a layer or an optimizer of ours, which saves the mask itself; Keras
# saves the constraint that a user gave, not the one on the variable. And the
# base class of wrappers.
INTERNAL = {"Keep", "Clusters", "Substituting"}
MADE = {
    "Masked": [
        lambda: tfl.optimizers.Masked("adam"),
        lambda: tfl.layers.Masked(
            keras.layers.Dense(2), include=["a"], snapshot=True
        ),
    ],
    "OwnWeight": [lambda: tfl.layers.OwnWeight((2, 3), "table")],
    "Quantized": [
        lambda: tfl.quantize.Quantized(
            keras.layers.Dense(2), kernel=True, inputs=[0]
        ),
    ],
}


def modules():
    """All modules of the package that can be imported everywhere."""
    yield tfl
    for found in pkgutil.walk_packages(tfl.__path__, "tf_lottery."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def classes(bases):
    found = {
        value
        for module in modules()
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, bases)
        and value.__module__.startswith("tf_lottery")
        and not value.__name__.startswith("_")
    }
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


SERIALIZED = [c for c in classes(KERAS_BASES) if c.__name__ not in INTERNAL]


def arguments(function):
    return {
        name
        for name, argument in inspect.signature(function).parameters.items()
        if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    } - {"self"}


def test_the_walk_finds_what_there_is():
    assert {tfl.optimizers.Masked, tfl.layers.Masked} <= set(SERIALIZED)
    everything = {c.__name__ for c in classes(KERAS_BASES)}
    assert INTERNAL <= everything


@pytest.mark.parametrize("kind", SERIALIZED)
def test_registered(kind):
    name = keras.saving.get_registered_name(kind)
    assert name.startswith("tf_lottery>")
    assert keras.saving.get_registered_object(name) is kind


def test_registered_names_are_distinct():
    names = [keras.saving.get_registered_name(kind) for kind in SERIALIZED]
    assert len(set(names)) == len(names) > 1


def example(kind):
    for make in MADE.get(kind.__name__, [kind]):
        made = make()
        if type(made) is kind:
            return made
    pytest.fail(f"No example of {kind}. Add it to MADE.")


@pytest.mark.parametrize("kind", SERIALIZED)
def test_configuration_mirrors_the_arguments(kind):
    made = example(kind)
    config = made.get_config()
    assert arguments(kind.__init__) <= config.keys()
    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(made)
    )
    assert type(copy) is kind
    assert copy.get_config() == config


@pytest.mark.parametrize("kind", tfl.criteria.ALL_CRITERIA)
def test_criteria_mirror_their_arguments(kind):
    config = kind().get_config()
    assert config.keys() == arguments(kind.__init__) - {"args", "kwargs"}
    assert kind(**config).get_config() == config
    assert isinstance(tfl.criteria.get(kind.name), kind)


def test_every_named_criterion_is_registered():
    named = {kind for kind in classes(tfl.criteria.Criterion) if kind.name}
    assert named == set(tfl.criteria.ALL_CRITERIA)
    assert len({kind.name for kind in named}) == len(named)


def test_the_internal_constraint_is_never_saved():
    """A layer saves the constraint it was given, not the one that holds."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    tfl.prune(model, 0.5)
    assert isinstance(model.layers[0].kernel.constraint, tfl.constraints.Keep)
    assert model.layers[0].get_config()["kernel_constraint"] is None
    assert "Keep" not in model.to_json()
