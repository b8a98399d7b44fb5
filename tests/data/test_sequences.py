"""Files of sequences become arrays in form, or say what is wrong with them."""

import gzip
import struct

import numpy as np
import pytest

from rnnport.data.sequences import is_sequences, parse_idx, read_npz, read_sequences
from rnnport.errors import DataError


def idx(array, kind):
    head = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    return head + array.tobytes()


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "s.npz", **arrays)
        return tmp_path / "s.npz"

    return write


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")],
)
def test_every_idx_type_is_read_in_this_machine_s_order(tmp_path, kind, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    read = parse_idx(idx(array, kind), tmp_path / "x.idx")
    assert read.tolist() == array.tolist()
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    assert read.flags.writeable


@pytest.mark.parametrize(
    "name", ["t10k-images-idx3-ubyte", "images.idx", "train-images.idx3-ubyte"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_images_are_sequences_of_rows(tmp_path, name, packed):
    images = np.arange(24, dtype="u1").reshape(2, 3, 4)
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(idx(images, 8)) if packed else idx(images, 8))
    assert is_sequences(path)
    read = read_sequences(path)
    assert read.x.tolist() == images.tolist()
    assert read.x.dtype == np.uint8
    assert read.y is None
    assert read.lengths is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an idx file: it starts with nothing"),
        (b"\x89PNG\r\n", "is not an idx file: it starts with 89 50 4e 47"),
        (b"\0\0\x07\x01\0\0\0\x01\0", "is not an idx file"),
        (b"\0\0\x08\x03\0\0", "is truncated: 6 bytes"),
        (idx(np.zeros((2, 3, 4), "u1"), 8)[:-1], r"is truncated: 39 bytes.* promises 40 .*2, 3, 4"),
        (idx(np.zeros((2, 3, 4), "u1"), 8) + b"\0", "is longer than it says"),
        (b"\0\0\x08\x01\xff\xff\xff\xff", "head promises"),  # a size of −1
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path, content, words):
    path = tmp_path / "images.idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_sequences(path)


def test_a_truncated_gzip_is_named(tmp_path):
    path = tmp_path / "images.idx.gz"
    path.write_bytes(gzip.compress(idx(np.ones((9, 9, 9), "u1"), 8))[:-9])
    with pytest.raises(DataError, match=r"images.idx.gz is truncated or damaged"):
        read_sequences(path)


def test_npz_gives_x_and_lengths_in_form(npz):
    x = np.arange(12.0).reshape(2, 3, 2)
    read = read_sequences(npz(x=x, lengths=np.array([3, 1], dtype=np.int32), y=np.array([0, 1])))
    assert read.x.dtype == np.float32
    assert read.lengths.dtype == np.int64
    assert read.x[0].tolist() == x[0].tolist()
    assert read.x[1].tolist() == [[6, 7], [0, 0], [0, 0]]  # past its length: zeros


def test_two_axes_are_one_feature_and_whole_numbers_become_float32(npz):
    read = read_sequences(npz(x=np.arange(6, dtype=np.int16).reshape(2, 3)))
    assert read.x.shape == (2, 3, 1)
    assert read.x.dtype == np.float32


def test_npy_holds_x_alone(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 5, 6), np.float32))
    assert read_sequences(tmp_path / "x.npy").x.shape == (4, 5, 6)


def test_what_is_not_finite_may_only_be_padding(npz):
    x = np.ones((2, 3, 1))
    x[1, 2] = np.nan
    assert read_sequences(npz(x=x, lengths=np.array([3, 2]))).x[1].tolist() == [[1], [1], [0]]
    for lengths in ({}, {"lengths": np.array([2, 3])}):
        with pytest.raises(DataError, match="x of sequence 1 has a value at step 2"):
            read_sequences(npz(x=x, **lengths))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.ones(2)}, "has no array 'x'; it has a"),
        ({"x": np.ones(2)}, r"x is float64 \[2\]; it must be numbers \[n, time, features\]"),
        ({"x": np.array([["a"]])}, "it must be numbers"),
        ({"x": np.ones((2, 0, 1))}, "it must be numbers"),
        ({"x": np.ones((2, 3, 1)), "lengths": np.array([3, 0])}, "length of sequence 1 is 0"),
        ({"x": np.ones((2, 3, 1)), "lengths": np.array([4, 1])}, "sequence 0 is 4.* from 1 to 3"),
        ({"x": np.ones((2, 3, 1)), "lengths": np.array([1])}, r"lengths are int64 \[1\]"),
        ({"x": np.ones((2, 3, 1)), "lengths": np.array([1.0, 2.0])}, "lengths are float64"),
        ({"x": np.array([np.ones(2), np.ones(3)], dtype=object)}, "pad the sequences"),
    ],
)
def test_arrays_that_do_not_fit_are_named(npz, arrays, words):
    path = npz(**arrays)
    with pytest.raises(DataError, match=words) as refused:
        read_sequences(path)
    assert str(path) in str(refused.value)


def test_damaged_and_missing_files_are_named(npz, tmp_path):
    path = npz(x=np.ones((50, 3, 1)))
    content = path.read_bytes()
    for wrong in (content[:200], content[:-5], b"", content[:100] + b"\1\2\3" + content[103:]):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=r"s.npz is"):
            read_npz(path)
    np.save(tmp_path / "x.npy", np.ones((4, 5, 6)))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match=r"x.npy is truncated or damaged"):
        read_sequences(tmp_path / "x.npy")
    for name in ("no.npz", "no.npy", "no.idx"):
        with pytest.raises(DataError, match=f"{name} does not exist"):
            read_sequences(tmp_path / name)
    with pytest.raises(DataError, match=r"sequences are .npy, .npz, .ts or idx files"):
        read_sequences(tmp_path / "x.wav")


def test_an_npy_under_the_name_of_an_npz_is_refused(tmp_path):
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(DataError, match=r"x.npz is not an .npz file"):
        read_npz(tmp_path / "x.npz")
