"""What was quantized before is told, whoever did it; what was not is not accused."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from graph_models import recurrent
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from recurrent_files import Shape, build, spec_of

from rnnport.graph.quantize.already import quantized_already
from rnnport.graph.quantize.rewriting import with_small_weights
from rnnport.graph.scopes import Reading

SHAPE = Shape("GRU", hidden=16)


def found(model, spec=None):
    return quantized_already(Reading(model), spec)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_float32_file_was_not_quantized(kind, stream):
    shape = Shape(kind, stream=stream, lengths=True)
    assert found(build(shape), spec_of(shape)) is None
    assert found(build(shape, metadata=False)) is None


def test_the_files_own_word_counts():
    spec = replace(spec_of(SHAPE), quantization={"precision": "bf16"})
    assert found(build(SHAPE), spec) == "its metadata say that it was quantized to bf16"


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_calls_of_our_functions_are_seen(precision):
    small, _ = with_small_weights(build(SHAPE), precision)
    name = {"int8": "GRUInt8", "bf16": "GRUBFloat16"}[precision]
    assert found(small) == f"'GRU_1' calls the function rnnport.{name}"


@pytest.mark.parametrize(("precision", "stored"), [("int8", "int8"), ("bf16", "bfloat16")])
def test_small_weights_without_functions_are_seen(precision, stored):
    small, _ = with_small_weights(build(SHAPE), precision, inline=True)
    assert found(small) == f"the weights of 'GRU_1' are stored in {stored}"


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_onnx_runtimes_own_quantizer_is_seen(tmp_path, kind):
    onnx.save(build(Shape(kind, hidden=16)), tmp_path / "large.onnx")
    quantize_dynamic(tmp_path / "large.onnx", tmp_path / "small.onnx", weight_type=QuantType.QInt8)
    said = found(onnx.load(tmp_path / "small.onnx"))
    operators = ("DynamicQuantizeLSTM", "DynamicQuantizeLinear", "MatMulInteger")
    assert said.endswith(tuple(f" is a {name}" for name in operators))


def test_half_precision_throughout_is_seen():
    said = found(recurrent("LSTM", dtype="float16"))
    assert said == "the weights of 'lstm' are stored in float16"


def test_half_precision_weights_behind_a_cast_are_seen():
    model = build(SHAPE)
    head = next(t for t in model.graph.initializer if t.name == "head")
    half = numpy_helper.to_array(head).astype(np.float16)
    head.CopyFrom(numpy_helper.from_array(half, "half"))
    model.graph.node.insert(0, helper.make_node("Cast", ["half"], ["head"], to=TensorProto.FLOAT))
    assert found(model) == "the weights of 'MatMul_5' are stored in float16"


def test_a_table_of_bytes_that_is_looked_up_is_no_weight():
    model = build(SHAPE)
    model.graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.uint8), "table"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1), "row"))
    model.graph.node.append(helper.make_node("Gather", ["table", "row"], ["bytes"]))
    model.graph.output.append(helper.make_tensor_value_info("bytes", TensorProto.UINT8, [4]))
    assert found(model) is None
