"""The metrics equal their definitions and scikit-learn's, however the rows come in batches."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, mean_absolute_error

from rnnport.data.metrics import (
    classification,
    classification_metrics,
    confusion_counts,
    forecast_metrics,
    forecast_sums,
    forecasting,
)
from rnnport.data.statistics import naive_mae, train_statistics
from rnnport.errors import DataError
from rnnport.spec import SeriesSpec

CLASSES = ("a", "b", "c", "d")
NUMBERS = st.floats(-1e3, 1e3, width=32)


def series(targets=("x", "y"), **known):
    return SeriesSpec(columns=targets, targets=targets, lookback=4, horizon=3, **known)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=50))
def test_classification_is_scikit_learn_s(pairs):
    y, answers = (np.array(column) for column in zip(*pairs, strict=True))
    metrics = classification(y, np.eye(4)[answers], CLASSES)
    assert metrics["count"] == len(pairs)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(y, answers))
    assert metrics["f1"] == pytest.approx(f1_score(y, answers, average="macro", zero_division=0))
    assert metrics["confusion"] == confusion_matrix(y, answers, labels=range(4)).tolist()


def test_the_first_of_equal_scores_decides():
    assert classification(np.array([1]), np.array([[0.5, 0.5, 0, 0]]), CLASSES)["accuracy"] == 0


@pytest.mark.parametrize(
    ("y", "scores", "words"),
    [
        ([0], np.zeros((1, 3)), r"\[1, 3\]; 1 labels of 4 classes need \[1, 4\]"),
        ([0, 1], np.zeros((1, 4)), r"need \[2, 4\]"),
        ([4], np.zeros((1, 4)), "labels run from 4 to 4; there are 4 classes"),
        ([-1], np.zeros((1, 4)), "labels run from -1"),
        ([0], np.full((1, 4), np.nan), "not all finite"),
    ],
)
def test_labels_and_scores_must_fit(y, scores, words):
    with pytest.raises(DataError, match=words):
        confusion_counts(np.array(y), scores, CLASSES)


def test_nothing_counted_is_no_metric():
    with pytest.raises(DataError, match="nothing to evaluate"):
        classification_metrics(np.zeros((4, 4), int))
    with pytest.raises(DataError, match="nothing to evaluate"):
        forecast_metrics(forecast_sums(np.zeros((0, 3, 2)), np.zeros((0, 3, 2))), series())


def test_forecast_metrics_by_hand():
    truth = np.array([[[2.0], [4.0]], [[0.0], [-1.0]]])
    forecast = np.array([[[3.0], [2.0]], [[0.0], [1.0]]])
    spec = series(("x",), target_mean=(7.0,), target_std=(2.0,), naive_mae=(0.5,))
    metrics = forecasting(truth, forecast, spec)
    assert metrics == {
        "count": 4,
        "mse": pytest.approx((1 + 4 + 0 + 4) / 4),
        "mae": pytest.approx((1 + 2 + 0 + 2) / 4),
        "mse_scaled": pytest.approx((1 + 4 + 0 + 4) / 4 / 4),
        "mae_scaled": pytest.approx((1 + 2 + 0 + 2) / 4 / 2),
        "smape": pytest.approx(100 * (2 * 1 / 5 + 2 * 2 / 6 + 0 + 2) / 4),
        "mase": pytest.approx((1 + 2 + 0 + 2) / 4 / 0.5),
        "targets": {"x": metrics["targets"]["x"]},
    }
    own = metrics["targets"]["x"]
    assert own == {name: metrics[name] for name in own}


def test_scaled_metrics_are_those_of_scaled_values():
    draw = np.random.default_rng(0)
    truth, forecast = draw.normal(5, 3, (2, 6, 3, 2))
    mean, std = np.array([4.0, 6.0]), np.array([2.0, 5.0])
    spec = series(target_mean=tuple(mean), target_std=tuple(std))
    metrics = forecasting(truth, forecast, spec)
    scaled = [((values - mean) / std).reshape(-1, 2) for values in (truth, forecast)]
    assert metrics["mae_scaled"] == pytest.approx(mean_absolute_error(*scaled))
    assert metrics["mse_scaled"] == pytest.approx(np.square(scaled[0] - scaled[1]).mean())
    assert metrics["targets"]["y"]["mae"] == pytest.approx(np.abs(truth - forecast)[..., 1].mean())


@given(
    values=arrays.arrays(np.float32, (2, 11, 3, 2), elements=NUMBERS),
    cut=st.integers(1, 10),
)
def test_batches_add_up_to_the_whole(values, cut):
    truth, forecast = values
    spec = series(target_std=(2.0, 3.0), naive_mae=(1.0, 2.0))
    whole = forecasting(truth, forecast, spec)
    parts = forecast_sums(truth[:cut], forecast[:cut]) + forecast_sums(truth[cut:], forecast[cut:])
    added = forecast_metrics(parts, spec)
    flat = {name: value for name, value in whole.items() if name != "targets"}
    assert {name: added[name] for name in flat} == pytest.approx(flat, rel=1e-12, abs=1e-300)


def test_what_is_unknown_or_undefined_is_left_out_and_json_stays_valid():
    truth = np.ones((1, 2, 2))
    assert set(forecasting(truth, truth, series())) == {"count", "mse", "mae", "smape", "targets"}
    constant = forecasting(truth, truth + 1, series(naive_mae=(0.0, 2.0)))
    assert constant["mase"] == 0.5  # the mean over the targets that have one
    assert "mase" not in constant["targets"]["x"]
    none = forecasting(truth, truth, series(naive_mae=(0.0, 0.0)))
    assert "mase" not in none
    json.dumps([constant, none], allow_nan=False)


def test_forecasts_must_fit_and_be_finite():
    with pytest.raises(DataError, match=r"\[1, 2, 1\], the truth \[1, 2, 2\]"):
        forecast_sums(np.ones((1, 2, 2)), np.ones((1, 2, 1)))
    with pytest.raises(DataError, match="not all finite"):
        forecast_sums(np.ones((1, 2, 2)), np.full((1, 2, 2), np.inf))


def test_statistics_are_the_population_s_and_a_constant_column_is_not_divided_by_zero():
    values = np.array([[1.0, 5.0, 0.1], [3.0, 5.0, 0.1], [5.0, 5.0, 0.1]])
    mean, std = train_statistics(values)
    assert mean.tolist() == [3.0, 5.0, pytest.approx(0.1)]
    assert std.tolist() == [pytest.approx(np.sqrt(8 / 3)), 1.0, 1.0]
    with pytest.raises(DataError, match="no training rows"):
        train_statistics(np.ones((0, 3)))


def test_statistics_go_over_all_but_the_last_axis_and_are_taken_in_float64():
    large = np.full((1000, 10, 2), 1e6, np.float32)
    large[::2] += 1
    mean, std = train_statistics(large)
    assert mean == pytest.approx([1e6 + 0.5] * 2, rel=1e-12)
    assert std == pytest.approx([0.5] * 2, rel=1e-9)


def test_the_naive_forecast_repeats_the_season():
    train = np.array([[1.0], [2.0], [4.0], [2.0]])
    assert naive_mae(train).tolist() == [pytest.approx((1 + 2 + 2) / 3)]
    assert naive_mae(train, 2).tolist() == [pytest.approx((3 + 0) / 2)]
    for season in (0, 4, 9):
        with pytest.raises(DataError, match=f"season of {season} rows .* of 4 rows"):
            naive_mae(train, season)
