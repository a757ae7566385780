"""Paragraphs that several docstrings share."""

import inspect
import re
import textwrap
from typing import TypeVar

_Documented = TypeVar("_Documented")

PARAGRAPHS = {
    "rule": """\
scope: `"global"` ranks all weights together, `"layer"` each weight by
    itself at the same sparsity; `"uniform+"`, `"er"` and `"erk"` rank
    each by itself at sparsities of their own, see
    `tf_lottery.distributions`. Defaults to `"global"`.
pattern: What is kept or removed together: `"unstructured"`,
    `"block:1x4"`, `"2:4"` or `"channel"`, see `tf_lottery.patterns`.
    Defaults to `"unstructured"`.
{{collapse}}
{{layers}}""",
    "collapse": """\
collapse: What to do where all of a layer would go: `"keep-one"` keeps
    the best weight of every layer, and warns of layers that keep next to
    nothing but that; `"warn"` and `"error"` take the masks as they come,
    and warn of empty layers or raise. So do all where no path is left
    from input to output. Defaults to `"keep-one"`.""",
    "layers": """\
exclude: Layer names or patterns (`"logits"`, `"block*/conv"`) that are
    left alone; `"@first"` and `"@last"` mean the first and the last
    prunable layer. Defaults to none.
include: Layer names or patterns of embeddings and depthwise kernels to
    prune, which are left alone otherwise. Defaults to none.""",
    "evidence": """\
data: Arrays `(x, y)`, a `tf.data.Dataset` or a `keras.utils.PyDataset`,
    for criteria that look at data. Defaults to `None`.
loss: Loss function or its name, for criteria that follow gradients.
    Defaults to `None`: the one the model was compiled with.
snapshot: Weights at an earlier moment, for criteria that look at how far
    weights moved: a `Snapshot` or a dict from weight key to array.
    Defaults to `None`.""",
    "gradients": """\
data: Arrays `(x, y)`, a `tf.data.Dataset` or a `keras.utils.PyDataset`.
    What `tf_lottery.prune` or `tf_lottery.criteria.score` is given comes
    first. Defaults to `None`.
loss: Loss function or its name. What `tf_lottery.prune` or
    `tf_lottery.criteria.score` is given comes first. Defaults to `None`:
    the one the model was compiled with.
batches: Integer, how many batches of the data to use. Defaults to
    `None`: all.
batch_size: Integer, the size of a batch where the data are arrays.
    Defaults to 128.""",
    "calibration": """\
data: An array of inputs, arrays `(x, y)`, a `tf.data.Dataset` or a
    `keras.utils.PyDataset`, whose labels are ignored. What
    `tf_lottery.prune` or `tf_lottery.criteria.score` is given comes
    first. Defaults to `None`.
batches: Integer, how many batches of the data to use. Defaults to
    `None`: all.
batch_size: Integer, the size of a batch where the data are arrays.
    Defaults to 128.""",
    "run": """\
>>> import tempfile
>>> import tf_lottery.runs.run_directory, tf_lottery.runs.results
>>> with tempfile.TemporaryDirectory() as path:
...     directory = tf_lottery.runs.run_directory.RunDirectory(path)
...     directory.open({"rounds": 1})
...     directory.save_results([tf_lottery.runs.results.RoundResult(
...         0, 1.0, {"fc/kernel": 1.0}, {"accuracy": 0.75}, 8, None, 0.1)])""",
    "network": """\
Args:
    input_shape: Tuple of integers, the shape of one image, such as
        `(32, 32, 3)`.
    classes: Integer. Defaults to 10.
    seed: Integer, seed of the initial weights. Defaults to 0.

Returns:
    A built `keras.Model` that returns logits.""",
}


def filled(documented: _Documented) -> _Documented:
    """Writes the paragraphs that a docstring names into it; a decorator.

    A line `{{name}}` becomes the paragraph of that name in `PARAGRAPHS`, which
    may name others, at the same indentation.
    """
    # `python -OO` leaves no docstring.
    if documented.__doc__:
        documented.__doc__ = fill(inspect.cleandoc(documented.__doc__))
    return documented


def fill(text: str) -> str:
    """Returns a docstring with the paragraphs that it names."""
    return re.sub(
        r"^( *)\{\{(\w+)\}\}$",
        lambda found: textwrap.indent(fill(PARAGRAPHS[found[2]]), found[1]),
        text,
        flags=re.MULTILINE,
    )
