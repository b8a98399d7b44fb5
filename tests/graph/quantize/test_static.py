"""Static quantization of products and convolutions, with ranges from calibration data."""

import numpy as np
import onnx
import pytest
from graph_models import constant, model, normal, run, value
from onnx import helper

from rnnport.errors import RequestError
from rnnport.graph.quantize.rewriting import with_small_weights

FEATURES, HIDDEN, ANSWERS = 40, 32, 50


def layer_and_head():
    """x [time, batch, 40] → a product → LSTM → a product → y [time, 1, batch, 50]."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["z"], name="first"),
        helper.make_node("LSTM", ["z", "W", "R"], ["h"], name="lstm", hidden_size=HIDDEN),
        helper.make_node("MatMul", ["h", "last"], ["y"], name="last"),
        helper.make_node("MatMul", ["h", "tiny"], ["s"], name="tiny"),
    ]
    return model(
        nodes, [value("x", ["time", "batch", FEATURES])],
        [value("y", ["time", 1, "batch", ANSWERS]), value("s", ["time", 1, "batch", 2])],
        [constant("first", 0.2 * normal(FEATURES, FEATURES)),
         constant("W", 0.2 * normal(1, 4 * HIDDEN, FEATURES, seed=2)),
         constant("R", 0.2 * normal(1, 4 * HIDDEN, HIDDEN, seed=3)),
         constant("last", normal(HIDDEN, ANSWERS, seed=4)),
         constant("tiny", normal(HIDDEN, 2, seed=5))],
    )  # fmt: skip


def calibration():
    return [{"x": normal(20, 4, FEATURES, seed=seed)} for seed in range(5)]


def test_products_get_fixed_ranges_and_the_account_names_them():
    made = layer_and_head()
    twin, accounts = with_small_weights(made, "int8", feeds=calibration())
    onnx.checker.check_model(twin, full_check=True)
    forms = {account.node: account.form or account.reason for account in accounts}
    assert forms == {
        "lstm": "function rnnport.LSTMInt8",
        "first": "static QDQ",
        "last": "static QDQ",
        "tiny": "small: 64 weights, under 1024",
    }
    sizes = {account.node: (account.bytes_before, account.bytes_after) for account in accounts}
    assert sizes["last"] == (HIDDEN * ANSWERS * 4, HIDDEN * ANSWERS)
    assert "DynamicQuantizeLinear" not in {node.op_type for node in twin.graph.node}
    x = normal(20, 3, FEATURES, seed=9)
    wanted, found = run(made, {"x": x})["y"], run(twin, {"x": x})["y"]
    error = np.sqrt(np.mean((wanted - found) ** 2)) / wanted.std()
    assert 1e-4 < error < 0.05


def test_a_row_beside_loud_neighbours_answers_as_it_does_alone():
    twin, _ = with_small_weights(layer_and_head(), "int8", feeds=calibration())
    x = normal(20, 3, FEATURES, seed=9)
    alone = run(twin, {"x": x[:, :1].copy()})["y"]
    x[:, 1:] *= 100
    np.testing.assert_allclose(run(twin, {"x": x})["y"][:, :, :1], alone, rtol=1e-5, atol=1e-5)


def test_a_kept_product_stays_in_float32():
    _, accounts = with_small_weights(layer_and_head(), "int8", ["last"], feeds=calibration())
    (last,) = [account for account in accounts if account.node == "last"]
    assert last.reason == "kept, as asked"
    assert last.stored == "float32"


def test_feeds_that_the_model_does_not_take_are_refused():
    with pytest.raises(RequestError, match="cannot calibrate the model"):
        with_small_weights(layer_and_head(), "int8", feeds=[{"x": normal(20, 4, FEATURES + 1)}])


def test_the_quantizer_says_nothing_of_its_own(caplog):
    with_small_weights(layer_and_head(), "int8", feeds=calibration())
    assert not caplog.records
