"""The grid: complete where it must be, within what the spec accepts, the same for the same seed."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recurrent_files import Shape, spec_of

from rnnport.errors import RequestError
from rnnport.parity import feeds
from rnnport.parity.cases import Case, grid
from rnnport.spec import ModelSpec, SeriesSpec, StateSpec, TensorSpec, TimeSpec

STREAM = spec_of(Shape(lengths=True, stream=True))


def sequence_spec(**facts):
    x = TensorSpec("x", "float32", ("batch", "time", 3), 0, 1)
    return ModelSpec(inputs=(x,), outputs=(TensorSpec("y", "float32", ("batch", 2), 0),), **facts)


def test_every_batch_meets_every_time():
    assert {(c.batch, c.time) for c in grid(STREAM)} == set(
        itertools.product((1, 2, 7), (1, 2, 10, 30))
    )


def test_t_is_the_lookback_of_a_forecaster():
    series = SeriesSpec(("a",), ("a",), lookback=12, horizon=3)
    assert {case.time for case in grid(sequence_spec(series=series))} == {1, 2, 12, 36}


def test_the_same_seed_gives_the_same_cases():
    assert grid(STREAM, seed=5) == grid(STREAM, seed=5)
    assert grid(STREAM, seed=5) != grid(STREAM, seed=6)


def test_lengths_hold_ties_and_rows_shorter_than_the_padding():
    ragged = [case for case in grid(STREAM) if case.ragged and case.batch == 7]
    assert ragged
    assert all(len(set(case.lengths)) < 7 and min(case.lengths) < case.time for case in ragged)
    assert any(max(c.lengths) < c.time for c in grid(spec_of(Shape(lengths=True))) if c.ragged)


def test_lengths_states_and_chunks_meet_in_one_case():
    assert any(case.ragged and case.chunks and case.states == "random" for case in grid(STREAM))


def test_every_split_has_a_chunk_of_one_step_and_at_least_two_chunks():
    splits = [case.chunks for case in grid(STREAM) if case.chunks]
    assert all(len(chunks) > 1 and 1 in chunks for chunks in splits)
    assert any(max(chunks) > 1 for chunks in splits)


def test_a_file_without_states_is_not_cut():
    assert all(c.chunks is None and c.states == "zero" for c in grid(sequence_spec()))


def test_fixed_axes_stay_as_they_are():
    x = TensorSpec("x", "float32", (2, 24, 3), 0, 1)
    spec = ModelSpec(inputs=(x,), outputs=(TensorSpec("y", "float32", (2, 5), 0),))
    assert {(case.batch, case.time) for case in grid(spec)} == {(2, 24)}


@given(
    least=st.integers(1, 9),
    multiple=st.integers(1, 5),
    room=st.none() | st.integers(0, 40),
    seed=st.integers(0, 9),
)
def test_every_time_and_every_chunk_is_one_that_the_model_accepts(least, multiple, room, seed):
    first = -(-least // multiple) * multiple
    time = TimeSpec(least, multiple, None if room is None else first + room)
    state = StateSpec("s", "n", "float32", ("batch", 2))
    cases = grid(sequence_spec(time=time, states=(state,)), seed)
    assert cases
    for case in cases:
        assert time.accepts(case.time)
        assert all(time.accepts(chunk) for chunk in case.chunks or ())


def test_a_case_refuses_what_does_not_fit():
    with pytest.raises(RequestError, match="do not add up to time 5"):
        Case(1, 5, chunks=(2, 2))
    with pytest.raises(RequestError, match="one length from 1 to the time"):
        Case(2, 5, lengths=(5, 6))
    with pytest.raises(RequestError, match="neither 'zero' nor 'random'"):
        Case(1, 1, states="none")


def test_inputs_are_drawn_as_the_spec_describes_them():
    x = TensorSpec("x", "float32", ("batch", "time", 2), 0, 1, mean=(100.0, -5.0), std=(10.0, 0.1))
    ids = TensorSpec("ids", "int64", ("batch", "time"), 0, 1, high=4)
    drawn = feeds.draw(ModelSpec(inputs=(x, ids), outputs=()), Case(7, 200, seed=3))
    assert np.allclose(drawn["x"].mean((0, 1)), (100.0, -5.0), atol=1.0)
    assert np.allclose(drawn["x"].std((0, 1)), (10.0, 0.1), rtol=0.1)
    assert set(np.unique(drawn["ids"])) == {0, 1, 2, 3, 4}
    assert drawn["ids"].dtype == np.int64


def test_what_lies_past_a_length_is_not_zero():
    drawn = feeds.draw(STREAM, Case(2, 6, lengths=(2, 6), seed=1))
    assert np.abs(drawn["x"][0, 2:]).min() > 0.0


def test_zero_states_are_the_initial_states_of_the_spec():
    state = StateSpec("s", "n", "float32", ("batch", 2), initial=[1.0, 2.0])
    spec = sequence_spec(states=(state,))
    assert feeds.draw(spec, Case(3, 1))["s"].tolist() == [[1.0, 2.0]] * 3
    assert not np.array_equal(
        feeds.draw(spec, Case(3, 1, states="random", seed=1))["s"], np.full((3, 2), (1.0, 2.0))
    )


def test_the_pieces_of_a_sequence_carry_the_lengths_that_are_left():
    case = Case(2, 6, lengths=(2, 6), chunks=(3, 3))
    drawn = feeds.draw(STREAM, case)
    parts = [feeds.piece(STREAM, drawn, *ends) for ends in ((0, 3), (3, 6))]
    assert [part["lengths"].tolist() for part in parts] == [[2, 3], [0, 3]]
    assert np.array_equal(np.concatenate([part["x"] for part in parts], 1), drawn["x"])
