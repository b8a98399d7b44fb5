"""Data is found by name or by path, and split the same way each time."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from rnnport.data.load import load_classify, load_forecast
from rnnport.errors import DataError

X = np.arange(240, dtype=np.float32).reshape(120, 2, 1)
Y = np.arange(120) % 4


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "s.npz", **arrays)
        return str(tmp_path / "s.npz")

    return write


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("date,a,b\n" + "".join(f"2020-01-{i + 1:02},{i},{-i}\n" for i in range(30)))
    return str(path)


def parts(data):
    return data.train, data.validation, data.test


def test_an_npz_is_split_70_10_20_alike_by_class(npz):
    path = npz(x=X, y=Y)
    data = load_classify(path)
    assert [len(part) for part in parts(data)] == [84, 12, 24]
    assert sorted(np.concatenate([part.x[:, 0, 0] for part in parts(data)])) == X[:, 0, 0].tolist()
    for part in parts(data):
        assert np.array_equal(part.x[:, 0, 0] // 2 % 4, part.y)
        assert np.ptp(np.bincount(part.y)) == 0
    assert data.classes == ("0", "1", "2", "3")
    assert data.name == "s.npz"
    assert data.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_the_split_is_repeatable_and_the_seed_draws_it(npz):
    path = npz(x=X, y=Y)
    once, again, other = load_classify(path), load_classify(path), load_classify(path, seed=1)
    assert np.array_equal(once.test.x, again.test.x)
    assert not np.array_equal(once.test.x, other.test.x)


def test_validation_takes_its_share_from_training_and_leaves_the_test(npz):
    path = npz(x=X, y=Y)
    usual, none = load_classify(path), load_classify(path, validation=0)
    assert [len(part) for part in parts(none)] == [96, 0, 24]
    assert np.array_equal(usual.test.x, none.test.x)
    for share in (1.0, -0.5):
        with pytest.raises(DataError, match="cannot be set aside"):
            load_classify(path, validation=share)


def test_lengths_go_with_their_rows(npz):
    lengths = np.arange(120) % 2 + 1
    for part in parts(load_classify(npz(x=X + 1, y=Y, lengths=lengths))):
        assert np.array_equal(part.x[:, 1, 0] != 0, part.lengths == 2)


def test_a_file_s_own_parts_are_kept(npz):
    path = npz(
        x_train=X[:60],
        y_train=Y[:60],
        x_validation=X[60:70],
        y_validation=Y[60:70],
        x_test=X[70:, :1],
        y_test=Y[70:],
    )
    train, validation, test = parts(load_classify(path))
    assert np.array_equal(train.x, X[:60])
    assert np.array_equal(validation.x, X[60:70])
    assert np.array_equal(test.x, X[70:, :1])


def test_own_parts_without_validation_hold_some_training_out(npz):
    data = load_classify(npz(x_train=X[:80], y_train=Y[:80], x_test=X[80:], y_test=Y[80:]))
    assert [len(part) for part in parts(data)] == [72, 8, 40]  # of 20 in each class, 2
    assert np.array_equal(data.test.x, X[80:])


@pytest.mark.parametrize(
    ("y", "names", "classes"),
    [
        (np.array([3, 7, 9, 3]), None, ("3", "7", "9")),
        (np.array(["up", "down", "up", "down"]), None, ("down", "up")),
        (np.array([0, 1, 0, 1]), np.array(["up", "down", "flat"]), ("up", "down", "flat")),
        (np.array(["up", "down", "up", "up"]), np.array(["up", "down"]), ("up", "down")),
        (np.array([True, False, True, True]), None, ("False", "True")),
    ],
)
def test_labels_become_places_among_the_classes(npz, y, names, classes):
    more = {} if names is None else {"classes": names}
    data = load_classify(npz(x=X[:4], y=y, **more))
    assert data.classes == classes
    for part in parts(data):
        rows = (part.x[:, 0, 0] // 2).astype(int)
        meant = y[rows] if names is None or y.dtype.kind == "U" else names[y[rows]]
        assert [classes[place] for place in part.y] == [str(label) for label in meant]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X}, "has no array 'y'; it has x"),
        ({"y": Y}, "has no array 'x'"),
        ({"x_train": X, "y_train": Y}, "has no array 'x_test'"),
        ({"x": X, "y": Y[:50]}, r"y is \[50\]; x has 120 sequences"),
        ({"x": X, "y": Y / 2}, "labels are whole numbers or text"),
        ({"x": X, "y": Y[:, None]}, r"y is int64 \[120, 1\]"),
        ({"x": X, "y": Y, "classes": np.array(["a", "b"])}, "label 2 is none of the 2 classes"),
        ({"x": X, "y": Y, "lengths": Y}, "length of sequence 0 is 0"),
    ],
)
def test_an_npz_that_does_not_fit_the_task_is_refused(npz, arrays, words):
    with pytest.raises(DataError, match=words):
        load_classify(npz(**arrays))


def test_a_csv_is_split_in_time(csv):
    data = load_forecast(csv)
    assert (data.train, data.validation, data.test) == (range(21), range(21, 24), range(24, 30))
    assert (data.series.columns, data.series.frequency) == (("a", "b"), "1d")
    assert data.sha256 == hashlib.sha256(Path(csv).read_bytes()).hexdigest()


def test_columns_and_time_are_chosen_by_name(csv):
    series = load_forecast(csv, columns=["b"]).series
    assert (series.columns, series.time_column) == (("b",), "date")
    with pytest.raises(DataError, match="has no column 'price'; it has date, a, b"):
        load_forecast(csv, columns=["price"])
    with pytest.raises(DataError, match="mackey-glass has no time column 'date'"):
        load_forecast("mackey-glass", time_column="date")


@pytest.mark.parametrize(
    ("load", "source", "words"),
    [
        (load_classify, "mnits", "'mnits'; did you mean mnist?.*there are digits, mnist"),
        (load_forecast, "ETTh1", "did you mean etth1?"),
        (load_forecast, "zzz", "no data set or file 'zzz'. To forecast there are mackey-glass, et"),
        (load_classify, "etth1", "etth1 is a set to forecast, and the task is to classify"),
        (load_forecast, "mnist", "mnist is a set to classify"),
        (load_forecast, "no/such.csv", "the data file no/such.csv does not exist"),
        (load_classify, "no.npz", "the data file no.npz does not exist"),
    ],
)
def test_a_name_that_is_none_says_what_there_is(load, source, words):
    with pytest.raises(DataError, match=words):
        load(source)


def test_a_file_of_the_wrong_kind_for_the_task_is_refused(csv, npz):
    with pytest.raises(DataError, match=r"sequences with labels are .ts files, .npz files"):
        load_classify(csv)
    with pytest.raises(DataError, match=r"series are tables \(\.csv"):
        load_forecast(npz(x=X, y=Y))


def save_parts(path, **arrays):
    np.savez(path, y_train=np.arange(8) % 2, y_test=np.arange(4) % 2, **arrays)
    return str(path)


def test_parts_of_different_width_are_refused(tmp_path):
    wide, narrow = np.zeros((8, 5, 3), np.float32), np.zeros((4, 5, 2), np.float32)
    path = save_parts(tmp_path / "p.npz", x_train=wide, x_test=narrow)
    with pytest.raises(DataError, match=r"test part has 2 features a step, .* train part has 3"):
        load_classify(path)


def test_lengths_in_one_part_give_lengths_to_all(tmp_path):
    x = np.zeros((8, 5, 3), np.float32)
    lengths = np.array([1, 2, 3, 4])
    path = save_parts(tmp_path / "p.npz", x_train=x, x_test=x[:4], lengths_test=lengths)
    data = load_classify(path)
    assert data.train.lengths.tolist() == [5] * len(data.train)
    assert data.test.lengths.tolist() == lengths.tolist()
