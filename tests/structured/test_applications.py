"""Every model of `keras.applications` goes through plan, shrink and proof."""

import pytest

from tests.benchmarks import structured_applications as applications

# Groups and units counted by hand, see the comments.
COUNTED = {
    # 16 blocks x 2 inner convolutions, 4 streams, stem; 7552 + 3840 + 64.
    "ResNet50": (37, 11456),
    # 16 expansions, 7 linear streams, stem, last; 7104 + 712 + 32 + 1280.
    "MobileNetV2": (25, 9128),
    # 13 convolutions and two hidden dense layers; 4224 + 2 x 4096.
    "VGG16": (15, 12416),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", applications.NAMES)
def test_half_width_is_proved(name):
    row = applications.measure(name)
    assert float(row["relative_error"]) <= 1e-10
    assert float(row["weights_error"]) <= 1e-10
    assert row["dtype"] == "float64"
    assert float(row["negative_control"]) >= 1e-4
    assert row["saved_error"] == 0
    assert row["macs_after"] < 0.6 * row["macs_before"]
    if name in COUNTED:
        assert (row["groups"], row["units"]) == COUNTED[name]


def test_there_are_forty():
    assert len(applications.NAMES) == 40
