"""What the provider claims: what its kernels carry and run faster, and nothing else."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from native_layers import Layer, random_call
from onnx import TensorProto, helper, numpy_helper
from plain_nodes import MEASURED, answers_of, plain_model, provider_session, stock_session

from rnnport.runtime.provider import claimed_nodes, told_placement

LSTM, GRU, RNN = (Layer(op, "fp32") for op in ("LSTM", "GRU", "RNN"))


def with_peepholes(model):
    weights = np.full((1, 3 * LSTM.hidden), 0.1, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "P"))
    model.graph.node[0].input.extend([""] * (7 - len(model.graph.node[0].input)) + ["P"])


def fed(*names):
    """Weights that a run may feed; they keep their values where it does not."""

    def change(model):
        for tensor in model.graph.initializer:
            if tensor.name in names:
                value = helper.make_tensor_value_info(tensor.name, 1, list(tensor.dims))
                model.graph.input.append(value)

    return change


def computed(name):
    """A weight that depends on an input."""

    def change(model):
        node = model.graph.node[0]
        place = list(node.input).index(name)
        node.input[place] = f"{name}_sum"
        sums = helper.make_node("ReduceSum", ["X"], ["sum"], keepdims=0)
        zero = helper.make_node("Sub", ["sum", "sum"], ["zero"])
        add = helper.make_node("Add", [name, "zero"], [f"{name}_sum"])
        nodes = [sums, zero, add, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    return change


@pytest.mark.parametrize(
    ("layer", "attributes"),
    [
        (LSTM, {"clip": 3.0}),
        (GRU, {"clip": 0.5}),
        (LSTM, {"input_forget": 1}),
        (LSTM, {"activations": ["Sigmoid", "Tanh", "Relu"]}),
        (GRU, {"activations": ["HardSigmoid", "Tanh"]}),
        (RNN, {"activations": ["Softsign"]}),
        (RNN, {"activations": ["LeakyRelu"], "activation_alpha": [0.2]}),
        (replace(RNN, direction="bidirectional"), {"activations": ["Tanh", "Relu"]}),
    ],
)
def test_attributes_that_the_kernels_do_not_carry_stay_with_onnx_runtime(layer, attributes):
    assert_left_alone(layer, plain_model(layer, **attributes))


@pytest.mark.parametrize(
    ("layer", "change"),
    [
        (LSTM, with_peepholes),
        (LSTM, fed("W")),
        (GRU, fed("R")),
        (RNN, fed("B")),
        (GRU, computed("R")),
        (LSTM, computed("W")),
    ],
)
def test_inputs_that_the_kernels_do_not_carry_stay_with_onnx_runtime(layer, change):
    model = plain_model(layer)
    change(model)
    assert_left_alone(layer, model)


def assert_left_alone(layer, model):
    session, feeds = provider_session(model), random_call(layer, 6, 2)
    assert claimed_nodes(session) == ([], [f"{layer.op} 'layer'"])
    for name, answer in answers_of(stock_session(model), feeds).items():
        assert (answers_of(session, feeds)[name] == answer).all()


def test_the_usual_activations_may_be_named_in_any_case():
    for layer, names in ((LSTM, ["sigmoid", "TANH", "Tanh"]), (GRU, ["Sigmoid", "tanh"])):
        model = plain_model(layer, activations=names)
        assert not claimed_nodes(provider_session(model))[1]


def test_layout_1_is_left_to_onnx_runtime_and_its_refusal():
    with pytest.raises(Exception, match="layout"):
        provider_session(plain_model(LSTM, layout=1))


def test_float64_stays_with_onnx_runtime():
    model = plain_model(LSTM)
    for tensor in model.graph.initializer:
        doubles = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(doubles, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    session = provider_session(model)
    assert claimed_nodes(session) == ([], ["LSTM 'layer'"])


def test_weights_of_another_size_are_refused_when_the_file_is_loaded():
    model = plain_model(LSTM)
    for tensor in model.graph.initializer:
        if tensor.name == "R":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros((1, 28, 8), np.float32), "R"))
    with pytest.raises(Exception, match=r"R is \[1, 28, 8\]; expected \[1, 28, 7\]|shape"):
        provider_session(model)


@pytest.mark.parametrize(
    ("option", "wrong"), [("precision", "fp16"), ("claim", "most"), ("batch", "2")]
)
def test_an_option_that_does_not_exist_is_refused(option, wrong):
    provider_session(plain_model(LSTM))  # registers the library
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    devices = [each for each in onnxruntime.get_ep_devices() if each.ep_name == "rnnport"]
    options.add_provider_for_devices(devices, {option: wrong})
    model = plain_model(LSTM).SerializeToString()
    with pytest.raises(Exception, match=f"{option} is '{wrong}'; expected"):
        onnxruntime.InferenceSession(model, options, enable_fallback=0)


def claims(layer, precision, *, batch=None, **how):
    model = plain_model(layer)
    if batch is not None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = batch
    session = provider_session(model, precision, claim="faster", **how)
    assert told_placement(session, precision).startswith(f"{len(claimed_nodes(session)[0])} of 1")
    return not claimed_nodes(session)[1]


@pytest.mark.skipif(not MEASURED, reason="the policy claims nothing at this level")
def test_a_node_that_gains_is_claimed_and_one_that_would_not_is_left():
    small, large = replace(LSTM, hidden=64), replace(LSTM, hidden=2048)
    assert claims(small, "fp32")
    assert claims(small, "bf16")
    assert not claims(large, "fp32")


@pytest.mark.skipif(not MEASURED, reason="the policy claims nothing at this level")
def test_more_is_claimed_where_the_batch_is_one_row():
    layer = replace(LSTM, hidden=512)
    assert not claims(layer, "bf16")
    assert not claims(layer, "bf16", batch=8)
    assert claims(layer, "bf16", batch=1)
    assert claims(layer, "bf16", one_row=True)


@pytest.mark.skipif(MEASURED, reason="the policy claims nodes at this level")
def test_nothing_is_claimed_where_nothing_was_measured():
    assert not claims(replace(LSTM, hidden=64), "fp32")
