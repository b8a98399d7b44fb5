"""The spec: what is written is read again, unknown keys are harmless, newer versions are not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnport.errors import ModelFileError, SpecVersionError
from rnnport.spec import (
    FORMAT_VERSION,
    ModelSpec,
    SeriesSpec,
    StateSpec,
    TensorSpec,
    TimeSpec,
    parse,
)

NAMES = st.text(min_size=1, max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
AXES = st.lists(st.one_of(st.integers(1, 2**40), NAMES), min_size=4, max_size=5).map(tuple)
TENSORS = st.builds(
    TensorSpec,
    name=NAMES,
    dtype=st.sampled_from(["float32", "int64"]),
    shape=AXES,
    batch_axis=st.none() | st.integers(0, 3),
    time_axis=st.none() | st.integers(0, 3),
    mean=st.lists(NUMBERS, max_size=3).map(tuple),
    high=st.none() | st.integers(0, 99),
)
INITIAL = st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=2, max_size=2)
STATES = st.builds(
    StateSpec,
    input=NAMES,
    output=NAMES,
    dtype=st.just("float32"),
    shape=st.just(("batch", 2, 3)),
    initial=NUMBERS | INITIAL,
)
SERIES = st.builds(
    SeriesSpec,
    columns=st.lists(NAMES).map(tuple),
    targets=st.lists(NAMES).map(tuple),
    lookback=st.integers(1, 1000),
    horizon=st.integers(1, 1000),
    time_column=st.none() | NAMES,
    frequency=st.none() | NAMES,
    target_mean=st.lists(NUMBERS).map(tuple),
    season=st.integers(1, 99),
)
SPECS = st.builds(
    ModelSpec,
    inputs=st.lists(TENSORS).map(tuple),
    outputs=st.lists(TENSORS).map(tuple),
    states=st.lists(STATES).map(tuple),
    task=st.none() | st.sampled_from(["classify", "forecast"]),
    lengths=st.none() | NAMES,
    time=st.builds(TimeSpec, min=st.integers(1, 9), max=st.none() | st.integers(9, 99)),
    classes=st.lists(NAMES).map(tuple),
    series=st.none() | SERIES,
    provenance=st.dictionaries(NAMES, st.one_of(NAMES, st.integers())),
)


def tensor(**edit):
    form = {"name": "x", "dtype": "float32", "shape": ["batch", 2]} | edit
    return json.dumps({"format_version": 1, "inputs": [form], "outputs": []})


def state(**edit):
    form = {"input": "h", "output": "n", "dtype": "float32", "shape": ["batch", 2, 3]} | edit
    return json.dumps({"format_version": 1, "inputs": [], "outputs": [], "states": [form]})


def test_the_forms_that_the_damaged_ones_are_made_of_are_right():
    assert parse(tensor()).inputs[0].shape == ("batch", 2)
    assert parse(state()).states[0].initial == 0.0


@given(SPECS)
def test_a_spec_survives_json(spec):
    assert parse(spec.to_json()) == spec


@given(SPECS, NAMES.map(lambda name: "x-" + name))
def test_unknown_keys_are_ignored(spec, key):
    document = json.loads(spec.to_json())
    document[key] = {"anything": [1]}
    for tensor in document["inputs"]:
        tensor[key] = 3
    assert parse(json.dumps(document)) == spec


def test_a_newer_version_is_refused_with_the_upgrade_command():
    document = json.dumps({"format_version": FORMAT_VERSION + 1})
    with pytest.raises(SpecVersionError, match="pip install --upgrade rnnport"):
        parse(document, "model.onnx")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"format_version": "1"}',
        '{"format_version": true}',
        '{"format_version": 1}',
        '{"format_version": 1, "inputs": 3, "outputs": []}',
        '{"format_version": 1, "inputs": [{"name": "x"}], "outputs": []}',
        '{"format_version": 1, "inputs": [], "outputs": [], "series": {"columns": 1}}',
        '{"format_version": 1, "inputs": [], "outputs": [], "time": {"multiple": 0}}',
        '{"format_version": 1, "inputs": [], "outputs": [], "time": {"min": "x"}}',
        tensor(dtype="zzz"),
        tensor(dtype="object"),
        tensor(batch_axis=9),
        state(initial=[1.0]),
        state(initial="text"),
        state(shape=["batch", "hidden"]),
    ],
)
def test_a_damaged_spec_is_named_with_its_file(text):
    with pytest.raises(ModelFileError, match=r"model\.onnx"):
        parse(text, "model.onnx")


def test_data_inputs_and_answers_leave_states_and_lengths_out():
    names = ("x", "lengths", "state.rnn.h")
    spec = ModelSpec(
        inputs=tuple(TensorSpec(name, "float32", ("batch",)) for name in names),
        outputs=tuple(TensorSpec(name, "float32", ("batch",)) for name in ("y", "next.rnn.h")),
        states=(StateSpec("state.rnn.h", "next.rnn.h", "float32", ("batch", 1, 4)),),
        lengths="lengths",
    )
    assert [tensor.name for tensor in spec.data_inputs()] == ["x"]
    assert [tensor.name for tensor in spec.answers()] == ["y"]
    assert spec.streaming


@pytest.mark.parametrize(
    ("time", "steps", "accepted"),
    [
        (TimeSpec(), 1, True),
        (TimeSpec(), 0, False),
        (TimeSpec(min=3), 2, False),
        (TimeSpec(multiple=4), 8, True),
        (TimeSpec(multiple=4), 6, False),
        (TimeSpec(max=5), 6, False),
    ],
)
def test_a_time_spec_says_which_times_a_call_may_have(time, steps, accepted):
    assert time.accepts(steps) is accepted
