"""Floats in CSV tables are written as they were measured."""

import csv
import io
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tf_lottery.runs import results


@given(st.floats(width=32, allow_nan=False))
def test_float32_has_its_own_digits(value):
    found = results.shortest(value)
    assert np.float32(found) == np.float32(value)
    if not value.is_integer():
        assert len(repr(found)) <= len(repr(value))


@given(st.floats(allow_nan=False))
def test_float64_is_left_alone(value):
    if abs(value) < 3e38 and float(np.float32(value)) == value:
        return
    assert results.shortest(value) == value


def test_rows():
    text = results.rows_to_csv([
        {"a": float(np.float32(0.98)), "b": 1 / 3, "c": None, "d": True},
        {"a": math.nan, "e": 2.0},
    ])
    assert text.splitlines() == [
        "a,b,c,d,e", "0.98,0.3333333333333333,,True,", "nan,,,,2.0"
    ]


def test_a_column_stands_once():
    found = results.RoundResult(
        0, 0.5, {"fc/kernel": 0.5}, {"loss": 0.25, "density": 0.5}, 3, None, 1.5
    )
    rows = list(csv.reader(io.StringIO(results.to_csv([found]))))
    assert rows == [
        ["round", "density", "effective_density", "steps", "early_stop_step",
         "seconds", "loss", "density/fc/kernel"],
        ["0", "0.5", "", "3", "", "1.5", "0.25", "0.5"],
    ]
