"""What the reference evaluator and OpenVINO would answer wrongly is refused, the rest is right."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from recurrent_files import Shape, build

from rnnport.errors import UnsupportedModelError
from rnnport.parity.cases import grid
from rnnport.parity.compare import compare
from rnnport.runtime.engine import open_engine


def with_attributes(model, **attributes):
    for node in recurrent(model):
        node.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
    return model


def with_peepholes(model, hidden=4):
    weights = np.random.default_rng(1).uniform(-1, 1, (1, 3 * hidden)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "P"))
    for node in recurrent(model):
        node.input.extend([""] * (7 - len(node.input)) + ["P"])
    return model


def recurrent(model):
    return [node for node in model.graph.node if node.op_type in ("LSTM", "GRU", "RNN")]


MODELS = {
    "clip": lambda: with_attributes(build(Shape("LSTM")), clip=0.1),
    "gru clip": lambda: with_attributes(build(Shape("GRU")), clip=0.1),
    "relu": lambda: build(Shape("RNN", activations=("Relu",))),
    "gru relu": lambda: build(Shape("GRU", activations=("Sigmoid", "Relu"))),
    "lstm relu": lambda: build(Shape("LSTM", activations=("Sigmoid", "Relu", "Tanh"))),
    "usual activations": lambda: build(Shape("LSTM", activations=("Sigmoid", "Tanh", "Tanh"))),
    "two activations": lambda: build(
        Shape("RNN", direction="bidirectional", activations=("Relu", "Tanh"))
    ),
    "peepholes": lambda: with_peepholes(build(Shape("LSTM"))),
    "input_forget": lambda: with_attributes(build(Shape("LSTM")), input_forget=1),
    "reset before": lambda: build(Shape("GRU", linear_before_reset=0)),
    "reverse": lambda: build(Shape("LSTM", direction="reverse")),
    "hard sigmoid": lambda: build(Shape("GRU", activations=("HardSigmoid", "Tanh"))),
}
RIGHT = {
    "reference": {"usual activations", "peepholes", "reset before", "reverse"},
    "openvino": {
        *("clip", "gru clip", "relu", "gru relu", "lstm relu", "usual activations"),
        *("reset before", "reverse"),
    },
}


@pytest.mark.parametrize(("engine", "kind"), list(itertools.product(RIGHT, MODELS)))
def test_an_engine_answers_rightly_or_refuses(engine, kind, tmp_path):
    pytest.importorskip({"reference": "onnx", "openvino": "openvino"}[engine])
    path = str(tmp_path / "model.onnx")
    onnx.save(MODELS[kind](), path)
    if kind not in RIGHT[engine]:
        with pytest.raises(UnsupportedModelError, match=r"wrong|cannot run"):
            open_engine(engine, path)
        return
    reference = open_engine("ort-cpu", path)
    report = compare(reference, open_engine(engine, path), grid(reference.spec())[:6])
    assert report.ok, "\n".join(report.lines())


def test_the_reference_refuses_lengths_inside_a_function_too(tmp_path):
    model = build(Shape("GRU", lengths=True))
    node = recurrent(model)[0]
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    opsets = [helper.make_opsetid("", 18)]
    function = helper.make_function(
        "local", "Layer", [n for n in node.input if n], list(node.output), [inner], opsets
    )
    del node.attribute[:]
    names = [name for name in node.input if name]
    del node.input[:]
    node.input.extend(names)
    node.op_type, node.domain = "Layer", "local"
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    path = str(tmp_path / "model.onnx")
    onnx.save(model, path)
    engine = open_engine("reference", path)
    x = np.ones((2, 3, 3), np.float32)
    assert engine.run({"x": x, "lengths": np.array([3, 3])})["scores"].shape == (2, 3, 2)
    with pytest.raises(UnsupportedModelError, match="ignores lengths"):
        engine.run({"x": x, "lengths": np.array([3, 2])})


def test_openvino_refuses_lengths_that_it_cannot_tell_from_other_inputs(tmp_path):
    pytest.importorskip("openvino")
    path = str(tmp_path / "model.onnx")
    onnx.save(build(Shape("GRU", lengths=True), metadata=False), path)
    with pytest.raises(UnsupportedModelError, match="not known which input holds the lengths"):
        open_engine("openvino", path)
