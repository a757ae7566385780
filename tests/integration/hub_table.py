"""What works on each KerasHub model: `hub_table docs/keras_hub.md`."""

import contextlib
import pathlib
import sys
import tempfile
import warnings

import keras
import numpy as np

import tf_lottery as tfl
from tests.integration import hub_models
from tf_lottery import export

HEAD = """# KerasHub models

Tiny models of keras-hub {version} with random weights, each through the whole
way: summary, `prune` to half, a step of `fit`, a file and back, `strip`, and
`export.tflite` with its check. The table is made by
`python -m tests.integration.hub_table docs/keras_hub.md`, and
`tests/integration/test_keras_hub.py` has the same steps.

`strip` returns the model's own class with its methods, `backbone` and
`preprocessor`. `wrap` cannot: it replaces layers, which no configuration of
such a class tells of. It returns a plain Functional model with a warning, or
says which layer cannot be made from its configuration. A task compiles itself
when it is loaded, and Keras leaves its optimizer's state out.

| model | prunable weights | pruned, trained, saved | strip | wrap | TFLite |
|---|---|---|---|---|---|
"""

WIDTHS = """
## Smaller widths

`structured.plan(model, ratio=0.5)` and `structured.shrink` on tiny models with
random weights, proved equal in float64. Those with layer normalisations go
through `structured.centre` first, which is proved by itself: so many of them
are rewritten. Backbones have a dense layer on every output here. Units: those
that can be removed, of all that layers make.

| model | rewritten | units | parameters | error | class | a file of it |
|---|---|---|---|---|---|---|
"""
# What goes on after the table.
REST = "\n**The reference.**"
DECODERS = ("Llama", "Mistral", "Qwen", "Gemma3")


def values(model):
    return {k: np.array(v) for k, v in tfl.weights.variables(model).items()}


def assert_equal(found, expected):
    flat = keras.tree.flatten(expected)
    for a, b in zip(keras.tree.flatten(found), flat, strict=True):
        np.testing.assert_array_equal(a, b)


def trained(name):
    """Returns a pruned model after a step, its inputs and its masks."""
    model = hub_models.MODELS[name]()
    inputs = hub_models.inputs_of(model)
    if isinstance(model, hub_models.keras_hub.models.Task):
        x, y = ["a quick fox", "a fox"], np.array([0, 1])
        data = (x, y) if name == "BertTextClassifier" else (x,)
    else:
        model.compile(keras.optimizers.Adam(1e-3), "mse")
        outputs = model(inputs)
        data = inputs, keras.tree.map_structure(
            lambda y: np.ones(y.shape, "float32"), outputs
        )
    masks = tfl.prune(model, 0.5)
    model.fit(*data, batch_size=2, verbose=0)
    return model, inputs, masks


def check_training(model, masks, path):
    """Pruned weights are zero, and a file has all weights."""
    found = values(model)
    for key, mask in masks.items():
        assert not found[key][~mask].any(), key
        assert found[key][mask].any(), key
    model.save(path)
    # A task compiles itself, and is not loaded without that.
    is_task = isinstance(model, hub_models.keras_hub.models.Task)
    loaded = tfl.load_model(path, compile=is_task)
    assert type(loaded) is type(model)
    held = tfl.masks_of(loaded)
    assert held.keys() == masks.keys()
    for key, mask in masks.items():
        np.testing.assert_array_equal(held[key], mask, key)
    # Keras does not write the seeds of all of KerasHub's dropout layers.
    loaded = values(loaded)
    assert loaded.keys() == found.keys()
    for key in found:
        if tfl.weights.SEED_NAME not in key:
            np.testing.assert_array_equal(loaded[key], found[key], key)


def check_strip(model, inputs, path):
    """The class stays, outputs are equal, and the file is a plain one."""
    plain = tfl.strip(model)
    assert type(plain) is type(model)
    assert tfl.masks_of(plain) == {}
    assert_equal(values(plain), values(model))
    expected = model(inputs)
    assert_equal(plain(inputs), expected)
    assert type(plain.optimizer) is keras.optimizers.Adam
    plain.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded) is type(model)
    assert_equal(loaded(inputs), expected)
    return plain


def row_of(name, directory):
    """Returns a row of the table, reasons in place of what is refused."""
    model, inputs, masks = trained(name)
    plain = tfl.strip(model)
    file = directory / "m.keras"
    return (
        name,
        f"{sum(mask.size for mask in masks.values()):,}",
        _said(lambda: check_training(model, masks, file) or "yes"),
        _said(lambda: type(check_strip(model, inputs, file)).__name__),
        _said(lambda: type(tfl.layers.wrap(model)).__name__),
        _said(lambda: _exported(plain, inputs, directory / "m.tflite")),
    )


def _exported(model, inputs, path):
    report = export.tflite(model, path, "flash", compare_on=inputs, seconds=0)
    assert report.shipped.passed
    return f"{path.stat().st_size / 1024:.0f} KiB"


def _said(do):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return do()
    # Whatever is raised is what the table is to say.
    except Exception as error:
        line, *_ = str(error).strip().splitlines() or ("",)
        return f"{type(error).__name__}: {line[:160]}".replace("|", "/")


def width_row(model):
    """Returns a row of the table of widths without its name."""
    norms = [
        type(x) is keras.layers.LayerNormalization
        for x in tfl.weights.layers(model).values()
    ]
    centred = model
    if any(norms):
        # Where none can be rewritten.
        with contextlib.suppress(ValueError):
            centred = tfl.structured.centre(model)
    plan = tfl.structured.plan(centred, ratio=0.5)
    rewritten = len(plan.arguments.get("rewritten", ()))
    small = tfl.structured.shrink(centred, plan)
    made = [p.ids for p in tfl.graph.trace(centred).producers]
    free = sum(np.count_nonzero(ids) for ids in made)
    units = free + sum(entry["units"] for entry in plan.frozen)
    return (
        f"{rewritten} of {sum(norms)}" if any(norms) else "",
        f"{free:,} of {units:,}",
        f"{model.count_params():,} -> {plan.after['params']:,}",
        f"{tfl.structured.proof_of(small).error:.0e}",
        type(small).__name__ + _said(lambda: _generated(small)),
        _said(lambda: _loaded(small)),
    )


def _generated(model):
    if not hasattr(model, "generate") or "Gemma" in type(model).__name__:
        return ""
    model.compile(sampler="greedy")
    prompt = {
        "token_ids": np.ones((1, 6), "int32"),
        "padding_mask": np.array([[1, 1, 1, 0, 0, 0]]),
    }
    model.generate(prompt, stop_token_ids=None)
    return ", generates"


def _loaded(model):
    with tempfile.TemporaryDirectory() as directory:
        model.save(f"{directory}/m.keras")
        keras.models.load_model(f"{directory}/m.keras")
    return "loads"


def shrinkable(name):
    """Returns a model of which the widths are read, and what it is called."""
    if name in DECODERS:
        model = hub_models.language_model(name)
        return type(model).__name__, model
    model = hub_models.MODELS[name]()
    if isinstance(model, hub_models.keras_hub.models.Task):
        return name, model
    return name, hub_models.with_head(model)


def main(path, *parts):
    path = pathlib.Path(path)
    before = path.read_text("utf-8")
    first, heading, widths = before.partition("\n## Smaller widths\n")
    _, rest, last = widths.partition(REST)
    widths = heading + widths.removesuffix(rest + last)
    if not parts or "all the way" in parts:
        first = HEAD.format(version=hub_models.keras_hub.__version__)
        for name in hub_models.MODELS:
            with tempfile.TemporaryDirectory() as directory:
                row = row_of(name, pathlib.Path(directory))
            first += "| " + " | ".join(row) + " |\n"
            path.write_text(first + widths + rest + last, "utf-8")
    if not parts or "widths" in parts:
        widths = WIDTHS
        for name in hub_models.MODELS:
            title, model = shrinkable(name)
            row = _said(lambda: width_row(model))
            row = row if isinstance(row, tuple) else (row,)
            widths += "| " + " | ".join((title, *row)) + " |\n"
            path.write_text(first + widths + rest + last, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
