"""What is learned of the data: parts, scaling fitted on the training part, the spec."""

import numpy as np
import pytest
from training_data import classify_document, forecast_document, write_sequences, write_series

from rnnport.errors import DataError, RecipeError
from rnnport.training.problem import pose
from rnnport.training.recipe import build
from rnnport.training.scaling import fit_scaling


def test_scaling_and_naive_error_come_from_the_training_part_alone(tmp_path):
    path = write_series(tmp_path / "my.csv")
    first = pose(build(forecast_document(path), "x"))
    lines = path.read_text().splitlines()
    tail = [f"{line.split(',')[0]},9999,9999" for line in lines[250:]]
    path.write_text("\n".join(lines[:250] + tail) + "\n")
    other = pose(build(forecast_document(path), "x"))
    assert other.sha256 != first.sha256
    assert (other.inputs, other.targets) == (first.inputs, first.targets)
    assert other.spec.series == first.spec.series
    assert first.targets.offset == pytest.approx((100,), abs=2)


def test_a_forecasts_spec_says_what_it_was_trained_on(tmp_path):
    problem = pose(build(forecast_document(write_series(tmp_path / "my.csv")), "x"))
    series = problem.spec.series
    assert (series.columns, series.targets) == (("price", "load"), ("price",))
    assert (series.lookback, series.horizon, series.frequency) == (12, 4, "1h")
    assert (series.time_column, series.season) == ("time", 24)
    assert problem.spec.inputs[0].shape == ("batch", "time", 2)
    assert problem.spec.outputs[0].shape == ("batch", 4, 1)
    assert set(problem.parts) == {"train", "validation", "test"}


@pytest.mark.parametrize("variable", [False, True])
def test_a_classifiers_spec_says_what_it_was_trained_on(tmp_path, variable):
    path = write_sequences(tmp_path / "x.npz", variable=variable)
    problem = pose(build(classify_document(path), "x"))
    assert problem.spec.classes == ("falling", "rising")
    assert problem.spec.lengths == ("lengths" if variable else None)
    assert [tensor.name for tensor in problem.spec.inputs] == ["x", "lengths"][: 1 + variable]
    assert problem.time == 9


def test_padding_is_not_in_the_scaling(tmp_path):
    x = np.full((40, 6, 1), 3.0, np.float32)
    x[:20] = 5.0
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(40) // 20, lengths=np.full(40, 2))
    problem = pose(build(classify_document(tmp_path / "x.npz"), "x"))
    assert problem.inputs.offset == pytest.approx((4.0,))
    assert problem.inputs.scale == pytest.approx((1.0,))


def test_a_range_of_pixels_is_one_for_all_and_of_columns_one_each():
    values = np.array([[0.0, 5.0], [10.0, 255.0]])
    pixels = fit_scaling("range", values, over=None)
    assert (pixels.offset, pixels.scale) == ((0.0, 0.0), (255.0, 255.0))
    columns = fit_scaling("range", values, over=0)
    assert (columns.offset, columns.scale) == ((0.0, 5.0), (10.0, 250.0))
    constant = fit_scaling("range", np.full((3, 1), 7.0), over=0)
    assert (constant.offset, constant.scale) == ((7.0,), (1.0,))
    assert fit_scaling("none", values, over=0).scale == (1.0, 1.0)


def test_a_target_that_is_not_there_is_named_with_the_nearest(tmp_path):
    document = forecast_document(write_series(tmp_path / "my.csv"))
    document["task"]["targets"] = ["prize"]
    with pytest.raises(DataError, match=r"'prize' is not a column of my\.csv; .*'price'"):
        pose(build(document, "x"))


def test_too_few_rows_for_the_lookback_are_counted(tmp_path):
    document = forecast_document(write_series(tmp_path / "my.csv", rows=60))
    document["task"]["lookback"] = 500
    with pytest.raises(DataError, match=r"lookback 500 \+ horizon 4 = 504 rows"):
        pose(build(document, "x"))


def test_one_class_is_not_enough(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 3, 1), np.float32), y=np.zeros(20, np.int64))
    with pytest.raises(DataError, match="one class only"):
        pose(build(classify_document(tmp_path / "x.npz"), "x"))


def test_other_data_than_the_recipes_is_refused(tmp_path):
    document = classify_document(write_sequences(tmp_path / "x.npz"))
    document["data"]["sha256"] = "ab" * 32
    with pytest.raises(DataError, match=r"data\.sha256 is abab"):
        pose(build(document, "x"))


def test_patience_without_validation_is_refused(tmp_path):
    document = classify_document(write_sequences(tmp_path / "x.npz"), patience=2)
    document["data"]["validation"] = 0
    with pytest.raises(RecipeError, match=r"train\.patience is 2.*data\.validation"):
        pose(build(document, "x"))
