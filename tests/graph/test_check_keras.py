"""Files of tf2onnx and Keras: found, repaired to Keras' own answers, annotated, streamed."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_models import normal, run

import rnnport
from rnnport.graph.annotate import annotate_file
from rnnport.graph.check.fix import fix_file
from rnnport.graph.check.run import check_file, targets_of
from rnnport.graph.check.table import RULES, choose
from rnnport.graph.inspect import inspect_file

FOLDER = Path(__file__).parent.parent / "foreign"
CPU = targets_of([])
WITHOUT_METADATA = choose([], ["RNN205"])
LOOPS = {
    "keras-gru": "GRU",
    "keras-gru-reset-first": "GRU",
    "keras-gru-state": "GRU",
    "keras-export-gru": "GRU",
    "keras-rnn": "RNN",
    "keras-lstm-hard-sigmoid": "LSTM",
}
HEALTHY = ["keras-lstm", "keras-masked-lstm"]  # a cell with a mask is no plain one


@pytest.fixture(scope="module")
def keras():
    with np.load(FOLDER / "keras.npz") as answers:
        return dict(answers)


def feeds_of(keras, name, path):
    inputs = [entry.name for entry in onnx.load(path).graph.input]
    return {entry: keras[f"{name}.in{index}"] for index, entry in enumerate(inputs)}


def kinds(path):
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_of_keras_becomes_one_node_that_answers_as_keras_does(name, keras, tmp_path):
    path, fixed = FOLDER / f"{name}.onnx", tmp_path / "fixed.onnx"
    (finding,) = check_file(path, WITHOUT_METADATA, CPU).findings
    assert (finding.rule, finding.fixable) == ("RNN105", True)
    report = fix_file(path, fixed, WITHOUT_METADATA, CPU)
    assert all(step.kept for step in report.steps), report.steps
    assert report.left == ()
    assert LOOPS[name] in kinds(fixed)
    assert "Loop" not in kinds(fixed)
    feeds = feeds_of(keras, name, path)
    for index, answer in enumerate(run(fixed, feeds).values()):
        np.testing.assert_allclose(answer, keras[f"{name}.out{index}"], atol=1e-6)
    for batch, time in ((1, 1), (3, 17)):
        other = {entry: normal(batch, *array.shape[1:]) for entry, array in feeds.items()}
        first = next(iter(feeds))
        other[first] = normal(batch, time, feeds[first].shape[2])
        wanted, answers = run(path, other), run(fixed, other)
        for output, array in wanted.items():
            np.testing.assert_allclose(answers[output], array, atol=1e-5)


@pytest.mark.parametrize("name", HEALTHY)
def test_a_file_of_keras_without_fault_is_left_alone(name, keras, tmp_path):
    path = FOLDER / f"{name}.onnx"
    assert check_file(path, RULES, CPU).findings == ()
    answers = run(path, feeds_of(keras, name, path))
    np.testing.assert_allclose(next(iter(answers.values())), keras[f"{name}.out0"], atol=1e-6)


@pytest.mark.parametrize("name", [*LOOPS, *HEALTHY])
def test_batch_and_time_of_a_loop_are_known(name):
    spec = inspect_file(FOLDER / f"{name}.onnx").spec
    (x,) = spec.inputs[:1]
    assert (x.batch_axis, x.time_axis, x.shape) == (0, 1, ("batch", "time", 3))


@pytest.mark.parametrize("repaired", [False, True])
def test_a_state_of_a_loop_is_recognised_and_streams(repaired, keras, tmp_path):
    path, annotated = tmp_path / "model.onnx", tmp_path / "annotated.onnx"
    if repaired:
        fix_file(FOLDER / "keras-gru-state.onnx", path, WITHOUT_METADATA, CPU)
    else:
        shutil.copy(FOLDER / "keras-gru-state.onnx", path)
    done = annotate_file(path, annotated)
    assert [pair.input for pair in done.recognised] == ["h"]
    x = keras["keras-gru-state.in0"]
    stream = rnnport.load(annotated, device="cpu").stream(batch=2)
    pieces = [stream.push(x[:, :1]), stream.push(x[:, 1:5]), stream.push(x[:, 5:])]
    whole = run(path, {"x": x, "h": np.zeros((2, 4), np.float32)})
    np.testing.assert_allclose(
        np.concatenate(pieces, axis=1), next(iter(whole.values())), atol=1e-6
    )
