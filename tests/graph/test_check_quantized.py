"""``check`` on quantized files: it passes what is healthy and sees what is not, as before."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from graph_models import model, recurrent, value, weights
from onnx import helper, numpy_helper
from recurrent_files import Shape, build, spec_of

from rnnport.graph.annotate import annotate_file, write_spec
from rnnport.graph.check.fix import fix_file
from rnnport.graph.check.run import TARGETS, findings
from rnnport.graph.check.table import RULES
from rnnport.graph.inference import guess
from rnnport.graph.quantize.rewriting import with_small_weights
from rnnport.graph.recurrent import recurrent_nodes
from rnnport.graph.scopes import Reading
from rnnport.graph.states import recognise
from rnnport.parity.cases import Case
from rnnport.parity.feeds import draw
from rnnport.spec import METADATA_KEY

SHAPES = [
    *(Shape(k, layers=2, direction="bidirectional", hidden=16) for k in ("LSTM", "GRU", "RNN")),
    *(Shape(k, stream=True, lengths=True, hidden=16) for k in ("LSTM", "GRU", "RNN")),
    Shape("GRU", linear_before_reset=0, hidden=16),
    Shape("RNN", activations=("Relu",), hidden=16),
]


def found(made, *targets):
    found = findings(Reading(made), RULES, frozenset(targets or ("ort-cpu",)))
    return {(each.rule, each.node, each.message) for each in found}


def twin(made, precision="int8", inline=False):
    return with_small_weights(made, precision, inline=inline)[0]


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_quantized_twin_has_its_parents_findings_and_no_others(shape, precision, inline):
    for metadata in (True, False):
        parent = build(shape, metadata=metadata)
        small = twin(parent, precision, inline)
        more = {each for each in found(small, *TARGETS) if "local functions" not in each[2]}
        assert {(r, m) for r, _, m in more} == {(r, m) for r, _, m in found(parent, *TARGETS)}


@pytest.mark.parametrize("shape", SHAPES[:6], ids=str)
def test_a_float16_twin_has_nothing_against_it_on_cuda(shape):
    parent = build(shape)
    assert found(twin(parent, "fp16"), "ort-cuda") == found(parent, "ort-cuda")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_static_ranges_bring_no_findings(shape):
    wide = replace(shape, classes=64)  # a head that is worth it
    parent = build(wide)
    feeds = [draw(spec_of(wide), Case(2, 5, seed=seed)) for seed in range(2)]
    static, _ = with_small_weights(parent, "int8", feeds=feeds)
    assert "QuantizeLinear" in {node.op_type for node in static.graph.node}
    assert {(r, m) for r, _, m in found(static)} == {(r, m) for r, _, m in found(parent)}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_openvino_is_told_of_functions_and_of_the_way_out(shape):
    said = {m for _, _, m in found(twin(build(shape)), "openvino") if "functions" in m}
    assert said == {
        "OpenVINO refuses local functions: `rnnport quantize --inline` writes plain operators"
    }
    assert not any("functions" in m for _, _, m in found(twin(build(shape), inline=True), *TARGETS))


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_axes_and_states_of_a_foreign_file_are_recognised_as_in_its_parent(
    shape, precision, inline, tmp_path
):
    parent = build(shape, metadata=False)
    small = twin(parent, precision, inline)
    assert guess(Reading(small)) == guess(Reading(parent))
    assert recognise(Reading(small)) == recognise(Reading(parent))
    specs = []
    for name, made in (("parent", parent), ("small", small)):
        onnx.save(made, tmp_path / f"{name}.onnx")
        written = annotate_file(tmp_path / f"{name}.onnx", tmp_path / f"{name}.told.onnx")
        specs.append((written.spec.inputs, written.spec.outputs, written.spec.states))
    assert specs[0] == specs[1]


def test_a_call_is_the_recurrent_node_that_it_stands_for():
    (node,) = recurrent_nodes(Reading(twin(build(Shape("LSTM", lengths=True, hidden=16)))))
    assert (node.op, node.function.name, node.dtype, node.stored) == (
        *("LSTM", "LSTMInt8", "float32", "int8"),
    )
    assert node.input("sequence_lens") == "lens"
    assert node.input("P") == ""


@pytest.mark.parametrize("inline", [False, True])
def test_weights_that_are_computed_when_the_model_runs_are_reported_still(inline):
    small = twin(build(Shape("LSTM", hidden=16)), inline=inline)
    reader = next(n for n in small.graph.node if n.op_type in ("LSTM", "LSTMInt8"))
    small.graph.node.insert(
        list(small.graph.node).index(reader),
        helper.make_node("CastLike", [reader.input[1], reader.input[1]], ["computed"]),
    )
    reader.input[1] = "computed"
    assert ("RNN201", reader.name) in {(rule, node) for rule, node, _ in found(small)}


def damaged_by_torch():
    made = build(Shape("GRU", linear_before_reset=0, hidden=16))
    made.producer_name, made.producer_version = "pytorch", "2.9.0"
    return made


@pytest.mark.parametrize("inline", [False, True])
def test_a_gru_with_the_wrong_reset_is_found_and_repaired_in_its_quantized_form(tmp_path, inline):
    onnx.save(twin(damaged_by_torch(), inline=inline), tmp_path / "small.onnx")
    report = fix_file(tmp_path / "small.onnx", tmp_path / "fixed.onnx", RULES, frozenset())
    assert [(step.rule, step.kept) for step in report.steps] == [("RNN001", True)]
    assert report.left == ()
    fixed = Reading(onnx.load(tmp_path / "fixed.onnx"))
    assert [node.linear_before_reset for node in recurrent_nodes(fixed)] == [True]


@pytest.mark.parametrize("inline", [False, True])
def test_a_state_frozen_at_the_examples_batch_is_found_and_repaired(tmp_path, inline):
    frozen = recurrent("GRU", states=("h0", "hn"))
    del frozen.graph.input[1]
    frozen.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 2, 4), np.float32), "h0"))
    small = twin(frozen, inline=inline)
    assert ("RNN102", "gru") in {(rule, node) for rule, node, _ in found(small)}
    onnx.save(small, tmp_path / "small.onnx")
    report = fix_file(tmp_path / "small.onnx", tmp_path / "fixed.onnx", RULES, frozenset())
    assert [(step.rule, step.kept) for step in report.steps] == [("RNN102", True)]
    (node,) = recurrent_nodes(Reading(onnx.load(tmp_path / "fixed.onnx")))
    assert node.input("initial_h") == ""


def test_a_successor_that_never_leaves_is_found_and_given_out(tmp_path):
    lost = recurrent("LSTM", states=("h0", "hn", "c0", "cn"))
    del lost.graph.output[-1]
    small = twin(lost)
    assert ("RNN004", "c0") in {(rule, node) for rule, node, _ in found(small)}
    onnx.save(small, tmp_path / "small.onnx")
    report = fix_file(tmp_path / "small.onnx", tmp_path / "fixed.onnx", RULES, frozenset())
    assert ("RNN004", True) in {(step.rule, step.kept) for step in report.steps}


def test_reset_before_the_product_leaves_cuda_in_any_form():
    parent = build(Shape("GRU", linear_before_reset=0, hidden=16))
    for made in (parent, twin(parent), twin(parent, "bf16"), twin(parent, inline=True)):
        assert [rule for rule, _, _ in found(made, "ort-cuda")] == ["RNN302"]


def partly_quantized(reason):
    """A file with one LSTM in int8, one in float32, and a head that a quantizer worked on."""
    parent = build(Shape("LSTM", layers=2, hidden=16))
    small, _ = with_small_weights(parent, "int8", kept=["LSTM_4"])
    quantize = helper.make_node("DynamicQuantizeLinear", ["scores"], ["q", "s", "z"])
    small.graph.node.append(quantize)
    account = {"nodes": [{"node": "LSTM_4", "reason": reason}]} if reason else None
    spec = spec_of(Shape("LSTM", layers=2, hidden=16))
    write_spec(small, type(spec)(**{**vars(spec), "quantization": account}))
    return small


def test_a_layer_that_was_kept_on_purpose_is_not_called_passed_over():
    said = found(partly_quantized("kept, as asked"))
    assert not {each for each in said if each[0] == "RNN204"}
    assert {node for rule, node, _ in found(partly_quantized("")) if rule == "RNN204"} == {"LSTM_4"}


def test_attributes_that_each_call_of_a_function_gives_are_not_read_in_its_body():
    layer = helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"], name="inner", hidden_size=4)
    layer.attribute.append(
        onnx.AttributeProto(name="direction", ref_attr_name="way", type=onnx.AttributeProto.STRING)
    )
    function = helper.make_function(
        "other", "Layer", ["x", "W", "R", "B"], ["y"], [layer],
        [helper.make_opsetid("", 18)], ["way"],
    )  # fmt: skip
    call = helper.make_node("Layer", ["x", "W", "R", "B"], ["y"], domain="other", way="forward")
    made = model(
        [call],
        [value("x", ["time", "batch", 3])],
        [value("y", ["time", 1, "batch", 4])],
        weights("LSTM"),
        functions=[function],
        domains=["other"],
    )
    assert found(made, "ort-cpu", "ort-cuda") == set()


def test_metadata_of_the_twin_are_its_parents():
    small = twin(build(SHAPES[3]))
    assert {e.key for e in small.metadata_props} == {METADATA_KEY}
