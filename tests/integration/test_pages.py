"""README, guides and reference say what is true, and their code runs."""

import importlib
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import tests
import tf_lottery as tfl
from docs.mkdocs import links
from docs.mkdocs import reference
from tests import conftest
from tests import public_names
from tests import run_trees
from tests.interop import tfmot_process
from tests.structured import test_centre
from tf_lottery import experiments
from tf_lottery.commands import parsers

PAGES = {
    path.relative_to(tests.ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([
        *tests.ROOT.glob("*.md"), *tests.ROOT.glob("docs/*.md"),
        *tests.ROOT.glob("examples/results/**/*.md"),
    ])
}
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# In a sentence, or in a block by itself.
COMMANDS = (
    re.compile(r"`(tf-lottery [^`]+)`"),
    re.compile(r"^(tf-lottery [^#\n]+)", re.MULTILINE),
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(#[^)]*)?\)")
# They have tests of their own, which look at more than that they run.
ELSEWHERE = {
    "docs/custom_training.md", "docs/getting_started.md",
    "docs/several_machines.md",
}
RUN = [
    name for name, text in PAGES.items()
    if PYTHON.search(text) and name not in ELSEWHERE
]


def test_the_readme_is_a_page():
    assert PAGES["README.md"].count("\n") <= 200


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files(name):
    folder = (tests.ROOT / name).parent
    for path, _ in LINK.findall(PAGES[name]):
        assert (folder / path).exists(), path


def test_every_page_is_in_the_navigation():
    navigation = (tests.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shown = [*PAGES, *(
        path.relative_to(tests.ROOT).as_posix()
        for path in tests.ROOT.glob("docs/notebooks/*.ipynb")
    )]
    assert [name for name in shown if f" {name}\n" not in navigation] == []


def test_notebooks_are_without_outputs():
    for path in tests.ROOT.glob("docs/notebooks/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") for cell in cells), path.name


def test_commands_are_understood():
    parser = parsers.make()
    text = "\n".join(
        text.replace("\\\n", " ") for name, text in PAGES.items()
        if name != "CHANGELOG.md"
    )
    said = {
        tuple(shlex.split(line)[1:])
        for command in COMMANDS for line in command.findall(text)
    }
    # Words in capitals stand for what the reader has; some name a flag alone.
    complete = [
        words for words in said
        if len(words) > 1 and not words[1].startswith("-")
        and not any(map(str.isupper, words))
    ]
    assert len(complete) > 20
    for words in complete:
        parser.parse_args(words)


def test_every_public_name_is_in_the_reference():
    text = "".join(reference.pages().values())
    for name, value in public_names.public().items():
        shown = re.search(rf"heading: {re.escape(name)}$", text, re.MULTILINE)
        assert shown or f"## {name}\n" in text, name
    for path in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page/index.html").write_text('<h2 id="there">')
    (tmp_path / "index.html").write_text(
        '<a href="page/#there"> <a href="page/#gone"> <a href="gone/"> '
        '<a href="https://example.org/">'
    )
    assert links.find_broken(tmp_path) == [
        "index.html: gone/", "index.html: page/#gone"
    ]


def make_model():
    model = keras.Sequential([
        keras.Input((8, 8, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(32, "relu", name="fc1"),
        keras.layers.Dense(16, "relu", name="fc2"),
        keras.layers.Dense(10, name="logits"),
    ])
    model.compile("adam", conftest.loss(), metrics=["accuracy"])
    return model


def world():
    """What the blocks of a page may use: a model, and data to train it."""
    import tensorflow as tf

    data = experiments.load("digits")
    x, y = data.x_train[:256], data.y_train[:256]
    val = data.x_val[:100], data.y_val[:100]
    return {
        "keras": keras, "np": np, "tfl": tfl, "make_model": make_model,
        "model": make_model(), "x": x, "y": y, "val": val, "x_val": val[0],
        "y_val": val[1], "loss": conftest.loss(),
        "train": tf.data.Dataset.from_tensor_slices((x, y)).batch(32),
    }


def prepare_readme(names):
    for name in ("x", "x_val"):
        names[name] = np.random.rand(len(names[name]), 784)


def prepare_analyses(names):
    pytest.importorskip("pandas", reason="the page shows a data frame")
    for name in "ab":
        run_trees.write(pathlib.Path("runs", name))


def prepare_tfmot(names):
    made = tfmot_process.run("tfmot_harness", pathlib.Path.cwd())
    for ending in ("h5", "keras"):
        shutil.copy(made / f"sequential.{ending}", f"pruned.{ending}")
    names["x"], names["y"] = np.zeros((32, 8, 8, 3)), np.zeros((32, 3))


def prepare_shrink(names):
    names["transformer"] = test_centre.vision()


PREPARE = {
    "README.md": prepare_readme, "docs/analyses.md": prepare_analyses,
    "docs/shrink.md": prepare_shrink, "docs/tfmot.md": prepare_tfmot,
}


@pytest.mark.slow
@conftest.tensorflow_only("pages show all of the package")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", RUN)
def test_blocks_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = world()
    PREPARE.get(name, lambda names: None)(names)
    for code in PYTHON.findall(PAGES[name]):
        exec(compile(code, name, "exec"), names)


@pytest.mark.slow
def test_getting_started_needs_nothing_else(tmp_path):
    """A new user's script: pruned to 90 %, saved, exported."""
    code = "\n".join(PYTHON.findall(PAGES["docs/getting_started.md"]))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
        text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    model = tfl.load_model(tmp_path / "pruned.keras")
    assert abs(tfl.masks.density(tfl.masks_of(model)) - 0.1) < 1e-3
    assert (tmp_path / "plain.keras").exists()
    assert (tmp_path / "model.tflite").stat().st_size < 60_000
