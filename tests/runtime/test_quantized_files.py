"""Quantized files run as any other: whole, as streams, on every engine that can, without onnx."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from small_models import classifier

import rnnport
from rnnport.errors import UnsupportedModelError
from rnnport.graph.quantize.rewriting import with_small_weights
from rnnport.runtime.engine import open_engine

CELLS = ("LSTM", "GRU", "RNN")


@pytest.fixture(params=[(p, i) for p in ("int8", "bf16") for i in (False, True)], ids=str)
def twin(request, tmp_path):
    precision, inline = request.param

    def write(cell, **options):
        parent = classifier(tmp_path / "parent.onnx", cell, **options)
        small, _ = with_small_weights(onnx.load(parent), precision, inline=inline)
        onnx.save(small, tmp_path / "small.onnx")
        return parent, tmp_path / "small.onnx"

    write.inline = inline
    return write


def draw(batch, time):
    return np.random.default_rng(0).standard_normal((batch, time, 3)).astype(np.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_a_session_answers_near_its_parent(twin, cell):
    parent, small = twin(cell, lengths=True)
    x, lengths = draw(4, 9), np.array([9, 1, 5, 8])
    near, exact = (rnnport.load(path, device="cpu")(x, lengths) for path in (small, parent))
    assert 0.0 < np.abs(near - exact).max() < 0.01


@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_gives_in_pieces_what_it_gives_whole(twin, cell):
    _, small = twin(cell, streaming=True)
    session, x = rnnport.load(small, device="cpu"), draw(2, 12)
    whole = session.stream(batch=2).push(x)
    stream = session.stream(batch=2)
    pieces = [stream.push(x[:, start:stop]) for start, stop in ((0, 1), (1, 8), (8, 12))]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_the_reference_evaluator_computes_the_same(twin, cell, monkeypatch):
    monkeypatch.setenv("RNNPORT_NATIVE", "off")  # a kernel rounds what the body does not
    _, small = twin(cell, streaming=True)
    engines = [open_engine(name, str(small)) for name in ("ort-cpu", "reference")]
    feeds = {"x": draw(2, 5)} | {
        state.input: np.full((2, 4), 0.5, np.float32) for state in engines[0].spec().states
    }
    ours, theirs = (engine.run(feeds) for engine in engines)
    for name, array in ours.items():
        np.testing.assert_allclose(theirs[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_what_the_reference_evaluator_would_ignore_is_refused_inside_a_function_too(tmp_path):
    from recurrent_files import Shape, build

    small, _ = with_small_weights(build(Shape("RNN", activations=("Relu",), hidden=16)), "int8")
    onnx.save(small, tmp_path / "small.onnx")
    with pytest.raises(UnsupportedModelError, match="ignores activations of the RNN"):
        open_engine("reference", str(tmp_path / "small.onnx"))


@pytest.mark.parametrize("cell", CELLS)
def test_openvino_runs_plain_operators_and_refuses_functions_with_the_way_out(twin, cell):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    _, small = twin(cell)
    if not twin.inline:
        with pytest.raises(UnsupportedModelError, match="'rnnport quantize --inline' writes plain"):
            open_engine("openvino", str(small))
        return
    feeds = {"x": draw(3, 6)}
    ours, theirs = (open_engine(name, str(small)).run(feeds) for name in ("ort-cpu", "openvino"))
    np.testing.assert_allclose(theirs["probabilities"], ours["probabilities"], rtol=1e-5, atol=1e-5)


def test_a_quantized_file_runs_where_there_is_neither_onnx_nor_torch(twin):
    _, small = twin("GRU", streaming=True)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "import numpy as np, rnnport\n"
        f"stream = rnnport.load({str(small)!r}, device='cpu').stream()\n"
        "print(stream.push(np.ones((1, 2, 3), np.float32)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(1, 2, 5)", done.stderr
