"""Streams: however a sequence is cut, the answer is the same; what does not fit changes nothing."""

import pickle

import numpy as np
import pytest
import small_models
from hypothesis import given
from hypothesis import strategies as st

import rnnport
from rnnport.errors import RequestError, StreamError, UnavailableError
from rnnport.runtime.stream import DeviceKeeper, HostKeeper, Stream
from rnnport.spec import TimeSpec

CELLS = ("LSTM", "GRU", "RNN")
KEEPERS = (HostKeeper, DeviceKeeper)  # IO binding works on the CPU too, and is tested there


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    return {
        (cell, lengths): rnnport.load(
            small_models.classifier(
                folder / f"{cell}-{lengths}.onnx", cell, streaming=True, lengths=lengths
            )
        )
        for cell in CELLS
        for lengths in (False, True)
    }


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pieces(x, cuts):
    return np.split(x, sorted(cuts), axis=1)


@pytest.fixture(params=KEEPERS, ids=lambda keeper: keeper.__name__)
def begin(request, sessions):
    """Begin a stream of an LSTM, its states kept in either way."""

    def stream(batch=1, cell="LSTM"):
        engine = sessions[cell, False].engine
        return Stream(engine, batch, request.param(engine))

    return stream


@pytest.mark.parametrize("keeper", KEEPERS)
@pytest.mark.parametrize("cell", CELLS)
@given(data=st.data())
def test_every_chunking_gives_the_answer_of_the_whole(sessions, cell, keeper, data):
    session = sessions[cell, False]
    time, batch = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 4))
    cuts = data.draw(st.sets(st.integers(1, max(time - 1, 1))))
    x = draw(batch, time, 3, seed=data.draw(st.integers(0, 99)))
    stream = Stream(session.engine, batch, keeper(session.engine))
    answers = [stream.push(piece) for piece in pieces(x, cuts) if piece.shape[1]]
    np.testing.assert_allclose(np.concatenate(answers, 1), session(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@given(data=st.data())
def test_rows_that_wait_keep_their_state(sessions, cell, data):
    session = sessions[cell, True]
    x = draw(2, 12, 3)
    stream, alone = session.stream(batch=2), [session.stream() for _ in range(2)]
    at = [0, 0]
    while min(at) < 12 and max(at) < 12:
        lengths = [data.draw(st.integers(0, min(3, 12 - at[row]))) for row in range(2)]
        piece = np.zeros((2, 3, 3), np.float32)
        for row, length in enumerate(lengths):
            piece[row, :length] = x[row, at[row] : at[row] + length]
        answers = stream.push(piece, lengths=np.array(lengths))
        for row, length in enumerate(lengths):
            if length:
                own = alone[row].push(piece[row : row + 1, :length])
                np.testing.assert_allclose(answers[row, :length], own[0], rtol=1e-5, atol=1e-6)
            at[row] += length
        if max(lengths) == 0:
            break


def test_a_thousand_single_steps_equal_one_call(begin, sessions):
    x, stream = draw(1, 1000, 3), begin()
    steps = np.stack([stream.push(x[0, t]) for t in range(1000)])
    np.testing.assert_allclose(steps, sessions["LSTM", False](x)[0], rtol=1e-5, atol=1e-6)


def test_the_answer_has_the_form_of_the_input(begin):
    x = draw(2, 4, 3)
    assert begin(2).push(x).shape == (2, 4, 5)
    assert begin(2).push(x[:, 0]).shape == (2, 5)
    assert begin(1).push(x[:1, 0]).shape == (1, 5)
    assert begin(1).push(x[0, 0]).shape == (5,)


def test_interleaved_streams_do_not_touch_each_other(begin, sessions):
    a, b = draw(1, 10, 3, seed=1), draw(1, 10, 3, seed=2)
    one, other = begin(), begin()
    answers = [(one.push(a[:, t]), other.push(b[:, t])) for t in range(10)]
    for index, x in enumerate((a, b)):
        found = np.stack([pair[index] for pair in answers], axis=1)
        np.testing.assert_allclose(found, sessions["LSTM", False](x), rtol=1e-5, atol=1e-6)


def test_reset_begins_anew(begin):
    stream, x = begin(2), draw(2, 5, 3)
    first = stream.push(x)
    assert np.abs(stream.push(x) - first).max() > 1e-4
    stream.reset()
    np.testing.assert_array_equal(stream.push(x), first)


def test_reset_of_rows_leaves_the_others(begin):
    stream, x = begin(3), draw(3, 5, 3)
    first = stream.push(x)
    going_on = begin(3)
    going_on.push(x)
    second = going_on.push(x)
    stream.reset(rows=[1])
    mixed = stream.push(x)
    np.testing.assert_allclose(mixed[1], first[1], atol=1e-6)
    np.testing.assert_allclose(mixed[[0, 2]], second[[0, 2]], atol=1e-6)
    stream.reset(rows=[])
    stream.reset(rows=np.array([0, 2]))
    np.testing.assert_allclose(stream.push(x)[[0, 2]], first[[0, 2]], atol=1e-6)


@pytest.mark.parametrize("row", [3, -1])
def test_reset_refuses_a_row_that_is_not_there(begin, row):
    stream, x = begin(3), draw(3, 2, 3)
    stream.push(x)
    before = stream.snapshot()
    with pytest.raises(StreamError, match=f"no row {row}; the stream has rows 0 to 2"):
        stream.reset(rows=[0, row])
    assert_same(stream.snapshot(), before)


def test_reset_takes_a_mask_of_the_rows(begin):
    stream, x = begin(3), draw(3, 5, 3)
    stream.push(x)
    by_number = begin(3)
    by_number.restore(stream.snapshot())
    by_number.reset(rows=[0, 2])
    stream.reset(rows=np.array([True, False, True]))
    assert_same(stream.snapshot(), by_number.snapshot())
    stream.reset(rows=[False, False, False])
    assert_same(stream.snapshot(), by_number.snapshot())


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([True, False], r"rows are bool \[2\]; .* a mask of booleans \[3\]"),
        ([1.5], r"rows are float64 \[1\]; expected a list of row numbers"),
        (1, r"rows are int64 \[\]"),
        ([[0, 1]], r"rows are int64 \[1, 2\]"),
        ([[0], [1, 2]], "NumPy makes no array of it"),
        ("a", "rows are <U1"),
    ],
)
def test_reset_refuses_what_is_no_list_of_rows(begin, rows, says):
    stream = begin(3)
    stream.push(draw(3, 2, 3))
    before = stream.snapshot()
    with pytest.raises(StreamError, match=says):
        stream.reset(rows=rows)
    assert_same(stream.snapshot(), before)


def test_a_snapshot_goes_back_in_time(begin):
    stream, x = begin(2), draw(2, 5, 3)
    stream.push(x)
    saved = stream.snapshot()
    after = stream.push(x)
    stream.push(x)
    stream.restore(saved)
    np.testing.assert_array_equal(stream.push(x), after)
    stream.restore(saved)  # a value: it can be used again
    np.testing.assert_array_equal(stream.push(x), after)


def test_a_snapshot_moves_to_another_stream_and_process(begin):
    stream, other, x = begin(2), begin(2), draw(2, 5, 3)
    stream.push(x)
    other.restore(pickle.loads(pickle.dumps(stream.snapshot())))
    np.testing.assert_array_equal(other.push(x), stream.push(x))


def test_a_snapshot_is_a_value(begin):
    stream, x = begin(), draw(1, 5, 3)
    saved = stream.snapshot()
    copies = {name: value.copy() for name, value in saved.states.items()}
    stream.push(x)
    for name, value in saved.states.items():
        np.testing.assert_array_equal(value, copies[name])
        with pytest.raises(ValueError, match="read-only"):
            value[0, 0] = 1


@pytest.mark.parametrize(("cell", "batch"), [("LSTM", 3), ("GRU", 2)])
def test_a_snapshot_of_another_batch_or_model_is_refused(begin, cell, batch):
    stream = begin(2)
    before = stream.snapshot()
    with pytest.raises(StreamError, match=r"snapshot holds .*; this stream has state\.rnn\.h"):
        stream.restore(begin(batch, cell).snapshot())
    assert_same(stream.snapshot(), before)


def test_only_a_snapshot_is_restored(begin):
    stream = begin()
    stream.push(draw(1, 2, 3))
    before = stream.snapshot()
    for other in (None, dict(before.states)):
        with pytest.raises(StreamError, match=r"takes what snapshot\(\) gave, and not"):
            stream.restore(other)
    assert_same(stream.snapshot(), before)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (draw(3, 1, 3), "has batch 3; this stream has batch 2: session.stream"),
        (draw(3, 3), "has batch 3; this stream has batch 2"),
        (draw(2, 1, 4), r"shape \[2, 1, 4\]; expected \[batch, time, 3\]"),
        (draw(2, 4), r"shape \[2, 1, 4\]; expected"),
        (draw(3), r"shape \[3\]; expected"),
        (draw(2, 1, 3).astype(np.float64), r"float64; expected float32: .astype\('float32'\)"),
        ([[1, 2, 3], [1, 2, 3]], "int64; expected float32"),
        (draw(2, 0, 3), "0 time steps; the model takes 1 or more"),
        (draw(1, 2, 1, 3), r"shape \[1, 2, 1, 3\]"),
        ({"z": draw(2, 1, 3)}, "no input 'z'"),
        ({}, "'x' is missing"),
        ([[1.0, 2.0], [1.0]], "'x': NumPy makes no array of it"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_state_untouched(begin, x, says):
    stream = begin(2)
    stream.push(draw(2, 3, 3))
    before = stream.snapshot()
    with pytest.raises(StreamError, match=says):
        stream.push(x)
    assert_same(stream.snapshot(), before)


def test_lengths_that_do_not_fit_leave_the_state_untouched(sessions):
    stream = sessions["GRU", True].stream(batch=2)
    before = stream.snapshot()
    with pytest.raises(StreamError, match="row 1 has length 4; expected 0 to 3"):
        stream.push(draw(2, 3, 3), lengths=np.array([1, 4]))
    with pytest.raises(StreamError, match="no such input"):
        sessions["GRU", False].stream().push(draw(1, 3, 3), lengths=np.array([1]))
    assert_same(stream.snapshot(), before)


@pytest.mark.parametrize("keeper", KEEPERS)
def test_a_failing_engine_leaves_the_state_untouched(tmp_path, keeper):
    session = rnnport.load(small_models.brittle(tmp_path / "m.onnx"))
    stream = Stream(session.engine, 1, keeper(session.engine))
    stream.push(draw(1, 4, 3))
    before = stream.snapshot()
    assert before.states["state.seen.h"].item() == 4
    with pytest.raises((UnavailableError, StreamError)):
        stream.push(draw(1, 3, 3))  # its graph adds four steps to three
    assert_same(stream.snapshot(), before)
    stream.push(draw(1, 4, 3))
    assert stream.snapshot().states["state.seen.h"].item() == 8


def test_a_file_without_states_cannot_stream(tmp_path):
    session = rnnport.load(small_models.classifier(tmp_path / "m.onnx"))
    with pytest.raises(RequestError, match="rnnport export RUN --stream"):
        session.stream()


@pytest.mark.parametrize("batch", [0, -2, 1.5, "a", None])
def test_the_batch_must_be_positive(sessions, batch):
    with pytest.raises(RequestError, match=f"batch is {batch}"):
        sessions["LSTM", False].stream(batch=batch)


def test_a_number_of_steps_that_the_file_does_not_accept_is_refused(tmp_path):
    edit = {"time": TimeSpec(min=2, multiple=2)}
    path = small_models.classifier(tmp_path / "m.onnx", streaming=True, edit=edit)
    stream = rnnport.load(path).stream()
    assert stream.push(draw(1, 4, 3)).shape == (1, 4, 5)
    with pytest.raises(StreamError, match="2 or more, in multiples of 2"):
        stream.push(draw(1, 3))


def test_a_stream_does_not_use_the_callers_array_later(begin):
    stream, twin, x = begin(), begin(), draw(1, 3, 3)
    stream.push(x)
    twin.push(x.copy())
    x[:] = 9
    np.testing.assert_array_equal(stream.push(draw(1, 2, 3)), twin.push(draw(1, 2, 3)))


def test_views_with_strides_are_read_right(begin):
    wide, stream, twin = draw(1, 8, 6), begin(), begin()
    view = wide[:, ::2, 1::2]
    np.testing.assert_array_equal(stream.push(view), twin.push(view.copy()))


def test_one_thread_that_never_spins_is_the_default_of_a_streaming_file(sessions, tmp_path):
    options = sessions["LSTM", False].engine._session.get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    whole = rnnport.load(small_models.classifier(tmp_path / "m.onnx"))
    assert whole.engine._session.get_session_options().intra_op_num_threads == 0


def assert_same(found, expected):
    assert found.states.keys() == expected.states.keys()
    for name, value in expected.states.items():
        np.testing.assert_array_equal(found.states[name], value)
