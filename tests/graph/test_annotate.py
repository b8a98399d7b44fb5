"""annotate recognises the states of foreign files, and what it writes is enough to run them."""

import numpy as np
import onnx
import pytest
from graph_models import (
    H,
    I,
    constant,
    inside_function,
    inside_if,
    model,
    normal,
    recurrent,
    run,
    save,
    states_of,
    value,
    weights,
)  # fmt: skip
from onnx import helper

from rnnport.errors import OutputExistsError, RequestError, UnsupportedModelError
from rnnport.graph.annotate import annotate_file
from rnnport.runtime.metadata import read_spec
from rnnport.spec import StateSpec

node = helper.make_node


def annotated(made, tmp_path, **told):
    path = save(made, tmp_path / "foreign.onnx")
    annotate_file(path, tmp_path / "annotated.onnx", overwrite=True, **told)
    spec = read_spec(tmp_path / "annotated.onnx")
    assert spec is not None
    return spec


def pairs(spec):
    return [(state.input, state.output) for state in spec.states]


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("wrap", [lambda m: m, inside_if, inside_function])
def test_states_are_recognised_by_where_they_flow(op, wrap, tmp_path):
    made = recurrent(op, states=("a", "b", "c", "d") if op == "LSTM" else ("a", "b"))
    spec = annotated(wrap(made), tmp_path)
    assert pairs(spec) == ([("a", "b"), ("c", "d")] if op == "LSTM" else [("a", "b")])
    assert spec.states[0] == StateSpec("a", "b", "float32", (1, "batch", H))
    x = next(tensor for tensor in spec.inputs if tensor.name == "x")
    assert (x.batch_axis, x.time_axis, x.shape) == (1, 0, ("time", "batch", I))


def stacked(batch_first=False):
    """Two GRU layers whose states are one tensor [2, batch, H], or [batch, 2, H]."""
    shape = ["n", 2, H] if batch_first else [2, "n", H]
    nodes, state = [], "state"
    if batch_first:
        nodes.append(node("Transpose", ["state"], ["turned"], perm=[1, 0, 2]))
        state = "turned"
    nodes += [
        node("Slice", [state, "zero", "one", "zero"], ["first"]),
        node("Slice", [state, "one", "two", "zero"], ["second"]),
        node("GRU", ["x", "W", "R", "B", "", "first"], ["y0", "h0"], hidden_size=H,
             linear_before_reset=1),
        node("Squeeze", ["y0", "one"], ["between"]),
        node("GRU", ["between", "W1", "R1", "B1", "", "second"], ["y", "h1"], hidden_size=H,
             linear_before_reset=1),
        node("Concat", ["h0", "h1"], ["both" if batch_first else "result"], axis=0),
    ]  # fmt: skip
    if batch_first:
        nodes.append(node("Transpose", ["both"], ["result"], perm=[1, 0, 2]))
    second = weights("GRU", features=H, seed=5)
    for tensor in second:
        tensor.name += "1"
    numbers = [constant(name, [i], np.int64) for i, name in enumerate(("zero", "one", "two"))]
    return model(
        nodes,
        [value("x", ["t", "n", I]), value("state", shape)],
        [value("y", ["t", 1, "n", H]), value("result", shape)],
        [*weights("GRU"), *second, *numbers],
    )


def test_layers_in_one_tensor_are_one_state(tmp_path):
    spec = annotated(stacked(), tmp_path)
    assert pairs(spec) == [("state", "result")]
    assert spec.states[0].shape == (2, "batch", H)


def test_a_state_that_is_turned_has_its_batch_where_it_enters(tmp_path):
    spec = annotated(stacked(batch_first=True), tmp_path)
    assert spec.states[0].shape == ("batch", 2, H)


def test_a_batch_first_stream_runs_from_the_metadata_alone(tmp_path):
    import rnnport

    made = stacked(batch_first=True)
    annotated(made, tmp_path)
    stream = rnnport.load(tmp_path / "annotated.onnx", device="cpu").stream(batch=3)
    x = normal(9, 3, I)
    pieces = [stream.push(x[:1]), stream.push(x[1:3]), stream.push(x[3:])]
    whole = run(made, {"x": x, "state": np.zeros((3, 2, H), np.float32)})["y"]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def by_name(entry, output):
    """A cell written out: only names and shapes show which output its state's successor is."""
    nodes = [
        node("MatMul", ["x", "W"], ["from_x"]),
        node("MatMul", [entry, "R"], ["from_h"]),
        node("Add", ["from_x", "from_h"], ["sum"]),
        node("Tanh", ["sum"], [output]),
        node("MatMul", [output, "R"], ["answer"]),
    ]
    return model(
        nodes,
        [value("x", ["batch", I]), value(entry, ["batch", H])],
        [value("answer", ["batch", H]), value(output, ["batch", H])],
        [constant("W", normal(I, H)), constant("R", normal(H, H))],
    )


@pytest.mark.parametrize(
    ("entry", "output"),
    [
        ("h_in", "h_out"), ("h0", "hn"), ("state.rnn.h", "next.rnn.h"), ("hx", "hy"),
        ("prev_hidden", "new_hidden"), ("decoderState", "decoderStateOut"),
        ("cache_in", "cache_out"),
    ],
)  # fmt: skip
def test_names_show_a_state_where_flow_does_not(entry, output, tmp_path):
    assert pairs(annotated(by_name(entry, output), tmp_path)) == [(entry, output)]


def test_an_answer_of_the_inputs_own_shape_is_no_state(tmp_path):
    assert pairs(annotated(by_name("audio_in", "audio_out"), tmp_path)) == []


def test_a_state_is_taken_as_told(tmp_path):
    spec = annotated(by_name("memo", "result"), tmp_path, states={"memo": "result"})
    assert pairs(spec) == [("memo", "result")]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"memos": "result"}, "no input 'memos'.*nearest is 'memo'"),
        ({"memo": "results"}, "no output 'results'.*nearest is 'result'"),
        ({"x": "result"}, "a successor has the state's own form"),
        ({"memo": "result", "x": "result"}, "own form|same output"),
    ],
)
def test_states_that_do_not_fit_are_refused(told, says, tmp_path):
    with pytest.raises(RequestError, match=says):
        annotated(by_name("memo", "result"), tmp_path, states=told)
    assert not (tmp_path / "annotated.onnx").exists()


def test_an_unclear_successor_is_asked_for(tmp_path):
    made = recurrent("GRU", states=("start", "one"))
    made.graph.node.append(node("Identity", ["one"], ["other"]))
    made.graph.output.append(value("other", [1, "batch", H]))
    with pytest.raises(UnsupportedModelError, match="--state start=one"):
        annotated(made, tmp_path)
    assert pairs(annotated(made, tmp_path, states={"start": "other"})) == [("start", "other")]


def test_lengths_and_their_input_are_recognised(tmp_path):
    made = recurrent("LSTM", lengths=True)
    made.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    made.graph.node[0].input[4] = "narrow"
    cast = node("Cast", ["lengths"], ["narrow"], to=onnx.TensorProto.INT32)
    made.graph.node.insert(0, cast)
    assert annotated(made, tmp_path).lengths == "lengths"
    assert annotated(recurrent("LSTM"), tmp_path).lengths is None
    with pytest.raises(RequestError, match="no input 'nothing'"):
        annotated(made, tmp_path, lengths="nothing")


def test_a_state_that_no_output_carries_on_is_named(tmp_path):
    made = recurrent("GRU", states=("h0", "hn"))
    del made.graph.output[1]
    path = save(made, tmp_path / "foreign.onnx")
    assert annotate_file(path, tmp_path / "annotated.onnx").lost == ("h0",)


def test_a_fixed_time_is_the_only_one_that_is_promised(tmp_path):
    spec = annotated(recurrent("GRU", time=12), tmp_path)
    assert (spec.time.min, spec.time.max) == (12, 12)


def test_the_graph_is_untouched_and_an_output_is_not_replaced_unasked(tmp_path):
    made = recurrent("LSTM", states=states_of("LSTM"))
    annotated(made, tmp_path)
    after = onnx.load(tmp_path / "annotated.onnx")
    assert after.graph.SerializeToString() == made.graph.SerializeToString()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        annotate_file(tmp_path / "foreign.onnx", tmp_path / "annotated.onnx")


def test_an_annotated_file_streams_as_it_runs_whole(tmp_path):
    import rnnport

    made = stacked()
    annotated(made, tmp_path)
    session = rnnport.load(tmp_path / "annotated.onnx", device="cpu")
    x = normal(9, 3, I)
    whole = run(made, {"x": x, "state": np.zeros((2, 3, H), np.float32)})
    stream = session.stream(batch=3)
    pieces = [stream.push(x[:1]), stream.push(x[1:2]), stream.push(x[2:])]
    np.testing.assert_allclose(np.concatenate(pieces), whole["y"], atol=1e-6)
    stream.reset(rows=[1])
    again = stream.push(x)
    np.testing.assert_allclose(again[:, :, 1], whole["y"][:, :, 1], atol=1e-6)
    assert np.abs(again[:, :, 0] - whole["y"][:, :, 0]).max() > 1e-3
