import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_lottery import schedules

KEYS = [
    "fc1/kernel",
    "block/conv/kernel",
    "block/conv_2/kernel",
    "block/conv_2/bias",
    "logits/kernel",
]


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("*", KEYS),
        ("fc1", KEYS[:1]),
        ("fc1/kernel", KEYS[:1]),
        ("conv", KEYS[1:2]),
        ("block/conv", KEYS[1:2]),
        ("conv*", KEYS[1:4]),
        ("block/*", KEYS[1:4]),
        ("*/bias", KEYS[3:4]),
        ("fc?", KEYS[:1]),
        ("fc[12]", KEYS[:1]),
        ("FC1", []),
        ("block", []),
        ("kernel", []),
        ("", []),
    ],
)
def test_matches(pattern, expected):
    assert [k for k in KEYS if schedules.matches(pattern, k)] == expected


def test_a_key_without_layer_is_its_own_layer():
    assert schedules.matches("scale", "scale")


def test_match_gives_every_key_a_rate():
    assert schedules.match(0.2, KEYS) == dict.fromkeys(KEYS, 0.2)
    rates = schedules.match({"*": 0.2, "logits": 0.1}, KEYS)
    assert list(rates.values()) == [0.2, 0.2, 0.2, 0.2, 0.1]
    rates = schedules.match({"conv_2": 0.5}, KEYS)
    assert list(rates.values()) == [0.0, 0.0, 0.5, 0.5, 0.0]
    rates = schedules.match({"logits": 0.1}, KEYS, default=0.3)
    assert list(rates.values()) == [0.3, 0.3, 0.3, 0.3, 0.1]


def test_exact_names_win_then_the_last_entry():
    rates = {"conv": 0.1, "block/*": 0.2, "*": 0.3, "b*": 0.4}
    assert list(schedules.match(rates, KEYS).values()) == [
        0.3,
        0.1,
        0.4,
        0.4,
        0.3,
    ]
    rates = {"block/conv_2/bias": 0.1, "conv_2": 0.2, "fc1": 0.3}
    assert schedules.match(rates, KEYS)["block/conv_2/bias"] == 0.2


def test_names_with_brackets_can_be_exact():
    assert schedules.match({"a[0]": 0.1}, ["a[0]/kernel"]) == {
        "a[0]/kernel": 0.1
    }


def test_a_pattern_without_layer_is_refused():
    with pytest.raises(ValueError) as error:
        schedules.match({"*": 0.2, "logit": 0.1}, KEYS)
    message = str(error.value)
    assert "`rate` names 'logit'" in message
    assert "Did you mean 'logits'?" in message
    assert "['fc1', 'block/conv', 'block/conv_2', 'logits']" in message
    with pytest.raises(ValueError, match="`exclude` names 'zzz'"):
        schedules.check_patterns(["fc1", "zzz"], KEYS, "exclude")
    with pytest.raises(ValueError, match="`exclude` must name .* 3"):
        schedules.check_patterns([3], KEYS, "exclude")
    schedules.check_patterns([], KEYS)


@pytest.mark.parametrize("rate", [0.2, 1e-6, np.float32(0.5), {"*": 0.1}])
def test_valid_rates(rate):
    schedules.validate_rate(rate)


@pytest.mark.parametrize(
    "rate",
    [0, 1, 0.0, 1.0, -0.1, 1.2, True, "0.2", None, float("nan")]
    + [[0.2], {"*": 0.2, "fc1": 1.0}],
)
def test_wrong_rates_are_refused(rate):
    with pytest.raises(ValueError, match=r"`pace` must be in \(0, 1\).*pace="):
        schedules.validate_rate(rate, "pace")


@pytest.mark.parametrize(
    "value, point, text",
    [
        (0, schedules.Point(), "0"),
        (0.0, schedules.Point(), "0"),
        ("0it", schedules.Point(), "0"),
        ("0ep", schedules.Point(), "0"),
        ("500it", schedules.Point(steps=500), "500it"),
        ("2ep", schedules.Point(epochs=2), "2ep"),
        ("2ep50it", schedules.Point(2, 50), "2ep50it"),
        (0.02, schedules.Point(fraction=0.02), "0.02"),
        (np.float64(0.5), schedules.Point(fraction=0.5), "0.5"),
    ],
)
def test_point_notation(value, point, text):
    parsed = schedules.Point.parse(value)
    assert parsed == point
    assert str(parsed) == text
    assert schedules.Point.parse(parsed.to_json()) == parsed
    assert schedules.Point.parse(parsed) is parsed


@pytest.mark.parametrize(
    "value",
    [1, 500, 1.0, 1.5, -1, -0.1, True, False, None, float("nan"), "", "2"]
    + ["0.02", "2 ep", "50it2ep", "-5it", "2.5ep", "ep", "\u0662ep", [1]],
)
def test_other_notations_are_refused(value):
    with pytest.raises(ValueError, match="`when` must be 0 .*'2ep50it'"):
        schedules.Point.parse(value, "when")


@given(st.integers(0, 99), st.integers(0, 9999))
def test_points_survive_json(epochs, steps):
    point = schedules.Point(epochs, steps)
    assert schedules.Point.parse(point.to_json()) == point


@pytest.mark.parametrize(
    "value, step",
    [(0, 0), ("499it", 499), ("2ep", 200), ("4ep99it", 499), (0.02, 10)]
    + [(0.0001, 0), (0.5, 250)],
)
def test_to_step(value, step):
    point = schedules.Point.parse(value)
    assert point.to_step(steps_per_epoch=100, epochs=5) == step


@pytest.mark.parametrize("value", ["500it", "5ep", "4ep100it", 0.9999])
def test_moments_beyond_the_round_are_refused(value):
    point = schedules.Point.parse(value)
    with pytest.raises(ValueError, match="`rewind_to`.*round of 500 steps"):
        point.to_step(steps_per_epoch=100, epochs=5)


def test_unknown_epoch_length():
    parse = schedules.Point.parse
    assert parse("500it").to_step(None, epochs=1) == 500
    assert parse(0).to_step(None, epochs=1) == 0
    for value in ("2ep", "2ep50it", 0.02):
        with pytest.raises(ValueError, match="must be in iterations.*'500it'"):
            parse(value).to_step(None, epochs=5)


def test_examples():
    assert doctest.testmod(schedules).failed == 0
