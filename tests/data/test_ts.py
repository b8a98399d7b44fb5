"""Files in the .ts format become sequences with classes, or the line that is wrong is named."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnport.data.sequences import is_sequences, read_sequences
from rnnport.data.ts import parse_ts
from rnnport.errors import DataError

RAGGED = """\
# two words, spoken by three people
@problemName Words
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true yes no
@data
1,2,3:-1,-2,-3:no
4,5:-4,-5:yes
6:-6.5e0:no
"""
EQUAL = """\
@problemname Beats
@univariate true
@equallength true
@serieslength 3
@classlabel true 1 2
@data
1,2,3:2
4, 5, 6:1
"""


def parse(text, tmp_path):
    content = text if isinstance(text, bytes) else text.encode()
    return parse_ts(content, tmp_path / "x.ts")


def test_different_lengths_are_padded_with_zeros(tmp_path):
    read = parse(RAGGED, tmp_path)
    assert read.x.dtype == np.float32
    assert read.x.tolist() == [
        [[1, -1], [2, -2], [3, -3]],
        [[4, -4], [5, -5], [0, 0]],
        [[6, -6.5], [0, 0], [0, 0]],
    ]
    assert read.lengths.tolist() == [3, 2, 1]
    assert read.classes == ("yes", "no")  # in the file's order
    assert read.y.tolist() == [1, 0, 1]


def test_equal_lengths_need_no_lengths(tmp_path):
    read = parse(EQUAL, tmp_path)
    assert read.x.tolist() == [[[1], [2], [3]], [[4], [5], [6]]]
    assert read.lengths is None
    assert read.y.tolist() == [1, 0]


def test_keys_that_only_repeat_the_data_may_be_missing(tmp_path):
    data = RAGGED[RAGGED.index("@data") :]
    assert parse(f"@classLabel true yes no\n{data}", tmp_path).lengths.tolist() == [3, 2, 1]
    equal = parse("@classLabel true\n@data\n1,2:b\n3,4:a\n", tmp_path)
    assert equal.lengths is None
    assert equal.classes == ("a", "b")
    assert equal.y.tolist() == [1, 0]


def test_a_file_without_classes_has_only_dimensions(tmp_path):
    read = parse("@classLabel false\n@data\n1,2:3,4\n", tmp_path)
    assert read.x.tolist() == [[[1, 3], [2, 4]]]
    assert (read.y, read.classes) == (None, ())


@pytest.mark.parametrize(
    "content",
    [
        RAGGED.replace("\n", "\r\n").encode(),
        RAGGED.replace("\n", "\n\n# a note\n").encode(),
        RAGGED.replace(":", " : ").encode(),
        b"\xef\xbb\xbf" + RAGGED.encode(),
        "# Müller\n".encode("latin-1") + RAGGED.encode(),
        RAGGED.upper().replace("E0", "").encode(),
    ],
    ids=["windows", "empty lines", "spaces", "byte order mark", "latin-1", "upper case"],
)
def test_how_it_is_typed_does_not_matter(tmp_path, content):
    read, usual = parse(content, tmp_path), parse(RAGGED, tmp_path)
    assert np.array_equal(read.x, usual.x)
    assert read.y.tolist() == usual.y.tolist()


VALUES = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def ragged_sets(draw):
    """Sequences ``[length, dimensions]`` of one number of dimensions, with a label each."""
    dimensions = draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    rows = [
        draw(st.lists(VALUES, min_size=n * dimensions, max_size=n * dimensions)) for n in lengths
    ]
    labels = draw(st.lists(st.sampled_from("abc"), min_size=len(rows), max_size=len(rows)))
    shaped = [np.array(row, np.float32).reshape(-1, dimensions) for row in rows]
    return list(zip(shaped, labels, strict=True))


@given(ragged_sets())
def test_what_is_written_is_read_to_the_bit(tmp_path_factory, rows):
    lines = [
        ":".join([*(",".join(map(str, column.tolist())) for column in values.T), label])
        for values, label in rows
    ]
    text = "\n".join(["@classLabel true a b c", "@data", *lines])
    read = parse_ts(text.encode(), tmp_path_factory.getbasetemp() / "x.ts")
    for place, (values, label) in enumerate(rows):
        assert np.array_equal(read.x[place, : len(values)], values)
        assert not read.x[place, len(values) :].any()
        assert read.classes[read.y[place]] == label
    lengths = [len(values) for values, _ in rows]
    assert read.x.shape[1] == max(lengths)
    assert (read.lengths is None) == (len(set(lengths)) == 1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("-4,-5:yes", "-4,?:yes", r"line 11, dimension 2: the value of step 1 is missing \('\?'\)"),
        ("4,5:-4", "4,NaN:-4", r"line 11, dimension 1: the value of step 1 is missing \('NaN'\)"),
        ("4,5:-4", "4,:-4", "line 11, dimension 1: the value of step 1 is missing"),
        ("4,5:-4", ":-4", "line 11, dimension 1: the value of step 0 is missing"),
        ("4,5:-4", "4,x:-4", "line 11, dimension 1: the value of step 1 is 'x', not a finite"),
        ("4,5:-4", "4,1e39:-4", "line 11, dimension 1: the value of step 1 is '1e39', not a fin"),
        ("4,5:-4", "4,inf:-4", "line 11, dimension 1: the value of step 1 is 'inf', not a finite"),
        ("4,5:-4", "4,1_0:-4", "line 11, dimension 1: the value of step 1 is '1_0', not a finite"),
        ("4,5:-4", "4:-4", "line 11: dimension 2 has 2 values, dimension 1 has 1"),
        ("4,5:-4", "9:4,5:-4", "line 11: 3 dimensions; the file promises 2"),
        ("-5:yes", "-5:maybe", "line 11: the class 'maybe' is none of the file's: yes, no"),
        ("-5:yes", "-5:", "line 11: the class after the last ':' is missing"),
        ("4,5:-4,-5:yes", "4,5", "line 11: '4,5' has no ':' and so no class"),
        ("timeStamps false", "timeStamps true", "line 3: values with time stamps are not read"),
        ("@missing false", "@missing no", "line 4: @missing is 'no'; it is true or false"),
        ("@missing false", "@mising false", "line 4: the key '@mising' is unknown; did you mean"),
        ("@missing false", "@problemName x", "line 4: @problemName is there already, in line 2"),
        ("@missing false", "missing false", "line 4: there is 'missing false' before @data"),
        ("univariate false", "univariate true", "line 6: 2 dimensions, and @univariate is true"),
        ("@dimensions 2", "@dimensions two", "line 6: @dimension is 'two'; it is a whole number"),
        ("@dimensions 2", "@dimensions 0", "line 6: @dimension is '0'; it is a whole number"),
        ("equalLength false", "equalLength true", "line 11: the sequence has 2 steps, not 3"),
        ("true yes no", "true yes yes", "line 8: @classLabel true yes yes: after true, each class"),
        ("true yes no", "false yes no", "line 8: @classLabel false yes no: after true"),
        ("@classLabel true yes no", "@classLabel", "line 8: @classLabel is ''"),
        (
            "@classLabel true yes no",
            "@targetLabel true",
            "line 8: the file has a number to",
        ),
        ("@classLabel true yes no\n", "", "does not say whether its lines end in a class"),
        ("@data\n", "", "line 9: there is '1,2,3:-1,-2,-3:no' before @data"),
        (RAGGED[RAGGED.index("@data") :], "", "is not a .ts file: it has no line @data"),
        (RAGGED[RAGGED.index("1,2,3") :], "", "has no sequence after @data"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, old, new, words):
    assert RAGGED.count(old) == 1
    with pytest.raises(DataError, match=words) as refused:
        parse(RAGGED.replace(old, new), tmp_path)
    assert str(tmp_path / "x.ts") in str(refused.value)


def test_broken_promises_of_a_plain_file_are_named(tmp_path):
    with pytest.raises(DataError, match="line 7: the sequence has 3 steps, not 4"):
        parse(EQUAL.replace("length 3", "length 4"), tmp_path)
    with pytest.raises(DataError, match="line 8: 2 dimensions; the file promises 1"):
        parse(EQUAL.replace("4, 5, 6:", "4:5:"), tmp_path)
    undeclared = "@classLabel true a\n@data\n1:2:a\n\n1:a\n"
    with pytest.raises(DataError, match="line 5: 1 dimensions; line 3 has 2"):
        parse(undeclared, tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_known_by_its_name_packed_or_not(tmp_path, packed):
    path = tmp_path / ("words.ts.gz" if packed else "words.ts")
    path.write_bytes(gzip.compress(RAGGED.encode()) if packed else RAGGED.encode())
    assert is_sequences(path)
    read = read_sequences(path)
    assert read.lengths.tolist() == [3, 2, 1]
    assert read.y is None  # sequences without knowing a model


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no.ts does not exist"):
        read_sequences(tmp_path / "no.ts")
