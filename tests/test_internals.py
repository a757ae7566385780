"""One room for what is private to Keras, all of it still there."""

import ast
import pathlib

import keras
import numpy as np

import tf_lottery
from tests import conftest
from tf_lottery.internals import graphs
from tf_lottery.internals import layers
from tf_lottery.internals import models
from tf_lottery.internals import optimizers

PACKAGE = pathlib.Path(tf_lottery.__file__).parent
TREES = {
    path.relative_to(PACKAGE): ast.parse(path.read_text())
    for path in PACKAGE.rglob("*.py")
}
# Classes that extend one of Keras', keras-tuner's or argparse's, and use
# what these leave to their subclasses.
EXTENDING = (
    "optimizers/masked.py", "tuner/oracles.py", "commands/parsers/parser.py",
)
# Attributes of ours that another module of ours reads, `os._exit`, and a graph
# function and an option of TensorFlow's converter, which are not public either.
ALLOWED = {
    "export/converting.py": {"_experimental_calibrate_only"},
    "jobs/worker.py": {"_exit"},
    "criteria/channel_flow.py": {"_called"},
    "files/locks.py": {"_owner"},
    "optimizers/holding.py": {"_dense_gradients"},
    "paths/reachability.py": {"_get_function"},
    "tuner/tuners.py": {"_try_run_and_update_trial"},
}


def private_names(tree):
    """Private attributes of others that a module reads or sets."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            own = getattr(node.value, "id", None) in ("self", "cls")
            if not own and not node.attr.startswith("__"):
                yield node.attr


def private_imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [getattr(node, "module", None) or ""]
            names += [alias.name for alias in node.names]
            yield from (x for x in names if x.startswith("keras.src"))


def test_only_one_room_uses_what_is_private():
    found = {}
    for path, tree in TREES.items():
        names = {*private_imports(tree)}
        if str(path) not in EXTENDING:
            names |= {*private_names(tree)} - ALLOWED.get(str(path), set())
        if names and path.parts[0] != "internals":
            found[str(path)] = names
    assert not found


def test_layers():
    model = conftest.functional()
    outer = keras.Sequential([keras.Input((10,)), model])
    assert layers.flat(outer) == [outer, *layers.below(outer)]
    assert layers.children(outer)[-1] is model
    assert set(layers.children(model)) < set(layers.below(outer))
    dense = model.get_layer("fc1")
    assert layers.own_variables(dense) == dense.variables
    assert layers.own_variables(model) == []
    assert layers.is_trained(dense, dense.kernel)
    norm = model.get_layer("norm")
    assert not layers.is_trained(norm, norm.moving_mean)
    assert layers.takes_training(model)
    embedding = keras.layers.Embedding(3, 2)
    embedding.build()
    assert layers.table(embedding) is embedding.trainable_variables[0]


def test_variables_and_precision():
    dense = keras.layers.Dense(2)
    dense.build((None, 3))
    kernel = dense.kernel
    np.testing.assert_array_equal(layers.value(kernel), kernel.numpy())
    assert layers.dtype(kernel) == "float32"
    with layers.computing_in([dense], [kernel], "float64", lambda *_: True):
        assert dense.compute_dtype == layers.dtype(kernel) == "float64"
    assert dense.compute_dtype == layers.dtype(kernel) == "float32"


def test_losses_of_the_call_before_stay():
    dense = keras.layers.Dense(2, activity_regularizer="l2")
    model = keras.Sequential([keras.Input((3,)), dense])
    model(np.ones((1, 3), "float32"))
    before = [float(x) for x in model.losses]
    with layers.losses_kept(model):
        model(np.full((1, 3), 9.0, "float32"))
        assert [float(x) for x in model.losses] != before
    assert [float(x) for x in model.losses] == before


def test_functions_and_notes():
    def doubled(function, name):
        def call(x, *args, **kwargs):
            found.append(name)
            return function(x, *args, **kwargs)
        return call

    found = []
    with layers.functions_replaced(doubled, ["softmax", "sigmoid"]):
        keras.layers.Dense(2, "softmax")(np.ones((1, 2), "float32"))
    keras.ops.sigmoid(np.ones(2, "float32"))
    assert found == ["softmax"]
    tensor = keras.ops.ones(2)
    layers.note(tensor, "_note", 7)
    assert layers.noted(tensor, "_note") == 7


def test_variables_without_memory():
    numbers = []
    with layers.values_made_late(lambda v: numbers.append(len(v))):
        dense = keras.layers.Dense(2)
        dense.build((None, 3))
        assert layers.value(dense.kernel) is None
    assert numbers == [2] and dense.kernel.numpy().shape == (3, 2)


def test_graphs():
    sequential, model = conftest.sequential(), conftest.functional()
    assert graphs.of_sequential(model) is None
    inner = graphs.of_sequential(sequential)
    assert graphs.is_functional_call(inner) and graphs.is_functional(model)
    assert graphs.is_made_of_ends(model)
    names = [node.operation.name for node in graphs.nodes(model)]
    assert names == ["fc1", "norm", "drop", "fc2", "skip", "logits"]
    assert graphs.maker(model.outputs[0]).name == "logits"
    assert graphs.readers(model.get_layer("drop"))[-1].name == "skip"
    assert graphs.input_structure(model) is not None
    assert graphs.output_structure(model) is not None
    assert len(graphs.layers_of(sequential)) == 3
    assert graphs.built_shapes(conftest.subclassed())
    (add,) = graphs.operation_classes("Add", "NoSuchOperation")
    assert add.__name__ == "Add"
    operation = add()
    operation(keras.Input((2,)), keras.Input((2,)))
    assert not graphs.unlinked(operation)._inbound_nodes
    assert graphs.application_class("convnext", "LayerScale")
    double = keras.layers.Lambda(lambda x: 2 * x, name="double")
    assert graphs.same_lambda(double).function is double.function


def test_models():
    model = conftest.functional()
    assert models.compiled_loss(model) == (None, None)
    loss = conftest.loss()
    model.compile("sgd", loss, loss_weights=[2.0])
    assert models.compile_config(model)["loss"] is loss
    assert models.compiled_loss(model) == (loss, [2.0])
    assert models.arguments_of(loss)["from_logits"] is True
    models.set_arguments(loss, from_logits=False)
    assert models.arguments_of(loss)["from_logits"] is False
    assert models.is_built(model)
    models.set_dtype(loss, "float64")
    assert loss.dtype == "float64"
    assert not models.is_stateless() and not models.is_loading()
    with keras.StatelessScope():
        assert models.is_stateless()


def test_optimizers():
    model = conftest.sequential()
    optimizer = keras.optimizers.Adam(0.25, use_ema=True)
    optimizer.build(model.trainable_variables)
    assert optimizers.variables(optimizer) == model.trainable_variables
    shapes = [v.shape for v in optimizers.averages(optimizer)]
    assert shapes == [v.shape for v in model.trainable_variables]
    assert int(optimizers.batches(optimizer)) == 0
    assert float(optimizers.learning_rate(optimizer)) == 0.25
    kernel = model.layers[0].kernel
    assert optimizers.factors(optimizer, kernel) is None
    factored = keras.optimizers.Adafactor()
    factored.build(model.trainable_variables)
    rows, columns = optimizers.factors(factored, kernel)
    assert (rows.shape, columns.shape) == ((10,), (16,))


def test_modules_come_late():
    assert layers.module("jax").name == "jax"
