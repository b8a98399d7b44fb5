"""The contract of an engine, asked of every engine there is: the same feeds, the same answers."""

import importlib.util
import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
from recurrent_files import Shape, build, spec_of

from rnnport.errors import (
    DeviceError,
    MissingExtraError,
    ModelFileError,
    RequestError,
    UnsupportedModelError,
)
from rnnport.parity.cases import Case, grid
from rnnport.parity.compare import compare
from rnnport.parity.feeds import draw
from rnnport.runtime import cuda
from rnnport.runtime.engine import ENGINES, open_engine
from rnnport.spec import StateSpec, TensorSpec

PACKAGES = {"openvino": "openvino", "reference": "onnx"}
NAMES = ("ort-cpu", "reference", "openvino", "torch")
CUDA = pytest.param("ort-cuda", marks=pytest.mark.cuda)
SHAPES = [
    Shape(kind, layers, direction)
    for kind, layers, direction in itertools.product(
        ("LSTM", "GRU", "RNN"), (1, 2), ("forward", "bidirectional")
    )
]
STREAMS = [Shape(kind, 2, stream=True) for kind in ("LSTM", "GRU", "RNN")]


def opened(name, folder, shape):
    """The engine on the network of that shape; PyTorch's on the module with the same weights."""
    if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    if name == "ort-cuda" and (obstacle := cuda.obstacle()) is not None:
        pytest.skip(f"no CUDA: {obstacle}")
    if name == "torch":
        pytest.importorskip("torch")
        from recurrent_modules import Tagger

        from rnnport.porting.oracle import TorchEngine

        return TorchEngine(Tagger(shape), torch_spec(shape), stream=shape.stream)
    path = folder / "model.onnx"
    onnx.save(build(shape), path)
    return open_engine(name, str(path))


def torch_spec(shape):
    """A module's layers have one state together, where the ONNX file has one for each layer."""
    spec = spec_of(shape)
    if not shape.stream:
        return spec
    size = ("batch", shape.layers * shape.directions, shape.hidden)
    pairs = [(f"state.rnn.{c}", f"next.rnn.{c}") for c in ("hc" if shape.kind == "LSTM" else "h")]
    return replace(
        spec,
        inputs=(*spec.data_inputs(), *(TensorSpec(i, "float32", size, 0) for i, _ in pairs)),
        outputs=(*spec.answers(), *(TensorSpec(o, "float32", size, 0) for _, o in pairs)),
        states=tuple(StateSpec(i, o, "float32", size) for i, o in pairs),
    )


def describe(shape):
    words = [shape.kind, str(shape.layers), shape.direction]
    return "-".join([*words, *(["lengths"] if shape.lengths else [])])


def require(report):
    assert report.ok, "\n".join(report.lines())


@pytest.mark.parametrize("shape", SHAPES, ids=describe)
@pytest.mark.parametrize("name", [*NAMES[1:], CUDA])
def test_every_engine_gives_the_answers_of_onnx_runtime(name, shape, tmp_path):
    reference = opened("ort-cpu", tmp_path, shape)
    require(compare(reference, opened(name, tmp_path, shape), grid(reference.spec())))


@pytest.mark.parametrize("shape", STREAMS, ids=describe)
@pytest.mark.parametrize("name", ["ort-cpu", "reference", "openvino", CUDA])
def test_every_engine_carries_states_from_chunk_to_chunk(name, shape, tmp_path):
    engine = opened(name, tmp_path, shape)
    require(compare(engine, engine, grid(engine.spec())))
    require(compare(opened("ort-cpu", tmp_path, shape), engine, grid(engine.spec())))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_pytorch_carries_states_from_chunk_to_chunk(kind, tmp_path):
    engine = opened("torch", tmp_path, Shape(kind, 2, stream=True))
    require(compare(engine, engine, grid(engine.spec())))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("name", [*NAMES, CUDA])
def test_every_engine_answers_rows_of_full_length(name, kind, tmp_path):
    shape = Shape(kind, lengths=True)
    case = Case(3, 5, (5, 5, 5), seed=1)
    require(compare(opened("ort-cpu", tmp_path, shape), opened(name, tmp_path, shape), [case]))


@pytest.mark.parametrize(
    "shape", [Shape(k, 1, "bidirectional", True) for k in ("LSTM", "GRU", "RNN")]
)
@pytest.mark.parametrize("name", [*NAMES, CUDA])
def test_an_engine_answers_short_rows_rightly_or_refuses_them(name, shape, tmp_path):
    engine = opened(name, tmp_path, shape)
    case = Case(4, 6, (2, 6, 6, 1), seed=1)
    feeds = draw(engine.spec(), case)
    if name in ("ort-cpu", "ort-cuda", "torch"):
        require(compare(opened("ort-cpu", tmp_path, shape), engine, [case]))
        alone = engine.run({"x": feeds["x"][:1, :2], "lengths": feeds["lengths"][:1]})
        padded = engine.run(feeds)
        assert np.allclose(padded["scores"][0, :2], alone["scores"][0], atol=1e-6)
        assert np.abs(padded["scores"][0, 2:]).max() == 0.0
        assert np.allclose(padded["last"][0], alone["last"][0], atol=1e-6)
    else:
        with pytest.raises(UnsupportedModelError, match="lengths"):
            engine.run(feeds)


@pytest.mark.parametrize("name", [*NAMES, CUDA])
def test_an_engine_names_itself_and_its_outputs(name, tmp_path):
    shape = Shape("GRU", stream=True)
    engine = opened(name, tmp_path, shape)
    assert engine.name == name
    answers = engine.run(draw(engine.spec(), Case(2, 3)))
    assert list(answers) == [tensor.name for tensor in engine.spec().outputs]
    assert [array.shape for array in answers.values()] == [(2, 3, 2), (2, 1, 4)]
    assert {array.dtype.name for array in answers.values()} == {"float32"}


@pytest.mark.parametrize("name", [*NAMES, CUDA])
def test_an_engine_keeps_no_state(name, tmp_path):
    engine = opened(name, tmp_path, Shape("LSTM", stream=True))
    feeds = draw(engine.spec(), Case(2, 3, states="random", seed=4))
    kept = {key: array.copy() for key, array in feeds.items()}
    first = engine.run(feeds)
    copies = {key: array.copy() for key, array in first.items()}
    engine.run(draw(engine.spec(), Case(2, 3, states="random", seed=5)))
    again = engine.run(feeds)
    for key, array in first.items():
        assert np.array_equal(array, copies[key])  # an answer is the caller's own
        assert np.array_equal(array, again[key])
    assert all(np.array_equal(feeds[key], kept[key]) for key in feeds)


WRONG = {
    "a missing input": lambda f: {"x": f["x"]},
    "a wrong width": lambda f: {**f, "x": f["x"][:, :, :2]},
    "a missing axis": lambda f: {**f, "x": f["x"][0]},
    "an unknown input": lambda f: {**f, "y": f["x"]},
    "a wrong dtype": lambda f: {**f, "x": f["x"].astype(np.float64)},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", NAMES)
def test_an_engine_refuses_feeds_that_do_not_fit(name, wrong, tmp_path):
    engine = opened(name, tmp_path, Shape("GRU", stream=True))
    feeds = draw(engine.spec(), Case(2, 3))
    with pytest.raises(RequestError):
        engine.run(WRONG[wrong](feeds))


@pytest.mark.parametrize("name", [*NAMES, CUDA])
def test_an_engine_does_not_answer_a_state_of_another_batch(name, tmp_path):
    engine = opened(name, tmp_path, Shape("GRU", stream=True))
    feeds = draw(engine.spec(), Case(2, 3))
    state = engine.spec().states[0].input
    with pytest.raises(RequestError, match=state):
        engine.run({**feeds, state: feeds[state][:1]})


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_file_that_is_not_there_is_a_wrong_request(name, tmp_path):
    with pytest.raises((RequestError, DeviceError, MissingExtraError)) as found:
        open_engine(name, str(tmp_path / "none.onnx"))
    if isinstance(found.value, RequestError):
        assert "does not exist" in str(found.value)


@pytest.mark.parametrize("name", ["ort-cpu", "reference", "openvino"])
@pytest.mark.parametrize(
    "content", [b"", b"not a model at all", None], ids=["empty", "text", "cut"]
)
def test_a_corrupt_file_cannot_be_loaded(name, content, tmp_path):
    path = tmp_path / "model.onnx"
    whole = build(Shape()).SerializeToString()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ModelFileError):
        open_engine(name, str(path))


@pytest.mark.parametrize("name", ["ort-cpu", "reference", "openvino"])
def test_a_file_without_metadata_runs_by_its_graph(name, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(build(Shape("GRU"), metadata=False), path)
    engine = open_engine(name, str(path))
    assert [tensor.shape for tensor in engine.spec().inputs] == [("batch", "time", 3)]
    assert engine.spec().inputs[0].time_axis == 1
    require(compare(opened("ort-cpu", tmp_path, Shape("GRU")), engine, grid(engine.spec())))


def test_an_unknown_engine_lists_those_there_are(tmp_path):
    with pytest.raises(RequestError, match="unknown engine 'ort-gpu'; there are ort-cpu, ort-cuda"):
        open_engine("ort-gpu", str(tmp_path / "model.onnx"))
