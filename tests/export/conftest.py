"""One TensorFlow in a child process for all tests that convert."""

import pytest

from tf_lottery.export import children


@pytest.fixture(scope="session")
def child():
    with children.Runtime(children.TENSORFLOW) as found:
        yield found
