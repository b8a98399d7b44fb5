"""Annotated files from elsewhere run as our own do: whole, in pieces, from data, in proofs."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from graph_models import H, I, constant, model, normal, recurrent, run, save, states_of, value
from onnx import helper
from typer.testing import CliRunner

import rnnport
from rnnport.cli.main import app
from rnnport.errors import DataError, RequestError
from rnnport.graph.annotate import annotate_file, write_spec
from rnnport.pipeline.evaluate import evaluate
from rnnport.pipeline.infer import infer
from rnnport.pipeline.verify import verify
from rnnport.runtime.metadata import read_spec


def squeezed(made):
    """With the answer [time, batch, H] in place of the node's own [time, 1, batch, H]."""
    made.graph.initializer.append(constant("one", [1], np.int64))
    made.graph.node.append(helper.make_node("Squeeze", ["y", "one"], ["answer"]))
    time, _, batch, hidden = made.graph.output[0].type.tensor_type.shape.dim
    shape = [axis.dim_value or axis.dim_param for axis in (time, batch, hidden)]
    made.graph.output[0].CopyFrom(value("answer", shape))
    return made


@pytest.fixture(params=["LSTM", "GRU"])
def streaming(request, tmp_path):
    """The model, time first, its states [1, batch, H], and the annotated file of it."""
    made = squeezed(recurrent(request.param, states=states_of(request.param)))
    return made, annotated(made, tmp_path / "model.onnx")


def annotated(made, path, **told):
    annotate_file(save(made, path.with_suffix(".plain.onnx")), path, **told)
    return path


def zeros(made, batch):
    names = [entry.name for entry in made.graph.input][1:]
    return {name: np.zeros((1, batch, H), np.float32) for name in names}


def whole(made, x):
    return run(made, {"x": x, **zeros(made, x.shape[1])})["answer"]


def with_initial(path, initial):
    loaded = onnx.load(path)
    spec = read_spec(path)
    states = tuple(replace(state, initial=initial) for state in spec.states)
    write_spec(loaded, replace(spec, states=states))
    onnx.save(loaded, path)


def test_a_session_begins_where_the_states_are_zero(streaming):
    made, path = streaming
    x = normal(9, 3, I)
    np.testing.assert_allclose(rnnport.load(path, device="cpu")(x), whole(made, x), atol=1e-6)


def test_a_stream_in_pieces_answers_as_the_whole_and_resets_single_rows(streaming):
    made, path = streaming
    stream = rnnport.load(path, device="cpu").stream(batch=3)
    x = normal(9, 3, I)
    pieces = [stream.push(part) for part in (x[:1], x[1:5], x[5:])]
    np.testing.assert_allclose(np.concatenate(pieces), whole(made, x), atol=1e-6)
    stream.reset(rows=[0, 2])
    again, new = stream.push(x[0]), whole(made, x)[0]
    np.testing.assert_allclose(again[[0, 2]], new[[0, 2]], atol=1e-6)
    assert np.abs(again[1] - new[1]).max() > 1e-3


def test_a_nested_initial_state_has_no_batch_axis(tmp_path):
    made = recurrent("GRU", states=("h0", "hn"), directions=2)
    path = annotated(made, tmp_path / "m.onnx")
    initial, x = normal(2, H, seed=7), normal(4, 3, I)
    with_initial(path, initial.tolist())
    expected = run(made, {"x": x, "h0": np.repeat(initial[:, None], 3, axis=1)})["y"]
    session = rnnport.load(path, device="cpu")
    np.testing.assert_allclose(session(x), expected, atol=1e-6)
    np.testing.assert_allclose(session.stream(batch=3).push(x), expected, atol=1e-6)


def fixed(tmp_path, batch=2):
    made = squeezed(recurrent("GRU", states=("h0", "hn"), batch=batch))
    return made, annotated(made, tmp_path / "fixed.onnx")


def test_a_fixed_batch_is_the_only_one_that_runs(tmp_path):
    made, path = fixed(tmp_path)
    session, x = rnnport.load(path, device="cpu"), normal(5, 2, I)
    assert session.spec.states[0].shape == (1, 2, H)
    np.testing.assert_allclose(session(x), whole(made, x), atol=1e-6)
    stream = session.stream(batch=2)
    np.testing.assert_allclose(stream.push(x), whole(made, x), atol=1e-6)
    stream.reset(rows=[1])
    np.testing.assert_allclose(stream.push(x)[:, 1], whole(made, x)[:, 1], atol=1e-6)
    with pytest.raises(DataError, match=r"expected \[time, 2, 3\]"):
        session(normal(5, 3, I))
    with pytest.raises(RequestError, match=r"takes batch 2 only.*the batch here is 1"):
        session.stream()


def test_a_batch_that_only_the_state_fixes_is_refused_before_it_runs(tmp_path):
    made = squeezed(recurrent("GRU", states=("h0", "hn")))
    for each in (made.graph.input[1], made.graph.output[1]):
        each.type.tensor_type.shape.dim[1].dim_value = 1
    session = rnnport.load(annotated(made, tmp_path / "m.onnx"), device="cpu")
    assert session(normal(5, 1, I)).shape == (5, 1, H)
    with pytest.raises(DataError, match=r"takes batch 1 only.*the batch here is 3.*check --fix"):
        session(normal(5, 3, I))


def test_lengths_are_given_in_the_files_own_dtype(tmp_path):
    made = squeezed(recurrent("GRU", lengths=True, states=("h0", "hn")))
    path = annotated(made, tmp_path / "m.onnx")
    session, x = rnnport.load(path, device="cpu"), normal(6, 3, I)
    assert session.spec.lengths == "lengths"
    lengths = np.array([6, 2, 4])  # int64, as everybody writes them
    state = np.zeros((1, 3, H), np.float32)
    expected = run(made, {"x": x, "lengths": lengths.astype(np.int32), "h0": state})["answer"]
    np.testing.assert_array_equal(session(x, lengths), expected)
    np.testing.assert_array_equal(session.stream(3).push(x, lengths), expected)
    np.testing.assert_array_equal(session(x), session(x, np.full(3, 6)))


def test_a_stream_keeps_the_state_of_a_row_that_has_no_step(tmp_path):
    made = squeezed(recurrent("LSTM", lengths=True, states=states_of("LSTM")))
    stream = rnnport.load(annotated(made, tmp_path / "m.onnx"), device="cpu").stream(2)
    x = normal(6, 2, I)
    stream.push(x[:2], np.array([2, 2]))
    stream.push(x[2:4], np.array([2, 0]))
    answer = stream.push(x[4:], np.array([2, 2]))
    first, second = x[:, :1], x[[0, 1, 4, 5], 1:]
    for row, alone in enumerate((first, second)):
        lengths = np.array([len(alone)], np.int32)
        zero = {name: np.zeros((1, 1, H), np.float32) for name in ("h0", "c0")}
        expected = run(made, {"x": alone, "lengths": lengths, **zero})["answer"][-2:, 0]
        np.testing.assert_allclose(answer[:, row], expected, atol=1e-6)


def test_infer_takes_sequences_rows_first_and_gives_them_so(streaming, tmp_path):
    made, path = streaming
    x = normal(5, 7, I)  # five sequences of seven steps
    np.save(tmp_path / "x.npy", x)
    answers = infer(path, tmp_path / "x.npy", batch_size=2)
    expected = whole(made, x.swapaxes(0, 1)).swapaxes(0, 1)
    np.testing.assert_allclose(answers.values, expected, atol=1e-6)
    assert list(answers.columns)[:2] == ["sequence", "step"]
    np.testing.assert_allclose(answers.columns["answer.1"], expected[..., 1].ravel(), atol=1e-6)


def test_infer_takes_a_table_in_pieces_and_answers_every_row(streaming, tmp_path, monkeypatch):
    from rnnport.pipeline import table_answers

    monkeypatch.setattr(table_answers, "PIECE", 4)
    made, path = streaming
    x = normal(10, I)
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", header="a,b,c", comments="", fmt="%.9g")
    answers = infer(path, tmp_path / "x.csv")
    np.testing.assert_allclose(answers.values[0], whole(made, x[:, None])[:, 0], atol=1e-5)


def test_infer_follows_lines_time_first(streaming):
    made, path = streaming
    x = normal(3, I)
    lines = "".join(json.dumps(step.tolist()) + "\n" for step in x)
    result = CliRunner().invoke(app, ["infer", str(path), "--stream", "--chunk", "2"], input=lines)
    assert result.exit_code == 0, result.stderr
    said = np.array([json.loads(line) for line in result.stdout.splitlines()])
    np.testing.assert_allclose(said, whole(made, x[:, None])[:, 0], atol=1e-5)


def test_infer_gives_a_fixed_batch_as_many_rows_as_it_takes(tmp_path):
    made, path = fixed(tmp_path, batch=1)
    x = normal(3, 5, I)
    np.save(tmp_path / "x.npy", x)
    expected = [whole(made, row[:, None])[:, 0] for row in x]
    np.testing.assert_allclose(infer(path, tmp_path / "x.npy").values, expected, atol=1e-6)


def test_a_file_that_names_no_axes_answers_an_array_as_it_is(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "W"], ["answer"])]
    shapes = [value("x", ["p", "q", I]), value("answer", ["p", "q", H])]
    made = model(nodes, shapes[:1], shapes[1:], [constant("W", normal(I, H))])
    x = normal(2, 5, I)
    np.save(tmp_path / "x.npy", x)
    answers = infer(save(made, tmp_path / "m.onnx"), tmp_path / "x.npy", batch_size=1)
    np.testing.assert_allclose(answers.values, run(made, {"x": x})["answer"], atol=1e-6)
    assert list(answers.columns)[:2] == ["axis0", "axis1"]


def test_states_of_a_file_without_metadata_are_no_inputs_to_infer(streaming, tmp_path):
    np.save(tmp_path / "x.npy", normal(2, 5, I))
    plain = streaming[1].with_suffix(".plain.onnx")
    with pytest.raises(RequestError, match=r"inputs x, h0.*'rnnport annotate' marks those"):
        infer(plain, tmp_path / "x.npy")


def test_a_file_without_a_task_has_nothing_to_be_evaluated_by(streaming):
    with pytest.raises(DataError, match=r"names no task with metrics.*'rnnport infer'"):
        evaluate(streaming[1], "digits")


def test_an_annotated_file_is_verified_whole_and_in_chunks(streaming):
    _, path = streaming
    for report in verify(path, path, engines=["ort-cpu", "reference"], time=4).reports:
        assert report.ok, "\n".join(report.lines())
        assert {item.way for item in report.comparisons} == {"whole", "chunked"}


def test_one_annotated_side_is_enough_to_verify_in_chunks(streaming):
    _, path = streaming
    plain = path.with_suffix(".plain.onnx")
    for sides in ((path, plain), (plain, path)):
        (report,) = verify(*sides, time=4).reports
        assert report.ok, "\n".join(report.lines())
        assert {item.way for item in report.comparisons} == {"whole", "chunked"}
        assert report.notes == ()
    (report,) = verify(plain, plain, time=4).reports
    assert {item.way for item in report.comparisons} == {"whole"}
    assert "no state is carried" in report.notes[0]


def test_padded_rows_of_an_annotated_file_are_verified_alone_with_their_states(tmp_path):
    made = squeezed(recurrent("GRU", states=("h0", "hn"), lengths=True))
    path = annotated(made, tmp_path / "m.onnx")
    (report,) = verify(path, path, time=4).reports
    alone = [item for item in report.comparisons if item.way == "alone"]
    assert {item.output for item in alone} == {"answer", "hn"}
    assert all(item.ok for item in alone)
    # nodes as they are written elsewhere forget the state of a row that ended before a piece
    assert {item.output for item in report.failures} == {"hn"}
    assert {item.way for item in report.failures} == {"chunked"}


def test_a_fixed_batch_is_verified_at_that_batch(tmp_path):
    _, path = fixed(tmp_path)
    (report,) = verify(path, path).reports
    assert report.ok, "\n".join(report.lines())
    assert {item.case.batch for item in report.comparisons} == {2}
    assert report.refusals == ()


def test_a_damaged_state_of_a_foreign_file_is_found(streaming, tmp_path):
    made, path = streaming
    made.graph.node[0].input[5] = "none"
    made.graph.initializer.append(constant("none", np.zeros((1, 1, H), np.float32)))
    node = helper.make_node("Mul", ["h0", "nothing"], ["none"])
    del made.graph.initializer[-1]
    made.graph.initializer.append(constant("nothing", np.float32(0)))
    made.graph.node.insert(0, node)
    damaged = annotated(made, tmp_path / "damaged.onnx", states={"h0": "hn"})
    (report,) = verify(damaged, path).reports
    assert not report.ok
    assert {item.way for item in report.failures} == {"whole", "chunked"}
