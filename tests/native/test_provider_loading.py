"""``load`` with a precision: the kernels where they can be had, and a reason where they cannot."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import helper
from plain_nodes import CPU, MEASURED
from recurrent_files import Shape, build

import rnnport
from rnnport.errors import RequestError
from rnnport.runtime.doctor import examine

measured = pytest.mark.skipif(not MEASURED, reason="the policy claims nothing at this level")
BOUND = {"fp32": 1e-5, "bf16": 1e-2}


@pytest.fixture(params=["LSTM", "GRU", "RNN"])
def op(request):
    return request.param


@pytest.fixture(params=["fp32", "bf16"])
def precision(request):
    return request.param


def written(folder, **shape):
    path = folder / "plain.onnx"
    path.write_bytes(build(Shape(layers=2, features=5, hidden=8, **shape)).SerializeToString())
    return path


@measured
def test_load_runs_the_file_in_the_kernels_and_answers_as_before(tmp_path, op, precision):
    path = written(tmp_path, kind=op, direction="bidirectional", lengths=True)
    x = np.random.default_rng(0).normal(size=(3, 50, 5)).astype(np.float32)
    feeds = {"x": x, "lengths": [50, 1, 20]}
    before = rnnport.load(path, "cpu")
    assert before.placement.kernels == ""
    session = rnnport.load(path, precision=precision)
    assert session.placement.kernels == (
        f"2 of 2 recurrent nodes run in the native kernels, in {precision}"
    )
    assert session.device == "cpu"
    fast, slow = session.run(feeds), before.run(feeds)
    assert any((fast[name] != slow[name]).any() for name in slow), "the kernels did not run"
    for name, answer in slow.items():
        np.testing.assert_allclose(fast[name], answer, 0, BOUND[precision])


def test_a_stream_answers_exactly_as_the_whole(tmp_path, op, precision):
    session = rnnport.load(written(tmp_path, kind=op, stream=True), precision=precision)
    x = np.random.default_rng(0).normal(size=(2, 30, 5)).astype(np.float32)
    stream = session.stream(batch=2)
    pieces = [stream.push(piece) for piece in np.split(x, [1, 2, 9, 20], axis=1)]
    np.testing.assert_allclose(np.concatenate(pieces, 1), session(x), 0, 1e-6)


def test_the_file_runs_as_before_where_the_library_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNPORT_NATIVE", "off")
    session = rnnport.load(written(tmp_path), precision="fp32")
    assert "switched off: RNNPORT_NATIVE=off" in session.placement.kernels
    assert session.engine._session.get_providers() == [CPU]
    session(np.zeros((1, 3, 5), np.float32))


def test_the_file_runs_as_before_on_a_runtime_that_is_too_old(tmp_path, monkeypatch):
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    session = rnnport.load(written(tmp_path), precision="fp32")
    assert "onnxruntime 1.23.2 takes no kernels from a plug-in" in session.placement.kernels
    session(np.zeros((1, 3, 5), np.float32))


def test_a_precision_that_does_not_exist_is_refused_and_so_is_cuda(tmp_path):
    path = written(tmp_path)
    with pytest.raises(RequestError, match="unknown precision 'int8'; there are fp32, bf16"):
        rnnport.load(path, precision="int8")
    with pytest.raises(RequestError, match="bf16 is one of the native kernels, which run on the"):
        rnnport.load(path, "cuda", precision="bf16")


def test_an_unknown_level_is_refused_with_those_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNPORT_ISA", "avx9")
    with pytest.raises(RequestError, match=r"^RNNPORT_ISA is 'avx9'; .* have portable"):
        rnnport.load(written(tmp_path), precision="fp32")


def test_a_file_without_recurrent_nodes_says_so(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Tanh", ["x"], ["y"])], "plain",
        [helper.make_tensor_value_info("x", 1, ["batch", "time", 5])],
        [helper.make_tensor_value_info("y", 1, ["batch", "time", 5])],
    )  # fmt: skip
    path = tmp_path / "tanh.onnx"
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path.write_bytes(model.SerializeToString())
    assert "no LSTM, GRU or RNN node" in rnnport.load(path, precision="fp32").placement.kernels


def test_doctor_tries_the_provider(monkeypatch):
    found = examine().provider
    assert found.works, found
    assert "runs an LSTM, within" in found.detail
    monkeypatch.setenv("RNNPORT_NATIVE", "off")
    found = examine().provider
    assert not found.works
    assert "switched off" in found.detail


def python(code):
    paths = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


def test_the_library_can_be_taken_out_and_put_in_again_even_under_a_session():
    done = python(
        "import onnxruntime as ort, numpy as np\n"
        "from native_layers import Layer, expected, random_call\n"
        "from plain_nodes import plain_model, provider_session\n"
        "layer = Layer('GRU', 'fp32')\n"
        "feeds, kept = random_call(layer, 5, 2), []\n"
        "for _ in range(3):\n"
        "    kept.append(provider_session(plain_model(layer)))\n"
        "    ort.unregister_execution_provider_library('rnnport')\n"
        "    assert not [d for d in ort.get_ep_devices() if d.ep_name == 'rnnport']\n"
        "for session in kept:\n"
        "    error = np.abs(session.run(None, feeds)[0] - expected(layer, feeds)['Y']).max()\n"
        "    assert error < 2e-6, error\n"
        "del kept, session\n"
    )
    assert done.returncode == 0, done.stderr


def test_running_in_the_kernels_imports_neither_torch_nor_onnx(tmp_path):
    path = written(tmp_path)
    done = python(
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None; import rnnport, numpy\n"
        f"session = rnnport.load({str(path)!r}, precision='bf16')\n"
        "session(numpy.zeros((1, 3, 5), 'f')); assert 'of 2' in session.placement.kernels\n"
    )
    assert done.returncode == 0, done.stderr


def refused(library, tables):
    """What the library says to a runtime with these tables, by version."""
    said = []
    create_status = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(
        lambda code, message: said.append(message.decode()) or 1
    )
    arrays = {}
    for version, table in tables.items():
        arrays[version] = (ctypes.c_void_p * len(table))(*table)
        arrays[version][0] = ctypes.cast(create_status, ctypes.c_void_p).value
    get_api = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(
        lambda version: ctypes.addressof(arrays[version]) if version in arrays else None
    )
    base = (ctypes.c_void_p * 2)(ctypes.cast(get_api, ctypes.c_void_p), None)
    create = ctypes.CDLL(str(library)).CreateEpFactories
    create.restype = ctypes.c_void_p
    factories, count = (ctypes.c_void_p * 4)(), ctypes.c_size_t(9)
    assert create(b"rnnport", base, None, factories, ctypes.c_size_t(4), ctypes.byref(count)) == 1
    assert count.value == 0
    assert not any(factories)
    return said[-1]


def test_a_runtime_that_the_provider_does_not_understand_is_told_so(library):
    assert refused(library, {1: [None]}) == "rnnport's provider needs ONNX Runtime 1.24 or newer"
    wrong = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: -1)  # whatever is asked
    table = [ctypes.cast(wrong, ctypes.c_void_p).value] * 500
    said = refused(library, {1: [None], 24: table})
    assert said == "rnnport: this ONNX Runtime's statuses are not what was expected"
