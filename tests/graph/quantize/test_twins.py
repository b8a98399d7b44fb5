"""Twins with small weights: what is stored, what is computed, what is kept and why."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_models import constant, inside_function, inside_if, model, normal, recurrent, run, value
from onnx import helper, inliner, numpy_helper
from onnx.reference import ReferenceEvaluator
from recurrent_files import Shape, build

from rnnport.errors import CheckFailedError, RequestError
from rnnport.graph.quantize.functions import DOMAIN, FUNCTIONS
from rnnport.graph.quantize.rewriting import with_small_weights

OPS = ("LSTM", "GRU", "RNN")
CALLS = {"int8": "Int8", "bf16": "BFloat16"}


def array(made, name):
    return next(numpy_helper.to_array(t) for t in made.graph.initializer if t.name == name)


def with_rounded_weights(made, rounded):
    """The same plain model, W and R replaced by ``rounded(weight)``."""
    plain = onnx.ModelProto()
    plain.CopyFrom(made)
    for tensor in plain.graph.initializer:
        if tensor.name.split(".")[0] in ("W", "R"):
            weight = rounded(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    return plain


def in_int8(weight):
    scale = np.abs(weight).max(axis=2, keepdims=True) / np.float32(127)
    return np.rint(weight / scale).astype(np.float32) * scale


def in_bf16(weight):
    """The upper half of a float32's bits, rounded to even."""
    bits = weight.view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32)).view(np.float32)


ROUNDED = {"int8": in_int8, "bf16": in_bf16}


def feeds_of(shape, batch=5, time=11):
    feeds = {"x": normal(batch, time, shape.features, seed=3)}
    if shape.lengths:
        feeds["lengths"] = np.array([11, 3, 7, 7, 1])[:batch]
    for name in shape.states if shape.stream else ():
        feeds[f"state.{name}"] = normal(batch, shape.directions, shape.hidden, seed=4)
    return feeds


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", OPS)
def test_a_twin_computes_with_the_rounded_weights_to_the_last_bit(op, direction, precision, inline):
    shape = Shape(op, layers=2, direction=direction, lengths=True, stream=direction == "forward")
    made = build(shape)
    twin, accounts = with_small_weights(made, precision, inline=inline)
    onnx.checker.check_model(twin, full_check=True)
    assert sum(account.quantized for account in accounts) == 2
    wanted = run(with_rounded_weights(made, ROUNDED[precision]), feeds_of(shape))
    found = run(twin, feeds_of(shape))
    for name, answer in wanted.items():
        np.testing.assert_array_equal(found[name], answer, err_msg=name)
    assert not np.array_equal(found["scores"], run(made, feeds_of(shape))["scores"])


@pytest.mark.parametrize("op", OPS)
def test_a_body_gives_by_the_standards_own_evaluator_what_onnx_runtime_gives(op):
    shape = Shape(op)
    twin, _ = with_small_weights(build(shape), "int8")
    names = [output.name for output in twin.graph.output]
    plain = ReferenceEvaluator(inliner.inline_local_functions(twin))
    wanted = dict(zip(names, plain.run(None, feeds_of(shape)), strict=True))
    for name, answer in run(twin, feeds_of(shape)).items():
        np.testing.assert_allclose(answer, wanted[name], atol=1e-6)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_recurrent_node_becomes_a_call_with_every_attribute_spelled_out(op, precision):
    twin, accounts = with_small_weights(recurrent(op), precision)
    (call,) = [node for node in twin.graph.node if node.domain == DOMAIN]
    assert call.op_type == op + CALLS[precision]
    (function,) = twin.functions
    assert {attribute.name for attribute in call.attribute} == set(function.attribute)
    assert accounts[0].form == f"function rnnport.{call.op_type}"
    assert accounts[0].op == op
    assert {(e.domain, e.version) for e in twin.opset_import} >= {(DOMAIN, 1)}


def test_inline_leaves_standard_operators_alone():
    twin, _ = with_small_weights(build(Shape("GRU")), "int8", inline=True)
    assert not twin.functions
    assert {node.domain for node in twin.graph.node} == {""}
    assert {entry.domain for entry in twin.opset_import} == {""}


def test_int8_weights_are_symmetric_and_within_half_a_step():
    made = recurrent("LSTM")
    twin, _ = with_small_weights(made, "int8")
    for role in ("W", "R"):
        values, scale = array(twin, f"{role}.int8"), array(twin, f"{role}.scale")
        assert values.dtype == np.int8
        assert values.min() >= -127
        assert np.abs(values).max(axis=2).min() == 127  # each row uses its whole range
        assert (np.abs(values * scale - array(made, role)) <= scale / 2 * (1 + 1e-6)).all()
        assert role not in {tensor.name for tensor in twin.graph.initializer}


def test_a_row_of_zeros_stays_zero():
    made = recurrent("RNN")
    weight = array(made, "R").copy()
    weight[0, 1] = 0
    next(t for t in made.graph.initializer if t.name == "R").CopyFrom(constant("R", weight))
    twin, _ = with_small_weights(made, "int8")
    assert not array(twin, "R.int8")[0, 1].any()
    assert np.isfinite(run(twin, {"x": normal(4, 2, 3)})["y"]).all()


def test_a_layer_without_features_has_no_weights_to_round():
    made = recurrent("GRU")
    empty = constant("W", np.zeros((1, 12, 0), np.float32))
    next(t for t in made.graph.initializer if t.name == "W").CopyFrom(empty)
    twin, _ = with_small_weights(made, "int8")
    assert array(twin, "W.int8").shape == (1, 12, 0)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_twin_of_an_old_file_may_have_constants_that_are_no_inputs(precision):
    made = recurrent("LSTM", opset=8)  # of IR version 3, where every constant is an input too
    onnx.checker.check_model(made)
    twin, _ = with_small_weights(made, precision, inline=precision == "int8")
    onnx.checker.check_model(twin)


def test_the_given_model_is_not_changed():
    made = build(Shape("LSTM", layers=2))
    before = made.SerializeToString()
    for precision in ("int8", "bf16", "fp16"):
        with_small_weights(made, precision)
    assert made.SerializeToString() == before


def test_a_kept_layer_keeps_its_weights_and_the_account_says_so():
    shape = Shape("LSTM", layers=2)
    made = build(shape)
    kept = next(node.name for node in made.graph.node if node.op_type == "LSTM")
    twin, accounts = with_small_weights(made, "int8", [kept])
    assert [node.op_type for node in twin.graph.node if "LSTM" in node.op_type] == [
        "LSTM",
        "LSTMInt8",
    ]
    first, second = (a for a in accounts if a.op == "LSTM")
    assert first.reason == "kept, as asked"
    assert first.bytes_before == first.bytes_after
    assert second.quantized
    assert second.bytes_after < 0.7 * second.bytes_before
    np.testing.assert_array_equal(array(twin, "W.0"), array(made, "W.0"))


def test_a_kept_name_that_is_unknown_is_refused_with_the_nearest():
    made = build(Shape("LSTM"))
    name = next(node.name for node in made.graph.node if node.op_type == "LSTM")
    with pytest.raises(RequestError, match=f"no such node.*nearest is '{name}'"):
        with_small_weights(made, "int8", [name.replace("_", "-").lower()])


def test_a_model_without_a_recurrent_node_is_refused():
    made = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", ["batch", 3])], [value("y", ["batch", 4])], [constant("w", normal(3, 4))],
    )  # fmt: skip
    with pytest.raises(RequestError, match="nothing recurrent"):
        with_small_weights(made, "int8")


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp16"])
def test_weights_that_are_fed_are_told_and_nothing_is_quantized(precision):
    made = recurrent("GRU")
    weight = next(tensor for tensor in made.graph.initializer if tensor.name == "R")
    made.graph.initializer.remove(weight)
    made.graph.input.append(value("R", list(weight.dims)))
    with pytest.raises(CheckFailedError, match="gru: its weights R are not constant"):
        with_small_weights(made, precision)


def test_keeping_a_loop_keeps_its_body_and_no_node_that_is_only_named_like_it():
    cell = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "R"], ["hR"]),
            helper.make_node("Add", ["hR", "x_t"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["next"]),
            helper.make_node("Identity", ["next"], ["y_t"]),
        ],
        "cell",
        [value("h", ["batch", 64]), value("x_t", ["batch", 64])],
        [value("next", ["batch", 64]), value("y_t", ["batch", 64])],
    )
    nodes = [
        helper.make_node("Scan", ["h0", "x"], ["hn", "y"], "rnn", body=cell, num_scan_inputs=1),
        helper.make_node("MatMul", ["y", "W"], ["scores"], "rnn.head"),
    ]
    made = model(
        nodes,
        [value("x", ["time", "batch", 64]), value("h0", ["batch", 64])],
        [value("scores", ["time", "batch", 32])],
        [constant("R", normal(64, 64)), constant("W", normal(64, 32))],
    )
    _, accounts = with_small_weights(made, "int8", kept=["rnn"])
    assert {each.node for each in accounts if each.quantized} == {"rnn.head"}


def test_a_loop_that_carries_its_weights_round_is_told_with_what_helps():
    made = onnx.load(Path(__file__).parents[2] / "foreign" / "keras-gru.onnx")
    with pytest.raises(CheckFailedError, match=r"while_loop: .* carried round.*check --fix"):
        with_small_weights(made, "int8")


def test_weights_in_float64_or_with_nan_are_kept_with_the_reason():
    with pytest.raises(CheckFailedError, match="float64"):
        with_small_weights(recurrent("LSTM", dtype="float64"), "int8")
    made = recurrent("LSTM")
    weight = array(made, "W").copy()
    weight[0, 0, 0] = np.nan
    next(t for t in made.graph.initializer if t.name == "W").CopyFrom(constant("W", weight))
    with pytest.raises(CheckFailedError, match="NaN"):
        with_small_weights(made, "int8")


def test_constants_are_folded_first():
    """As torch's default exporter writes weights: moved by nodes, which quantizers pass over."""
    made = recurrent("GRU")
    weight = next(tensor for tensor in made.graph.initializer if tensor.name == "W")
    turned = constant("W.turned", array(made, "W").transpose(0, 2, 1))
    made.graph.initializer.remove(weight)
    made.graph.initializer.append(turned)
    move = helper.make_node("Transpose", ["W.turned"], ["W"], perm=[0, 2, 1])
    made.graph.node.insert(0, move)
    twin, accounts = with_small_weights(made, "int8")
    assert accounts[0].quantized
    assert "Transpose" not in {node.op_type for node in twin.graph.node}


@pytest.mark.parametrize("wrap", [inside_if, inside_function])
@pytest.mark.parametrize("op", OPS)
def test_recurrent_nodes_inside_other_graphs_are_quantized(op, wrap):
    made = wrap(recurrent(op))
    twin, accounts = with_small_weights(made, "int8")
    onnx.checker.check_model(twin, full_check=True)
    assert all(account.quantized for account in accounts)
    feeds = {"x": normal(6, 2, 3)} | ({"flag": np.array(True)} if wrap is inside_if else {})
    error = np.abs(run(twin, feeds)["y"] - run(made, feeds)["y"]).max()
    assert 0 < error < 0.05
    assert not any(t.name in ("W", "R") for t in twin.graph.initializer)


def test_a_cell_that_no_function_stands_for_keeps_its_operator():
    activations = ["Sigmoid", "Tanh", "Relu"]
    made = recurrent("LSTM", activations=activations)
    twin, accounts = with_small_weights(made, "int8")
    assert accounts[0].form == "weights"
    assert not twin.functions
    rounded = with_rounded_weights(made, in_int8)
    feeds = {"x": normal(5, 2, 3)}
    np.testing.assert_array_equal(run(twin, feeds)["y"], run(rounded, feeds)["y"])


def test_the_activation_of_an_rnn_is_passed_on():
    made = recurrent("RNN", activations=["Relu"])
    twin, _ = with_small_weights(made, "int8")
    assert twin.functions
    feeds = {"x": normal(5, 2, 3)}
    wanted = run(with_rounded_weights(made, in_int8), feeds)["y"]
    np.testing.assert_array_equal(run(twin, feeds)["y"], wanted)
    assert wanted.max() > 1.0  # tanh would not


def test_weights_shared_by_two_layers_are_stored_once():
    made = recurrent("RNN")
    again = helper.make_node("RNN", ["x", "W", "R"], ["z"], name="again", hidden_size=4)
    made.graph.node.append(again)
    made.graph.output.append(value("z", ["time", 1, "batch", 4]))
    twin, accounts = with_small_weights(made, "int8")
    assert len(twin.functions) == 1
    assert sorted(t.name for t in twin.graph.initializer if t.name.startswith("W")) == [
        "W.int8",
        "W.scale",
    ]
    before = sum(array(made, role).nbytes for role in "WRB")
    assert sum(account.bytes_before for account in accounts) == before
    saved = sum(array(made, r).nbytes - array(twin, f"{r}.int8").nbytes for r in "WR")
    saved -= sum(array(twin, f"{r}.scale").nbytes for r in "WR")
    assert sum(account.bytes_after for account in accounts) == before - saved


@pytest.mark.parametrize("inline", [False, True])
def test_layers_that_share_weights_answer_as_they_did(inline):
    made = recurrent("RNN")
    again = helper.make_node("RNN", ["x", "W", "R"], ["z"], name="again", hidden_size=4)
    made.graph.node.append(again)
    made.graph.output.append(value("z", ["time", 1, "batch", 4]))
    twin, _ = with_small_weights(made, "int8", inline=inline)
    onnx.checker.check_model(twin, full_check=True)
    feeds = {"x": normal(5, 2, 3)}
    wanted = run(with_rounded_weights(made, in_int8), feeds)
    for name, answer in run(twin, feeds).items():
        np.testing.assert_array_equal(answer, wanted[name])


@pytest.mark.parametrize("inline", [False, True])
def test_a_kept_layer_keeps_a_weight_that_it_shares_with_a_quantized_one(inline):
    made = recurrent("RNN")
    again = helper.make_node("RNN", ["x", "W", "R", "B"], ["z"], name="again", hidden_size=4)
    made.graph.node.append(again)
    made.graph.output.append(value("z", ["time", 1, "batch", 4]))
    twin, _ = with_small_weights(made, "int8", ["again"], inline=inline)
    feeds = {"x": normal(5, 2, 3)}
    before, after = run(made, feeds), run(twin, feeds)
    np.testing.assert_array_equal(after["z"], before["z"])
    assert not np.array_equal(after["y"], before["y"])


def test_an_operator_whose_weights_are_not_made_small_is_in_the_account():
    made = recurrent("RNN")
    made.graph.node.append(
        helper.make_node("Einsum", ["y", "E"], ["z"], name="mix", equation="tdbh,hk->tdbk")
    )
    made.graph.initializer.append(constant("E", normal(4, 300)))
    made.graph.output.append(value("z", ["time", 1, "batch", 300]))
    _, accounts = with_small_weights(made, "int8")
    (mix,) = [account for account in accounts if account.node == "mix"]
    assert mix.reason == "weights of Einsum are not made small"
    assert (mix.bytes_before, mix.bytes_after) == (4800, 4800)


def test_every_function_of_the_table_has_a_body_that_the_checker_accepts():
    assert len(FUNCTIONS) == 6
    for op in OPS:
        for precision in CALLS:
            twin, _ = with_small_weights(recurrent(op, directions=2), precision)
            onnx.checker.check_model(twin, full_check=True)
