"""A quantized file gets the kernels where they are, and runs as its bodies where they are not."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from native_layers import Layer, model_of, random_call, session_of
from onnx import helper
from recurrent_files import Shape, build

import rnnport
from rnnport.errors import RequestError
from rnnport.graph.quantize.functions import VERSION
from rnnport.graph.quantize.rewriting import with_small_weights

BOUND = {"int8": 1e-3, "bf16": 1e-2}


@pytest.fixture(params=["LSTM", "GRU", "RNN"])
def op(request):
    return request.param


@pytest.fixture(params=["int8", "bf16"])
def precision(request):
    return request.param


def written(folder, precision, **shape):
    model, _ = with_small_weights(build(Shape(layers=2, features=5, hidden=8, **shape)), precision)
    path = folder / f"{precision}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_load_runs_the_kernels_and_answers_as_the_bodies(tmp_path, monkeypatch, op, precision):
    path = written(tmp_path, precision, kind=op, direction="bidirectional", lengths=True)
    x = np.random.default_rng(0).normal(size=(3, 50, 5)).astype(np.float32)
    session = rnnport.load(path, "cpu")
    assert session.engine.without_kernels == ""
    fast = session.run({"x": x, "lengths": [50, 1, 20]})
    monkeypatch.setenv("RNNPORT_NATIVE", "off")
    session = rnnport.load(path, "cpu")
    assert "RNNPORT_NATIVE=off" in session.engine.without_kernels
    slow = session.run({"x": x, "lengths": [50, 1, 20]})
    assert any((fast[name] != slow[name]).any() for name in slow), "the kernels did not run"
    for name, answer in slow.items():
        np.testing.assert_allclose(fast[name], answer, 0, BOUND[precision])


def test_a_stream_answers_exactly_as_the_whole(tmp_path, op, precision):
    path = written(tmp_path, precision, kind=op, stream=True)
    x = np.random.default_rng(0).normal(size=(2, 30, 5)).astype(np.float32)
    session = rnnport.load(path)
    stream = session.stream(batch=2)
    pieces = [stream.push(piece) for piece in np.split(x, [1, 2, 9, 20], axis=1)]
    np.testing.assert_allclose(np.concatenate(pieces, 1), session(x), 0, 1e-6)


def test_a_file_without_our_functions_never_meets_the_library(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNPORT_ISA", "nonsense")
    path = tmp_path / "plain.onnx"
    path.write_bytes(build().SerializeToString())
    assert rnnport.load(path, "cpu").engine.without_kernels == ""


def test_an_unknown_level_is_refused_with_those_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNPORT_ISA", "avx9")
    with pytest.raises(RequestError, match=r"RNNPORT_ISA is 'avx9'; .* have portable"):
        rnnport.load(written(tmp_path, "int8"), "cpu")


def test_an_unknown_switch_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNPORT_NATIVE", "no")
    with pytest.raises(RequestError, match="RNNPORT_NATIVE is 'no'; expected 'off'"):
        rnnport.load(written(tmp_path, "int8"), "cpu")


def test_a_newer_function_runs_as_its_body(tmp_path):
    path = written(tmp_path, "int8")
    model = onnx.load(path)
    for opset in model.opset_import:
        if opset.domain == "rnnport":
            opset.version = VERSION + 1
    onnx.save(model, path)
    session = rnnport.load(path, "cpu")
    assert "functions have version 2; the kernels know 1" in session.engine.without_kernels
    session(np.zeros((1, 3, 5), np.float32))


def test_a_function_of_another_name_runs_beside_ours():
    model = model_of(Layer())
    call = helper.make_node("Twice", ["Y"], ["twice"], domain="rnnport")
    body = [helper.make_node("Add", ["y", "y"], ["sum"])]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("rnnport", "Twice", ["y"], ["sum"], body, opsets))
    model.graph.node.append(call)
    model.graph.output.append(helper.make_tensor_value_info("twice", 1, None))
    *answers, twice = session_of(model).run(None, random_call(Layer(), 5, 2))
    assert (twice == 2 * answers[0]).all()


def test_running_with_the_kernels_imports_neither_torch_nor_onnx(tmp_path):
    path = written(tmp_path, "int8")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None; import rnnport, numpy; "
        f"session = rnnport.load({str(path)!r}, 'cpu'); "
        "session(numpy.zeros((1, 3, 5), 'f')); assert not session.engine.without_kernels"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
