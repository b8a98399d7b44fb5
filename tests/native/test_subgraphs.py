"""A call inside a branch or a loop body runs in the kernel too, its weights inside or outside."""

import numpy as np
import onnx
import pytest
from graph_models import inside_if, recurrent
from native_layers import session_of
from onnx import helper

from rnnport.graph.quantize.rewriting import with_small_weights


def without_bodies(model):
    """The model with its functions' bodies taken out: only the kernels can run it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.functions[:]
    return copy


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("inner", [False, True])
def test_a_branch_answers_as_its_body(op, inner):
    model, _ = with_small_weights(inside_if(recurrent(op)), "int8")
    if inner:
        (choice,) = (node for node in model.graph.node if node.op_type == "If")
        for branch in choice.attribute:
            branch.g.initializer.extend(model.graph.initializer)
        del model.graph.initializer[:]
    feeds = {
        "x": np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32),
        "flag": np.array(True),
    }
    (kernel,) = session_of(without_bodies(model)).run(["y"], feeds)
    (body,) = session_of(model, native=False).run(["y"], feeds)
    np.testing.assert_allclose(kernel, body, 0, 1e-3)


def test_a_scan_body_answers_as_its_body():
    model, _ = with_small_weights(recurrent("GRU", states=("h0", "hn")), "int8")
    body = helper.make_graph(
        list(model.graph.node),
        "body",
        [model.graph.input[1], model.graph.input[0]],
        [model.graph.output[1], model.graph.output[0]],
    )
    scan = helper.make_node("Scan", ["start", "xs"], ["end", "ys"], body=body, num_scan_inputs=1)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [scan],
        "scan",
        [value("start", 1, [1, 2, 4]), value("xs", 1, ["n", 6, 2, 3])],
        [value("end", 1, [1, 2, 4]), value("ys", 1, ["n", 6, 1, 2, 4])],
        list(model.graph.initializer),
    )
    whole = helper.make_model(
        graph,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
    )
    feeds = {
        "start": np.full((1, 2, 4), 0.5, np.float32),
        "xs": np.random.default_rng(0).normal(size=(3, 6, 2, 3)).astype(np.float32),
    }
    kernel = session_of(without_bodies(whole)).run(None, feeds)
    body = session_of(whole, native=False).run(None, feeds)
    for one, other in zip(kernel, body, strict=True):
        np.testing.assert_allclose(one, other, 0, 1e-3)
