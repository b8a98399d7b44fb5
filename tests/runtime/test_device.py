"""Devices: CUDA means CUDA, and what stands in its way has a name."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
import recurrent_files
import small_models

import rnnport
from rnnport.errors import DeviceError, RequestError
from rnnport.graph.quantize.rewriting import with_small_weights
from rnnport.runtime import cuda
from rnnport.runtime.device import RECORD_PLACEMENT, recurrent_elsewhere
from rnnport.runtime.engine import open_engine

OBSTACLE = cuda.obstacle()
no_gpu = pytest.mark.skipif(OBSTACLE is None, reason="CUDA works here")
with_gpu = pytest.mark.skipif(OBSTACLE is not None, reason=f"no CUDA: {OBSTACLE}")


def test_an_unknown_device_lists_the_known_ones(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx")
    with pytest.raises(RequestError, match="'gpu'; there are auto, cpu, cuda"):
        rnnport.load(path, device="gpu")


def test_threads_must_be_positive(tmp_path):
    with pytest.raises(RequestError, match="threads is 0"):
        rnnport.load(small_models.classifier(tmp_path / "m.onnx"), threads=0)


@no_gpu
def test_cuda_is_refused_where_it_does_not_work(tmp_path, capfd):
    path = small_models.classifier(tmp_path / "m.onnx")
    with pytest.raises(DeviceError, match="cuda cannot be used") as caught:
        rnnport.load(path, device="cuda")
    assert OBSTACLE in str(caught.value)
    for library in cuda.missing_libraries():
        assert library in str(caught.value)
    with pytest.raises(DeviceError):
        open_engine("ort-cuda", str(path))
    assert capfd.readouterr().err == ""  # ONNX Runtime's own complaints stay away


@no_gpu
def test_auto_takes_the_cpu_and_says_why(tmp_path):
    session = rnnport.load(small_models.classifier(tmp_path / "m.onnx"))
    assert (session.device, session.placement.reason) == ("cpu", OBSTACLE)


def test_auto_keeps_a_streaming_file_on_the_cpu(tmp_path):
    session = rnnport.load(small_models.classifier(tmp_path / "m.onnx", streaming=True))
    assert session.device == "cpu"
    assert "streams" in session.placement.reason


def test_a_listed_provider_is_not_taken_for_a_working_one():
    listed = cuda.PROVIDER in onnxruntime.get_available_providers()
    if not listed:
        assert "built without CUDA" in OBSTACLE
    elif not cuda.gpus():
        assert "no NVIDIA driver" in OBSTACLE or "no GPU" in OBSTACLE


def test_missing_libraries_are_file_names_that_cannot_be_loaded():
    for name in cuda.missing_libraries():
        assert ".so" in name or ".dll" in name
        with pytest.raises(OSError, match=r"cannot open|not find"):
            cuda.ctypes.CDLL(name)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_recurrent_nodes_off_cuda_are_found_by_name(tmp_path, cell):
    path = small_models.classifier(tmp_path / "m.onnx", cell)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(RECORD_PLACEMENT, "1")
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    assert recurrent_elsewhere(session) == [f"{cell} '{cell}_y' (CPUExecutionProvider)"]


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_the_recurrent_nodes_of_quantized_files_are_found(cell, precision, inline):
    """Two layers are two nodes, whether they were called or written out."""
    parent = recurrent_files.build(recurrent_files.Shape(cell, layers=2, hidden=16))
    small, _ = with_small_weights(parent, precision, inline=inline)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(RECORD_PLACEMENT, "1")
    content = small.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    found = recurrent_elsewhere(session)
    assert len(found) == 2
    assert all(each.startswith(f"{cell} '") and "''" not in each for each in found)


def test_a_call_that_a_registered_kernel_takes_counts_as_recurrent():
    """As ONNX Runtime tells of it: nothing is inlined where a kernel has the function's name."""

    @dataclass
    class Node:
        op_type: str
        domain: str
        name: str

    @dataclass
    class Part:
        ep_name: str
        nodes: tuple[Node, ...]

        def get_nodes(self):
            return self.nodes

    class Session:
        def get_provider_graph_assignment_info(self):
            call = Node("LSTMInt8", "rnnport", "lstm")
            other = Node("Add", "", "sum")
            return [
                Part("CPUExecutionProvider", (call, other)),
                Part("CUDAExecutionProvider", (call,)),
            ]

    assert recurrent_elsewhere(Session()) == ["LSTMInt8 'lstm' (CPUExecutionProvider)"]


@pytest.mark.cuda
@with_gpu
@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_quantized_files_run_on_cuda_entirely(tmp_path, cell, precision):
    path = small_models.classifier(tmp_path / "m.onnx", cell, lengths=True)
    small, _ = with_small_weights(onnx.load(path), precision)
    onnx.save(small, tmp_path / "small.onnx")
    x = np.random.default_rng(0).standard_normal((7, 40, 3)).astype(np.float32)
    lengths = np.array([40, 1, 7, 7, 39, 2, 40])
    expected = rnnport.load(tmp_path / "small.onnx", device="cpu")(x, lengths)
    session = rnnport.load(tmp_path / "small.onnx", device="cuda")
    np.testing.assert_allclose(session(x, lengths), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.cuda
@with_gpu
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_cuda_gives_the_answers_of_the_cpu(tmp_path, cell):
    path = small_models.classifier(tmp_path / "m.onnx", cell, lengths=True)
    x = np.random.default_rng(0).standard_normal((7, 40, 3)).astype(np.float32)
    lengths = np.array([40, 1, 7, 7, 39, 2, 40])
    expected = rnnport.load(path, device="cpu")(x, lengths)
    session = rnnport.load(path, device="cuda")
    assert session.device == "cuda"
    np.testing.assert_allclose(session(x, lengths), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.cuda
@with_gpu
def test_a_stream_on_cuda_keeps_its_state_there(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx", streaming=True)
    x = np.random.default_rng(0).standard_normal((2, 30, 3)).astype(np.float32)
    stream = rnnport.load(path, device="cuda").stream(batch=2)
    steps = np.stack([stream.push(x[:, t]) for t in range(30)], axis=1)
    expected = rnnport.load(path, device="cpu")(x)
    np.testing.assert_allclose(steps, expected, rtol=1e-5, atol=1e-5)
    assert {value.device_name() for value in stream._states.values()} == {"cuda"}


@pytest.mark.cuda
@with_gpu
def test_a_node_that_cuda_cannot_run_is_a_refusal(tmp_path):
    path = small_models.relu_rnn(tmp_path / "m.onnx")
    with pytest.raises(DeviceError, match="RNN"):
        rnnport.load(path, device="cuda")
