"""A .ts file has the parts that its name says: a pair is a training and a test part."""

import hashlib

import numpy as np
import pytest
from training_data import write_ts

from rnnport.data.load import load_classify
from rnnport.data.sequences import read_sequences
from rnnport.errors import DataError


def sizes(data):
    return [len(part) for part in (data.train, data.validation, data.test)]


def test_a_training_file_finds_its_test_beside_it(tmp_path):
    train = write_ts(tmp_path / "Slopes_TRAIN.ts", n=40)
    test = write_ts(tmp_path / "Slopes_TEST.ts", n=11, seed=4)
    data = load_classify(str(train))
    assert sizes(data) == [36, 4, 11]  # of 20 in each class, an eighth
    assert data.name == "Slopes_TRAIN.ts"
    assert np.array_equal(data.test.x, read_sequences(test).x)
    assert data.test.y.tolist() == [0, 1] * 5 + [0]
    assert sizes(load_classify(str(train), validation=0)) == [40, 0, 11]
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (train, test)]
    assert data.sha256 == hashlib.sha256("".join(sums).encode()).hexdigest()


def test_a_test_file_is_all_test(tmp_path):
    path = write_ts(tmp_path / "Slopes_TEST.ts", n=11)
    write_ts(tmp_path / "Slopes_TRAIN.ts")
    data = load_classify(str(path))
    assert sizes(data) == [0, 0, 11]
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["slopes.ts", "Slopes_TRAIN.ts"])
def test_a_file_alone_is_split_as_any_other(tmp_path, name):
    data = load_classify(str(write_ts(tmp_path / name)))
    assert sizes(data) == [28, 4, 8]
    steps = np.arange(data.train.x.shape[1])
    for part in (data.train, data.validation, data.test):
        assert np.array_equal(part.x[:, :, 0] != 0, steps < part.lengths[:, None])


def test_where_one_of_a_pair_is_of_equal_length_both_have_lengths(tmp_path):
    write_ts(tmp_path / "S_TRAIN.ts")
    (tmp_path / "S_TEST.ts").write_text("@classLabel true rising\n@data\n1,2:3,4:rising\n")
    data = load_classify(str(tmp_path / "S_TRAIN.ts"))
    assert data.test.lengths.tolist() == [2]


def test_classes_of_a_pair_are_matched_by_name(tmp_path):
    train = write_ts(tmp_path / "S_TRAIN.ts", classes=("falling", "rising"))
    write_ts(tmp_path / "S_TEST.ts", n=3, classes=("rising", "falling"))
    data = load_classify(str(train))
    assert data.classes == ("falling", "rising")
    assert data.test.y.tolist() == [1, 0, 1]


def test_a_pair_that_does_not_fit_is_refused(tmp_path):
    train = write_ts(tmp_path / "S_TRAIN.ts")
    write_ts(tmp_path / "S_TEST.ts", classes=("falling", "level"))
    with pytest.raises(DataError, match=r"S_TEST.ts has the class 'level', which S_TRAIN.ts does"):
        load_classify(str(train))
    write_ts(tmp_path / "S_TEST.ts", features=3)
    with pytest.raises(DataError, match=r"S_TEST.ts has 3 dimensions, .*S_TRAIN.ts has 2"):
        load_classify(str(train))


def test_a_file_without_classes_cannot_be_classified(tmp_path):
    (tmp_path / "x.ts").write_text("@classLabel false\n@data\n1,2\n")
    with pytest.raises(DataError, match=r"x.ts has no classes \(@classLabel is false\)"):
        load_classify(str(tmp_path / "x.ts"))
