"""docs/compression.md: its block runs, and does what the page says."""

import contextlib
import io
import re

import numpy as np

import tests
import tf_lottery as tfl

PAGE = (tests.ROOT / "docs/compression.md").read_text()


def test_the_block_runs_and_loses_little():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    training, rest = block.split("# Where is there room?")
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(training, names)
        model, data = names["model"], names["data"]
        before = model.evaluate(data.x_test, data.y_test, verbose=0)[1]
        exec(f"# {rest}", names)
    assert "Sensitivity" in printed.getvalue()
    after = model.evaluate(data.x_test, data.y_test, verbose=0)[1]
    assert before > 0.8 and after > before - 0.03
    assert tfl.masks.density(tfl.masks_of(model)) == 0.5
    assert not np.array_equal(model.get_layer("norm").moving_mean, 0)
