"""Sessions: what they answer, what they refuse, and that threads may share one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
import small_models
import torch
from hypothesis import given
from hypothesis import strategies as st

import rnnport
from rnnport.errors import DataError
from rnnport.spec import TimeSpec

CELLS = ("LSTM", "GRU", "RNN")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {
        (cell, kind): small_models.classifier(folder / f"{cell}-{kind}.onnx", cell, **options)
        for cell in CELLS
        for kind, options in {
            "plain": {},
            "lengths": {"lengths": True},
            "stream": {"streaming": True},
        }.items()
    }


@pytest.fixture(scope="module")
def sessions(files):
    return {key: rnnport.load(path, device="cpu", threads=1) for key, path in files.items()}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_answers_equal_a_bare_session(files, sessions):
    x = draw(3, 20, 3)
    bare = onnxruntime.InferenceSession(
        files["LSTM", "plain"], providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})[0]
    np.testing.assert_array_equal(sessions["LSTM", "plain"](x), bare)


@pytest.mark.parametrize("cell", CELLS)
@given(data=st.data())
def test_padding_never_changes_an_answer(sessions, cell, data):
    session = sessions[cell, "lengths"]
    time = data.draw(st.integers(1, 12))
    lengths = np.array(data.draw(st.lists(st.integers(1, time), min_size=1, max_size=5)))
    x = draw(len(lengths), time, 3, seed=data.draw(st.integers(0, 99)))
    together = session(x, lengths)
    for row, length in enumerate(lengths):
        x[row, length:] = 1e6  # what lies behind a length is never read
        alone = session(x[row : row + 1, :length])
        np.testing.assert_allclose(together[row : row + 1], alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(session(x, lengths), together)


def test_without_lengths_every_row_is_full(sessions):
    session, x = sessions["GRU", "lengths"], draw(2, 5, 3)
    np.testing.assert_array_equal(session(x), session(x, [5, 5]))


def test_a_streaming_file_starts_from_its_initial_states(sessions):
    session, x = sessions["LSTM", "stream"], draw(2, 6, 3)
    assert session.spec.states[0].initial == 0.25
    states = {
        "state.rnn.h": np.full((2, 4), 0.25, np.float32),
        "state.rnn.c": np.tile(np.array([0.1, 0.2, 0.3, 0.4], np.float32), (2, 1)),
    }
    given_ones = session.run({"x": x, **states})
    np.testing.assert_array_equal(session(x), given_ones["probabilities"])
    zeros = {name: np.zeros_like(value) for name, value in states.items()}
    assert np.abs(session.run({"x": x, **zeros})["probabilities"] - session(x)).max() > 1e-3


def test_run_gives_the_successors_of_the_states(sessions):
    session, x = sessions["LSTM", "stream"], draw(1, 9, 3)
    first = session.run({"x": x[:, :4]})
    second = session.run(
        {
            "x": x[:, 4:],
            "state.rnn.h": first["next.rnn.h"],
            "state.rnn.c": first["next.rnn.c"],
        }
    )
    np.testing.assert_allclose(second["probabilities"], session(x)[:, 4:], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int64", "bool"])
def test_numbers_of_another_dtype_are_cast(sessions, dtype):
    session, x = sessions["LSTM", "plain"], np.arange(24).reshape(1, 8, 3).astype(dtype)
    np.testing.assert_array_equal(session(x), session(x.astype(np.float32)))


def test_nested_lists_are_arrays_too(sessions):
    session = sessions["RNN", "plain"]
    np.testing.assert_array_equal(session([[[1, 2, 3]]]), session(np.array([[[1.0, 2, 3]]])))


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (draw(2, 5, 4), r"'x' has shape \[2, 5, 4\]; expected \[batch, time, 3\]"),
        (draw(5, 3), r"'x' has shape \[5, 3\]; expected \[batch, time, 3\]"),
        (np.full((1, 2, 3), "a"), r"'x' has dtype <U1; expected float32"),
        (draw(1, 2, 3).astype(complex), "dtype complex128; expected float32"),
        (draw(2, 0, 3), "'x' has 0 time steps; the model takes 1 or more"),
        (draw(0, 4, 3), "'x' holds no sequence"),
        ({"z": draw(1, 2, 3)}, "no input 'z'; it has x"),
        ({}, "the input 'x' is missing"),
        ([[1, 2], [1]], "the input 'x': NumPy makes no array of it"),
        (torch.zeros(1, 2, 3, requires_grad=True), "'x': NumPy makes no array of it.*detach"),
    ],
)
def test_an_input_that_does_not_fit_is_named(sessions, x, says):
    with pytest.raises(DataError, match=says):
        sessions["LSTM", "plain"](x)


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ([0, 5], "row 0 has length 0; expected 1 to 5"),
        ([5, 6], "row 1 has length 6; expected 1 to 5"),
        ([-1, 5], "row 0 has length -1"),
        ([5], r"lengths have shape \[1\]; expected one for each row: \[2\]"),
        ([[5, 5]], r"lengths have shape \[1, 2\]"),
        ([5.0, 2.0], "lengths have dtype float64; expected whole numbers"),
        ([[5], [5, 2]], "lengths: NumPy makes no array of it"),
    ],
)
def test_lengths_that_do_not_fit_are_named(sessions, lengths, says):
    with pytest.raises(DataError, match=says):
        sessions["LSTM", "lengths"](draw(2, 5, 3), lengths)


def test_lengths_for_a_model_that_takes_none_are_refused(sessions):
    with pytest.raises(DataError, match="no such input"):
        sessions["LSTM", "plain"](draw(2, 5, 3), [5, 5])


@pytest.mark.parametrize(
    ("time", "steps", "says"),
    [
        (TimeSpec(min=4), 3, "3 time steps; the model takes 4 or more"),
        (TimeSpec(min=2, multiple=2, max=8), 5, "takes 2 to 8, in multiples of 2"),
        (TimeSpec(min=6, max=6), 5, "takes exactly 6"),
    ],
)
def test_a_number_of_steps_that_the_file_does_not_accept_is_refused(tmp_path, time, steps, says):
    session = rnnport.load(small_models.classifier(tmp_path / "m.onnx", edit={"time": time}))
    with pytest.raises(DataError, match=says):
        session(draw(1, steps, 3))


def test_states_of_another_batch_are_refused(sessions):
    with pytest.raises(DataError, match=r"'state.rnn.h' has shape \[2, 5\]; expected \[batch, 4\]"):
        sessions["GRU", "stream"].run({"x": draw(2, 3, 3), "state.rnn.h": draw(2, 5)})


def test_several_answers_come_by_name(tmp_path):
    session = rnnport.load(small_models.classifier(tmp_path / "m.onnx", streaming=True, spec=False))
    answers = session({"x": draw(1, 2, 3), "state.rnn.h": draw(1, 4), "state.rnn.c": draw(1, 4)})
    assert set(answers) == {"probabilities", "next.rnn.h", "next.rnn.c"}
    with pytest.raises(DataError, match=r"inputs 'x', 'state.rnn.h', 'state.rnn.c': give a dict"):
        session(draw(1, 2, 3))


def test_threads_may_share_a_session(sessions):
    session = sessions["LSTM", "lengths"]
    batches = [draw(1 + n % 4, 1 + n % 11, 3, seed=n) for n in range(200)]
    expected = [session(x) for x in batches]
    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(session, batches), expected, strict=True):
            np.testing.assert_array_equal(found, right)


def test_an_integer_input_takes_whole_numbers_only(tmp_path):
    session = rnnport.load(small_models.embedding(tmp_path / "m.onnx"))
    ids = np.array([[1, 0, 2]])
    np.testing.assert_array_equal(session(ids.astype(np.int32)), session(ids))
    with pytest.raises(DataError, match="dtype float64; expected int64"):
        session(ids.astype(float))
    with pytest.raises(DataError, match="int64 cannot hold"):
        session(np.array([[2**64 - 1]], np.uint64))
