"""On a CUDA GPU: each recipe's file gives the same answers, entirely there, its state too."""

import statistics
import time
from pathlib import Path

import numpy as np
import pytest

import rnnport
from rnnport.parity.cases import grid
from rnnport.parity.compare import compare
from rnnport.runtime import cuda
from rnnport.runtime.engine import open_engine

MODELS = sorted(Path(__file__).parent.parent.glob("models/*/model.onnx"))


@pytest.fixture(scope="module", autouse=True)
def gpu():
    obstacle = cuda.obstacle()
    if obstacle is not None:
        pytest.skip(f"no CUDA: {obstacle}")


pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_every_recipe_s_file_gives_the_same_answers_on_cuda(path):
    host, device = open_engine("ort-cpu", str(path)), open_engine("ort-cuda", str(path))
    report = compare(host, device, grid(host.spec()))
    assert report.ok, str(report)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_the_latency_on_cuda_is_printed_beside_pytorch_s(path, capsys):
    import torch

    session = rnnport.load(path, device="cuda")
    (tensor,) = session.spec.data_inputs()
    x = np.zeros((32, 100, int(tensor.shape[-1])), np.float32)
    layer = torch.nn.LSTM(x.shape[-1], 64, 3, batch_first=True).cuda()
    there = torch.from_numpy(x).cuda()

    def pytorch():
        layer(there)
        torch.cuda.synchronize()

    medians = []
    for call in (lambda: session(x), pytorch):
        times = []
        for _ in range(50):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        medians.append(statistics.median(times) * 1e6)
    with capsys.disabled():
        print(f"\n{path.parent.name}: {medians[0]:.0f} µs; an LSTM in PyTorch: {medians[1]:.0f} µs")
    assert min(medians) > 0


def test_a_stream_keeps_its_state_on_the_device(tmp_path):
    import torch

    path = tmp_path / "stream.onnx"
    module = torch.nn.LSTM(8, 16, num_layers=2, batch_first=True)
    rnnport.export(module, (torch.randn(2, 5, 8),), path, stream=True)
    x = np.random.default_rng(0).normal(size=(2, 30, 8)).astype(np.float32)
    host = rnnport.load(path, device="cpu").stream(batch=2)
    device = rnnport.load(path, device="cuda").stream(batch=2)
    for step in range(x.shape[1]):
        here, there = host.push(x[:, step : step + 1]), device.push(x[:, step : step + 1])
    for name, expected in here.items():
        np.testing.assert_allclose(there[name], expected, atol=1e-5)
    assert {value.device_name() for value in device._states.values()} == {"cuda"}
