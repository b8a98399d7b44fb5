"""Following lines: each is answered as the whole would be, and a bad one is named by its number."""

import json

import numpy as np
import pytest
import small_models
from hypothesis import given
from hypothesis import strategies as st

import rnnport
from rnnport.errors import DataError, RequestError
from rnnport.pipeline.follow import follow
from rnnport.spec import TimeSpec


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("follow")
    return {
        "classifier": rnnport.load(small_models.classifier(folder / "c.onnx", streaming=True)),
        "forecaster": rnnport.load(small_models.forecaster(folder / "f.onnx", streaming=True)),
        "plain": rnnport.load(small_models.brittle(folder / "b.onnx")),
    }


def answered(session, lines, **options):
    said = []
    assert follow(session, lines, said.append, **options) >= len(said) > 0
    return [json.loads(line) for line in said]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(time=st.integers(1, 12), chunk=st.integers(1, 5), seed=st.integers(0, 99))
def test_every_chunk_size_answers_as_the_whole(sessions, time, chunk, seed):
    session, x = sessions["classifier"], draw(time, 3, seed=seed)
    said = answered(session, [json.dumps(row.tolist()) + "\n" for row in x], chunk=chunk)
    expected = session(x[None])[0]
    assert len(said) == time
    np.testing.assert_allclose(
        [answer["probability"] for answer in said], expected.max(-1), rtol=1e-5
    )
    names = session.spec.classes
    assert [answer["label"] for answer in said] == [names[i] for i in expected.argmax(-1)]


def test_an_answer_comes_as_soon_as_its_chunk_is_full(sessions):
    said, seen = [], []

    def lines():
        for number in range(1, 6):
            yield f"[{number}, 0, 0]"
            seen.append(len(said))

    follow(sessions["classifier"], lines(), said.append, chunk=2)
    assert seen == [0, 2, 2, 4, 4]
    assert len(said) == 5  # the rest comes at the end


@pytest.mark.parametrize(
    "lines",
    [
        ["[1, 20]", "[2, 30]"],
        ["1,20", "2,30"],
        [" 1 , 20 ", "", '"2",3e1', "\n"],
        ['{"a": 1, "b": 20, "z": "?"}', '{"b": 30, "a": 2}'],
        ["a,b", "1,20", "2,30"],
        ["time,b,a", "2020-01-01,20,1", "2020-01-02,30,2"],
        ["\ufeffb,a\r\n", "20,1\r\n", "[2, 30]\r\n"],
    ],
)
def test_every_way_to_write_a_step(sessions, lines):
    said = answered(sessions["forecaster"], lines)
    assert said == [[[2, 21], [3, 22]], [[3, 31], [4, 32]]]  # [horizon][targets]


def test_a_header_is_skipped_where_the_model_knows_no_names(sessions):
    session = sessions["classifier"]
    assert answered(session, ["x,y,z", "1,2,3"]) == answered(session, ["1,2,3"])


def test_a_model_without_a_task_answers_with_its_array(sessions):
    assert answered(sessions["plain"], ["0.1,2,3"] * 4, chunk=4) == [[0.1, 2.0, 3.0]] * 4


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("1,2,three", "'three' is not a number"),
        ("1,2", "2 numbers, expected 3"),
        ("[1, 2, 3, 4]", "4 numbers, expected 3"),
        ("[[1, 2, 3]]", "1 × 3 numbers, expected 3"),
        ("[1, 2", "not JSON"),
        ("[1, 2, null]", "something else than numbers"),
        ('[1, 2, "3"]', "something else than numbers"),
        ("[true, false, true]", "something else than numbers"),
        ("[1, 2, NaN]", "not a finite number"),
        ("1,2,inf", "not a finite number"),
        ("[1, 2, 1e39]", "too large for float32"),
        ("1,,3", "a cell is empty"),
        ("[1, [2], 3]", "rows differ"),
        ('{"a": 1}', "knows no column names"),
        ("x,y,z", "'x' is not a number"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_is_named_and_the_lines_before_it_answered(sessions, bad, says):
    said = []
    with pytest.raises(DataError, match=rf"^line 4: .*{says}"):
        follow(sessions["classifier"], ["1,2,3", "", "4,5,6", bad, "7,8,9"], said.append, chunk=7)
    assert len(said) == 2


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["a,c", "1,2"], "line 1: there is no column 'b'"),
        (["a,bb", "1,2"], "line 1: there is no column 'b'; nearest is 'bb'"),
        (['{"a": 1}'], "line 1: there is no column 'b'"),
        (["b,a,t", "1,2"], "line 2: it has 2 cells, its header 3"),
        (["1,2,3"], r"line 1: it has 3 numbers, expected 2 \(a, b\)"),
    ],
)
def test_columns_that_do_not_fit_are_named(sessions, lines, says):
    with pytest.raises(DataError, match=says):
        follow(sessions["forecaster"], lines, print)


def test_no_line_is_no_answer(sessions):
    assert follow(sessions["classifier"], [], print) == 0


def test_whole_numbers_for_a_model_that_takes_ids(tmp_path):
    session = rnnport.load(small_models.embedding(tmp_path / "m.onnx", streaming=True))
    assert answered(session, ["2", "[0]", "1"]) == [[4, 5], [0, 1], [2, 3]]
    with pytest.raises(DataError, match=r"line 1: the model takes whole numbers \(int64\)"):
        follow(session, ["0.5"], print)


@pytest.mark.parametrize("chunk", [0, -1, 3])
def test_a_chunk_that_the_model_does_not_take_is_refused(tmp_path, chunk):
    edit = {"time": TimeSpec(min=2, multiple=2)}
    path = small_models.classifier(tmp_path / "m.onnx", streaming=True, edit=edit)
    with pytest.raises(RequestError, match=f"--chunk is {chunk}"):
        follow(rnnport.load(path), ["1,2,3"], print, chunk=chunk)


def test_a_file_without_states_is_refused_with_the_command_that_helps(tmp_path):
    session = rnnport.load(small_models.classifier(tmp_path / "m.onnx"))
    with pytest.raises(RequestError, match="rnnport export RUN_DIR --stream"):
        follow(session, ["1,2,3"], print)
