"""The TensorFlow in a child process of tests that convert."""

import contextlib

import pytest

from tf_lottery.export import children


@pytest.fixture(scope="session")
def child(kept_children):
    with contextlib.ExitStack() as stack:
        yield children.started(stack, children.TENSORFLOW)
