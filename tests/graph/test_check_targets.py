"""The faults that check only reports: found, with their reason, and not in the healthy twin."""

import numpy as np
import onnx
import pytest
from graph_models import H, I, constant, inside_function, model, normal, recurrent, save, value
from onnx import helper

from rnnport.graph.check.run import check_file, targets_of
from rnnport.graph.check.table import choose

RULES = choose([], ["RNN205"])
node = helper.make_node


def found(made, tmp_path, *targets):
    path = save(made, tmp_path / "checked.onnx")
    return [(f.rule, f.message) for f in check_file(path, RULES, targets_of(targets)).findings]


def only(made, tmp_path, *targets):
    (finding,) = found(made, tmp_path, *targets)
    return finding


def peephole():
    made = recurrent("LSTM")
    made.graph.node[0].input.extend(["", "", "", "P"])
    made.graph.initializer.append(constant("P", normal(1, 3 * H)))
    return made


CUDA_FAULTS = {
    "relu": recurrent("RNN", activations=["Relu"]),
    "linear_before_reset is 0": recurrent("GRU", linear_before_reset=0),
    "peepholes": peephole(),
    "it clips": recurrent("LSTM", clip=3.0),
    "hardsigmoid": recurrent("LSTM", activations=["HardSigmoid", "Tanh", "Tanh"]),
    "input_forget": recurrent("LSTM", input_forget=1),
    "onnxruntime#27729": recurrent("LSTM", opset=22),
}


@pytest.mark.parametrize("reason", CUDA_FAULTS)
def test_a_node_that_leaves_the_gpu_is_named_with_the_reason(reason, tmp_path):
    rule, message = only(CUDA_FAULTS[reason], tmp_path, "ort-cuda")
    assert rule == "RNN302"
    assert reason in message
    assert found(CUDA_FAULTS[reason], tmp_path, "ort-cpu") == []


@pytest.mark.parametrize(
    "healthy",
    [
        recurrent("LSTM"),
        recurrent("GRU"),
        recurrent("RNN"),
        recurrent("LSTM", directions=2, activations=["Sigmoid", "Tanh", "Tanh"] * 2),
        recurrent("GRU", lengths=True),
    ],
)
def test_plain_cells_stay_on_the_gpu(healthy, tmp_path):
    assert found(healthy, tmp_path, "ort-cuda") == []


@pytest.mark.parametrize(
    ("target", "what"), [("rten", "ignores"), ("openvino", "ignores"), ("tract", "refuses")]
)
def test_lengths_are_reported_for_targets_that_do_not_honour_them(target, what, tmp_path):
    made = recurrent("LSTM", lengths=True, states=("h0", "hn", "c0", "cn"))
    rule, message = only(made, tmp_path, target)
    assert rule == "RNN301"
    assert what in message
    assert found(made, tmp_path, "ort-cpu", "ort-cuda") == []
    without = recurrent("LSTM", states=("h0", "hn", "c0", "cn"))
    assert found(without, tmp_path, target) == []


def test_openvino_really_ignores_lengths_and_peepholes(tmp_path):
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    from graph_models import run

    def answers(made, feeds):
        core = openvino.Core()
        compiled = core.compile_model(
            core.read_model(made.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return compiled(feeds)[0]

    feeds = {"x": normal(5, 2, I)}
    plain = answers(recurrent("LSTM"), feeds)
    np.testing.assert_allclose(plain, run(recurrent("LSTM"), feeds)["y"], atol=1e-5)
    lengths = {**feeds, "lengths": np.asarray([5, 3], np.int32)}
    np.testing.assert_array_equal(answers(recurrent("LSTM", lengths=True), lengths), plain)
    np.testing.assert_array_equal(answers(peephole(), feeds), plain)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_float64_has_no_kernel_on_the_cpu_of_onnx_runtime(op, tmp_path):
    from graph_models import run

    made = recurrent(op, dtype="float64")
    rule, message = only(made, tmp_path)
    assert rule == "RNN304"
    assert "float64" in message
    with pytest.raises(Exception, match=r"double|NOT_IMPLEMENTED"):
        run(made, {"x": normal(5, 2, I, dtype="float64")})


def test_float16_is_reported_where_it_brings_nothing(tmp_path):
    assert only(recurrent("GRU", dtype="float16"), tmp_path)[0] == "RNN304"
    assert found(recurrent("GRU", dtype="float16"), tmp_path, "ort-cuda") == []
    assert found(recurrent("GRU"), tmp_path, "ort-cpu") == []


def test_an_opset_that_onnx_runtime_does_not_know_is_reported(tmp_path):
    made = recurrent("LSTM", opset=18)
    made.opset_import[0].version = 999
    assert ("RNN303", "the installed ONNX Runtime does not support opset 999") in found(
        made, tmp_path
    )


def test_an_opset_before_7_is_reported(tmp_path):
    made = recurrent("LSTM", opset=7)
    made.opset_import[0].version = 6
    assert any(rule == "RNN303" and "opset 6" in text for rule, text in found(made, tmp_path))


def test_operators_of_onnx_runtime_run_nowhere_else(tmp_path):
    made = recurrent("LSTM")
    made.graph.node[0].output[0] = "inner"
    made.graph.node.append(node("FastGelu", ["inner"], ["y"], domain="com.microsoft"))
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert found(made, tmp_path, "ort-cpu", "ort-cuda") == []
    rule, message = only(made, tmp_path, "openvino", "ort-cpu")
    assert rule == "RNN303"
    assert message.endswith("openvino will not run it")


def test_local_functions_are_reported_for_openvino(tmp_path):
    made = inside_function(recurrent("LSTM"))
    assert "RNN303" in dict(found(made, tmp_path, "openvino"))
    assert found(made, tmp_path, "ort-cpu") == []


def test_rten_has_no_rnn_operator(tmp_path):
    assert only(recurrent("RNN"), tmp_path, "rten") == ("RNN303", "rten has no operator RNN")
    assert found(recurrent("GRU"), tmp_path, "rten") == []


def test_tract_needs_the_batch_where_no_state_is_given(tmp_path):
    assert only(recurrent("GRU"), tmp_path, "tract")[0] == "RNN303"
    assert found(recurrent("GRU", states=("h0", "hn")), tmp_path, "tract") == []


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (peephole(), "peepholes"),
        (recurrent("LSTM", input_forget=1), "input_forget"),
        (recurrent("GRU", activations=["Sigmoid", "Softsign"]), "softsign"),
    ],
)
def test_what_openvino_drops_or_refuses_is_reported(made, what, tmp_path):
    rule, message = only(made, tmp_path, "openvino")
    assert rule == "RNN303"
    assert what in message


def unrolled(steps, op="MatMul"):
    """h = tanh(x·W + h·R), written out once for each time step."""
    nodes, state = [], "start"
    for t in range(steps):
        nodes += [
            node("Gather", ["x", f"at{t}"], [f"x{t}"], axis=0),
            node(op, [f"x{t}", "W"], [f"from_x{t}"]),
            node(op, [state, "R"], [f"from_h{t}"]),
            node("Add", [f"from_x{t}", f"from_h{t}"], [f"sum{t}"]),
            node("Tanh", [f"sum{t}"], [f"h{t}"]),
        ]
        state = f"h{t}"
    initializers = [constant("W", normal(I, H)), constant("R", normal(H, H))]
    initializers += [constant(f"at{t}", t, np.int64) for t in range(steps)]
    inputs = [value("x", ["time", "batch", I]), value("start", ["batch", H])]
    return model(nodes, inputs, [value(state, ["batch", H])], initializers)


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_an_unrolled_layer_is_found(op, tmp_path):
    rule, message = only(unrolled(7, op), tmp_path)
    assert rule == "RNN104"
    assert "7 products with the weight 'R'" in message


def test_one_step_and_shared_weights_are_no_unrolled_layer(tmp_path):
    assert found(unrolled(1), tmp_path) == []
    nodes = [node("MatMul", [f"x{i}", "W"], [f"y{i}"]) for i in range(5)]
    inputs = [value(f"x{i}", ["batch", I]) for i in range(5)]
    outputs = [value(f"y{i}", ["batch", H]) for i in range(5)]
    twins = model(nodes, inputs, outputs, [constant("W", normal(I, H))])
    assert found(twins, tmp_path) == []


@pytest.mark.filterwarnings("ignore")  # the quantizer's own advice to pre-process
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_a_quantizer_that_passed_the_layer_over_is_found_out(op, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    made = recurrent(op)
    if op == "LSTM":  # weights that a node makes are passed over as well
        made.graph.initializer[1].name = "stored"
        made.graph.node.insert(0, node("Identity", ["stored"], ["R"]))
    quantize_dynamic(save(made, tmp_path / "float.onnx"), tmp_path / "int8.onnx")
    quantized = onnx.load(tmp_path / "int8.onnx")
    assert op in {each.op_type for each in quantized.graph.node}
    messages = [text for rule, text in found(quantized, tmp_path) if rule == "RNN204"]
    assert len(messages) == 1
    assert "still float32" in messages[0]
    why = {"LSTM": "its weights are not initializers", "GRU": "quantizer knows no GRU"}
    assert why[op] in messages[0]
    assert "RNN204" not in dict(found(made, tmp_path))


@pytest.mark.filterwarnings("ignore")
def test_a_quantizer_that_did_its_work_is_left_alone(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(save(recurrent("LSTM"), tmp_path / "float.onnx"), tmp_path / "int8.onnx")
    quantized = onnx.load(tmp_path / "int8.onnx")
    assert "DynamicQuantizeLSTM" in {each.op_type for each in quantized.graph.node}
    assert found(quantized, tmp_path) == []
