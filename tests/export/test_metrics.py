"""Metrics: right answers, other measures, and which loss is too much."""

import keras
import numpy as np
import pytest

from tf_lottery.export import metrics


@pytest.mark.parametrize(
    "outputs, labels, expected",
    [
        (np.eye(3), [0, 1, 1], 2 / 3),
        (np.eye(3), np.eye(3), 1.0),
        (np.array([[0.9], [0.2]]), [1, 1], 0.5),
        (np.array([[0.9], [0.2]]), [[1], [0]], 1.0),
        # Logits.
        (np.array([[0.3], [-0.2], [2.0]]), [1, 0, 1], 1.0),
        # Segmentation.
        (np.eye(2)[None], [[0, 0]], 0.5),
    ],
)
def test_agreement(outputs, labels, expected):
    assert metrics.agreement(outputs, labels) == pytest.approx(expected)


@pytest.mark.parametrize(
    "labels", [[0.5, 1.0], [3, 1]], ids=["regression", "counts"]
)
def test_accuracy_is_of_classes(labels):
    with pytest.raises(ValueError, match="does not fit the model's outputs"):
        metrics.Metric()(np.array(labels), np.array([[0.5], [1.0]]))


@pytest.mark.parametrize("given", ["mse", keras.metrics.MeanSquaredError()])
def test_keras_metrics_start_anew_and_know_their_direction(given):
    metric = metrics.Metric(given)
    labels, outputs = np.zeros((2, 1)), np.full((2, 1), 2.0)
    assert metric(labels, outputs) == metric(labels, outputs) == 4.0
    assert metric.name in ("mse", "mean_squared_error")
    assert metric.loss(4.0, 1.0) and not metric.loss(1.0, 4.0)
    assert not metric.loss(1.005, 1.0)


def test_functions_take_the_structure_of_the_outputs():
    def boxes(labels, outputs):
        return float(np.mean(labels["box"] == outputs["box"]))

    metric = metrics.Metric(boxes)
    value = metric({"box": np.ones(4)}, {"box": np.array([1, 1, 1, 0])})
    assert value == 0.75 and metric.name == "boxes"
    assert metric.loss(0.5, 0.75) == "boxes 0.5, not 0.75"


def test_several_outputs_need_a_function():
    with pytest.raises(ValueError, match="2 outputs"):
        metrics.Metric("mse")(np.ones(2), [np.ones(2), np.ones(2)])


def test_a_point_of_accuracy_may_be_lost():
    metric = metrics.Metric()
    assert not metric.loss(0.911, 0.92)
    assert metric.loss(0.90, 0.92) == "loses 2.0 points"


@pytest.mark.parametrize("wrong", [3, "", "nothing-known", int, [None]])
def test_what_is_no_metric_is_refused(wrong):
    with pytest.raises(ValueError, match="metric"):
        metrics.Metric(wrong)


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        metrics.Metric(lambda labels, outputs: np.nan)(None, np.ones(1))
