"""Drift: measured over time with each side's own states, and read back as it was recorded."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from recurrent_files import Shape, build

from rnnport.errors import CheckFailedError, ModelFileError
from rnnport.graph.quantize.rewriting import with_small_weights
from rnnport.parity.cases import Case, drift_cases
from rnnport.parity.drift import Drift, from_record, measure_drift, to_record
from rnnport.runtime.engine import open_engine
from rnnport.spec import ModelSpec, StateSpec, TensorSpec, TimeSpec

STREAM = ModelSpec(
    inputs=(
        TensorSpec("x", "float32", ("batch", "time", 2), 0, 1),
        TensorSpec("state", "float32", ("batch", 2), 0),
    ),
    outputs=(
        TensorSpec("y", "float32", ("batch", "time", 2), 0, 1),
        TensorSpec("next", "float32", ("batch", 2), 0),
    ),
    states=(StateSpec("state", "next", "float32", ("batch", 2)),),
)
WHOLE = replace(STREAM, inputs=STREAM.inputs[:1], outputs=STREAM.outputs[:1], states=())


class Counter:
    """Adds ``step`` to every element of its state in every step, and answers the state."""

    def __init__(self, step, spec=STREAM, change=lambda answers: answers):
        self.name, self._step, self._spec, self._change = "counter", step, spec, change
        self.fed = []

    def spec(self):
        return self._spec

    def run(self, feeds):
        self.fed.append(feeds["x"])
        steps = np.arange(1, feeds["x"].shape[1] + 1, dtype=np.float32)[None, :, None]
        begin = feeds.get("state", np.zeros((len(feeds["x"]), 2), np.float32))
        y = begin[:, None] + np.float32(self._step) * steps
        return self._change({"y": y} if not self._spec.states else {"y": y, "next": y[:, -1]})


def test_errors_add_up_over_a_thousand_steps_because_each_side_keeps_its_own_states():
    found = measure_drift(Counter(1.0), Counter(1.5), drift_cases(STREAM))
    assert list(found) == ["y", "next"]
    y = found["y"]
    steps = np.arange(1, 1001)
    assert y.max == 500.0
    assert y.rms == pytest.approx(np.sqrt(np.mean((steps / 2) ** 2)), rel=1e-6)
    assert y.scale == pytest.approx(np.sqrt(np.mean(steps**2.0)), rel=1e-6)
    assert y.relative == pytest.approx(0.5)
    quarters = np.sqrt(np.mean((steps.reshape(4, 250) / 2) ** 2, axis=1))
    np.testing.assert_allclose(y.quarters, quarters, rtol=1e-6)
    assert y.agreement is None


def test_a_state_counts_at_the_end_of_each_piece():
    state = measure_drift(Counter(1.0), Counter(1.5), drift_cases(STREAM))["next"]
    ends = np.arange(20, 1001, 20) / 2  # 12.5 pieces a quarter: the piece in the middle ends later
    assert state.max == 500.0
    assert state.rms == pytest.approx(np.sqrt(np.mean(ends**2)), rel=1e-6)
    assert state.quarters[0] == pytest.approx(np.sqrt(np.mean(ends[:12] ** 2)), rel=1e-6)
    assert state.quarters[3] == pytest.approx(np.sqrt(np.mean(ends[37:] ** 2)), rel=1e-6)


def test_both_sides_are_fed_the_same_and_every_piece_anew():
    one, other = Counter(1.0), Counter(1.0)
    found = measure_drift(one, other, drift_cases(STREAM, seed=3))
    assert found["y"].rms == found["y"].max == 0.0
    assert len(one.fed) == 50
    assert all(np.array_equal(a, b) for a, b in zip(one.fed, other.fed, strict=True))
    assert not np.array_equal(one.fed[0], one.fed[1])
    again = Counter(1.0)
    measure_drift(again, again, drift_cases(STREAM, seed=3))
    assert np.array_equal(again.fed[0], one.fed[0])


def test_a_whole_sequence_has_quarters_where_its_output_has_steps():
    cases = [Case(2, 8)]
    found = measure_drift(Counter(1.0, WHOLE), Counter(1.5, WHOLE), cases)["y"]
    pairs = np.arange(1, 9).reshape(4, 2) / 2
    np.testing.assert_allclose(found.quarters, np.sqrt(np.mean(pairs**2, axis=1)), rtol=1e-6)
    last = replace(WHOLE, outputs=(TensorSpec("y", "float32", ("batch", 2), 0),))
    found = measure_drift(
        Counter(1.0, last, lambda a: {"y": a["y"][:, -1]}),
        Counter(1.5, last, lambda a: {"y": a["y"][:, -1]}),
        cases,
    )["y"]
    assert found.quarters is None
    assert found.rms == 4.0


def test_a_classifiers_decisions_are_its_largest_elements():
    spec = replace(WHOLE, task="classify", classes=("a", "b"))

    def second(answers):
        answers["y"][..., 1] += 1
        return answers

    def sometimes(answers):
        answers["y"][:, :2, 1] += 1
        return answers

    found = measure_drift(Counter(1, spec, second), Counter(1, spec, sometimes), [Case(2, 8)])["y"]
    assert (found.agreement, found.decisions) == (0.25, 16)


def test_a_near_tie_is_no_decision():
    spec = replace(WHOLE, task="classify", classes=("a", "b"))

    def leads(by):
        def change(answers):
            answers["y"][..., 1] += np.array([1.0, 1.0, 1.0, by], np.float32)
            return answers

        return change

    sides = (Counter(1, spec, leads(0.01)), Counter(1, spec, leads(-0.01)))
    found = measure_drift(*sides, [Case(1, 4)])["y"]
    assert (found.agreement, found.decisions) == (1.0, 3)
    sides = (Counter(1, spec, leads(1.0)), Counter(1, spec, leads(-0.01)))
    found = measure_drift(*sides, [Case(1, 4)])["y"]
    assert (found.agreement, found.decisions) == (0.75, 4)


def test_whole_numbers_agree_or_do_not():
    spec = replace(WHOLE, outputs=(TensorSpec("y", "int64", ("batch", "time", 2), 0, 1),))
    sides = [
        Counter(step, spec, lambda answers: {"y": answers["y"].astype(np.int64)})
        for step in (1.0, 1.25)
    ]
    found = measure_drift(*sides, [Case(1, 4)])["y"]  # 1 2 3 4 against 1 2 3 5
    assert (found.agreement, found.decisions, found.max) == (0.75, 8, 0.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: {**a, "y": a["y"] * np.nan}, "the candidate answers NaN"),
        (lambda a: {**a, "y": a["y"][:, :-1]}, "shape"),
        (lambda a: {**a, "y": a["y"].astype(np.float64)}, "dtype float64 instead of float32"),
        (lambda a: {"y": a["y"]}, "the reference gives"),
    ],
)
def test_what_no_drift_can_excuse_is_a_failed_check(change, says):
    with pytest.raises(CheckFailedError, match=says):
        measure_drift(Counter(1), Counter(1, change=change), drift_cases(STREAM))


def test_nothing_run_is_nothing_measured():
    assert measure_drift(Counter(1), Counter(1), []) == {}


def test_a_record_is_read_back_as_it_was_written():
    drift = measure_drift(Counter(1.0), Counter(1.5), drift_cases(STREAM))
    drift["kind"] = Drift(agreement=0.996, decisions=250)
    record = json.loads(json.dumps(to_record(drift), allow_nan=False))
    read = from_record(record | {"y": record["y"] | {"a key to come": 1}})
    assert to_record(read) == record
    assert read["kind"] == drift["kind"]
    assert read["y"].rms == pytest.approx(drift["y"].rms, rel=1e-5)


@pytest.mark.parametrize("record", [[], {"y": {}}, {"y": 1}, {"y": {"rms": "wide"}}, None])
def test_a_damaged_record_is_named(record):
    with pytest.raises(ModelFileError, match="recorded drift is damaged"):
        from_record(record)


@pytest.mark.parametrize(
    ("time", "steps", "pieces"),
    [(TimeSpec(), 1000, 50), (TimeSpec(multiple=8), 1008, 42), (TimeSpec(max=1), 1000, 1000)],
)
def test_a_stream_runs_a_thousand_steps_in_pieces_that_it_takes(time, steps, pieces):
    (case,) = drift_cases(replace(STREAM, time=time))
    assert (case.time, len(case.chunks)) == (steps, pieces)
    assert all(time.accepts(size) for size in case.chunks)


def test_a_file_that_takes_one_step_without_a_time_axis_is_followed_step_by_step():
    step = replace(STREAM, inputs=(TensorSpec("x", "float32", ("batch", 2), 0), STREAM.inputs[1]))
    (case,) = drift_cases(step)
    assert case.chunks == (1,) * 1000


def test_whole_sequences_are_rows_enough_to_count_decisions_and_half_of_them_ragged():
    cases = drift_cases(replace(WHOLE, lengths="lengths"), time=6)
    assert {case.time for case in cases} == {6, 18}
    assert sum(case.batch for case in cases) == 256
    assert [case.ragged for case in cases] == [False, True] * 4


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_quantized_file_drifts_a_little_in_every_output_and_state(
    tmp_path, kind, stream, precision
):
    parent = build(Shape(kind, stream=stream, lengths=True, hidden=16))
    onnx.save(parent, tmp_path / "parent.onnx")
    reference = open_engine("ort-cpu", str(tmp_path / "parent.onnx"))
    small, _ = with_small_weights(parent, precision)
    onnx.save(small, tmp_path / "small.onnx")
    candidate = open_engine("ort-cpu", str(tmp_path / "small.onnx"))
    found = measure_drift(reference, candidate, drift_cases(reference.spec()))
    assert set(found) == {tensor.name for tensor in reference.spec().outputs}
    for name, drift in found.items():
        assert 0.0 < drift.relative < 0.05
        assert (drift.quarters is not None) == (stream or name == "scores")
