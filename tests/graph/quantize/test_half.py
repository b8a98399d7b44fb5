"""Float16 twins: arithmetic in float16 between casts, float32 at every boundary."""

import numpy as np
import onnx
import pytest
from graph_models import constant, model, normal, recurrent, run, value
from onnx import TensorProto, helper
from recurrent_files import Shape, build

from rnnport.errors import CheckFailedError, RequestError
from rnnport.graph.quantize.rewriting import prepared, with_small_weights
from rnnport.graph.quantize.targets import require_kernels

OPS = ("LSTM", "GRU", "RNN")


def computes_in(made, name):
    """The type of a node's weights."""
    node = next(node for node in made.graph.node if node.name == name)
    kinds = {t.name: t.data_type for t in made.graph.initializer}
    return {kinds[given] for given in node.input if given in kinds}


@pytest.mark.parametrize("op", OPS)
def test_recurrent_layers_and_products_compute_in_float16_and_the_boundary_stays(op):
    shape = Shape(op, lengths=True, stream=True, layers=2)
    made = build(shape)
    twin, accounts = with_small_weights(made, "fp16")
    onnx.checker.check_model(twin, full_check=True)
    assert [a.stored for a in accounts] == ["float16"] * 3
    boundary = [v.type.tensor_type.elem_type for v in (*twin.graph.input, *twin.graph.output)]
    assert set(boundary) == {TensorProto.FLOAT, TensorProto.INT64}
    kinds = {t.data_type for t in twin.graph.initializer}
    assert TensorProto.FLOAT not in kinds
    feeds = {"x": normal(3, 9, 3), "lengths": np.array([9, 2, 5])}
    feeds |= {f"state.{name}": normal(3, 1, 4, seed=2) for name in shape.states}
    wanted, found = run(made, feeds), run(twin, feeds)
    for name, answer in wanted.items():
        assert found[name].dtype == np.float32
        error = np.abs(found[name] - answer).max()
        assert 0 < error < 0.01, name


def test_a_kept_layer_stays_in_float32():
    made = recurrent("GRU")
    made.graph.node.append(
        helper.make_node("GRU", ["x", "W", "R", "B"], ["z"], name="kept", hidden_size=4)
    )
    made.graph.output.append(value("z", ["time", 1, "batch", 4]))
    twin, _ = with_small_weights(made, "fp16", ["kept"])
    assert computes_in(twin, "kept") == {TensorProto.FLOAT}
    assert computes_in(twin, "gru") == {TensorProto.FLOAT16}
    feeds = {"x": normal(5, 2, 3)}
    np.testing.assert_array_equal(run(twin, feeds)["z"], run(made, feeds)["z"])


def test_weights_beyond_float16_are_kept_with_the_reason():
    made = recurrent("LSTM")
    weight = np.full((1, 16, 3), 1e5, np.float32)
    next(t for t in made.graph.initializer if t.name == "W").CopyFrom(constant("W", weight))
    with pytest.raises(CheckFailedError, match="65504"):
        with_small_weights(made, "fp16")


def test_products_of_two_computed_values_are_left_alone():
    made = recurrent("RNN")
    made.graph.node.append(helper.make_node("MatMul", ["y", "y"], ["z"], name="product"))
    made.graph.output.append(value("z", ["time", 1, "batch", 4]))
    twin, accounts = with_small_weights(made, "fp16")
    assert [account.op for account in accounts] == ["RNN"]
    product = next(node for node in twin.graph.node if node.name == "product")
    assert list(product.input) == ["y", "y"]


def test_float16_is_refused_on_the_cpu_with_what_helps():
    with pytest.raises(RequestError, match=r"float32 between casts.*--precision bf16"):
        require_kernels(prepared(recurrent("LSTM")), "fp16", "ort-cpu", ())


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (recurrent("GRU", linear_before_reset=0), "linear_before_reset is 0"),
        (recurrent("LSTM", clip=1.0), "it clips"),
        (recurrent("RNN", activations=["Relu"]), "activations are relu"),
    ],
)
def test_float16_is_refused_for_a_node_that_leaves_the_gpu_unless_it_is_kept(made, reason):
    name = made.graph.node[0].name
    for target in ("ort-cuda", None):
        with pytest.raises(RequestError, match=f"{reason}.*--keep {name}"):
            require_kernels(prepared(made), "fp16", target, ())
    require_kernels(prepared(made), "fp16", "ort-cuda", (name,))
    require_kernels(prepared(made), "int8", "ort-cuda", ())


def test_an_unknown_target_is_refused():
    with pytest.raises(RequestError, match="no target 'tpu'; there are ort-cpu, ort-cuda"):
        require_kernels(prepared(recurrent("LSTM")), "int8", "tpu", ())


def test_embeddings_and_convolutions_compute_in_float16():
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="embed"),
        helper.make_node("Transpose", ["rows"], ["columns"], perm=[1, 2, 0]),
        helper.make_node("Conv", ["columns", "K"], ["seen"], name="conv", pads=[1, 1]),
        helper.make_node("Transpose", ["seen"], ["x"], perm=[2, 0, 1]),
        helper.make_node("LSTM", ["x", "W", "R"], ["y"], name="lstm", hidden_size=4),
    ]
    made = model(
        nodes, [value("ids", ["time", "batch"], "int64")], [value("y", ["time", 1, "batch", 4])],
        [constant("table", normal(9, 3)), constant("K", normal(3, 3, 3)),
         constant("W", normal(1, 16, 3)), constant("R", normal(1, 16, 4))],
    )  # fmt: skip
    twin, accounts = with_small_weights(made, "fp16")
    onnx.checker.check_model(twin, full_check=True)
    assert {account.node for account in accounts} == {"embed", "conv", "lstm"}
    feeds = {"ids": np.arange(8).reshape(4, 2)}
    np.testing.assert_allclose(run(twin, feeds)["y"], run(made, feeds)["y"], atol=5e-3)
