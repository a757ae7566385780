"""Tables never cut a number, however narrow the terminal is."""

import io

import rich.box
import rich.console
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tf_lottery.utils import tables


def printed(table, width):
    file = io.StringIO()
    rich.console.Console(file=file, width=width).print(table)
    return file.getvalue()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.integers(1, 10**9), min_size=3, max_size=3),
        min_size=1, max_size=9,
    ),
    st.integers(40, 100),
    st.booleans(),
)
def test_numbers_are_whole(columns, width, boxed):
    table = tables.Table(box=rich.box.SIMPLE if boxed else None, keys=1)
    table.add_column("some key of several words")
    for index in range(len(columns)):
        table.add_column(f"column number {index}", justify="right")
    rows = list(zip(*columns))
    for number, row in enumerate(rows):
        table.add_row(f"row{number}", *map(str, row))
    out = printed(table, width)
    assert max(map(len, out.splitlines())) <= width
    found = out.split()
    for row in rows:
        for value in row:
            assert str(value) in found


def test_keys_are_in_every_part_and_text_folds():
    table = tables.Table("key", keys=1)
    for name in ("one", "two", "three"):
        table.add_column(name, justify="right")
    table.add_row("a long name in words", *["1234567890"] * 3)
    out = printed(table, 30)
    assert out.count("key") > 1 and "…" not in out
    assert out.count("1234567890") == 3
    assert printed(table, 200).count("key") == 1
