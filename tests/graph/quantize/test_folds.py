"""A stock ONNX Runtime folds our bodies to one plain node as it loads a file; the error is small.

What is left in the loaded graph is counted: float32 speed follows from it, on any machine.
"""

import logging
import statistics
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import recurrent_files
from graph_models import (
    I,
    inside_if,
    model,
    normal,
    recurrent,
    run,
    states_of,
    value,
    weights,
)
from onnx import helper
from recurrent_files import Shape

from rnnport.graph.quantize.rewriting import with_small_weights

FORMS = pytest.mark.parametrize(
    ("precision", "inline"), [("int8", False), ("int8", True), ("bf16", False), ("bf16", True)]
)
CELL_NAMES = ("LSTM", "GRU", "RNN")
CELLS = pytest.mark.parametrize("cell", CELL_NAMES)


def loaded(made, tmp_path):
    """The model as ONNX Runtime runs it, after its optimisations on the CPU."""
    path = tmp_path / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnx.load(path)


def operators(graph):
    """How often each operator stands in a graph and in the graphs inside its nodes."""
    found = Counter()
    for node in graph.node:
        found[node.op_type] += 1
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += operators(attribute.g)
    return found


def assert_folds(made, precision, inline, tmp_path):
    """The small file is loaded as the operators of the file that it was made from."""
    small, accounts = with_small_weights(made, precision, inline=inline)
    assert all(account.quantized for account in accounts if account.op in CELL_NAMES)
    before = operators(small.graph)
    assert before["Cast"] if inline else len(small.functions), "there is something to fold"
    found = loaded(small, tmp_path)
    assert operators(found.graph) == operators(loaded(made, tmp_path).graph)
    assert not found.functions
    return operators(found.graph)


@FORMS
@CELLS
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True])
def test_each_layer_is_loaded_as_one_plain_node(
    cell, direction, lengths, precision, inline, tmp_path
):
    shape = Shape(cell, layers=2, direction=direction, hidden=24, features=40, lengths=lengths)
    found = assert_folds(recurrent_files.build(shape), precision, inline, tmp_path)
    assert found[cell] == 2
    assert not found.keys() & {"Mul", "DequantizeLinear"}


@FORMS
@CELLS
def test_a_lone_layer_is_loaded_as_that_node_and_nothing_else(cell, precision, inline, tmp_path):
    made = recurrent(cell, states=states_of(cell))
    assert assert_folds(made, precision, inline, tmp_path) == {cell: 1}


@FORMS
@CELLS
def test_layers_in_both_branches_of_an_if_are_folded(cell, precision, inline, tmp_path):
    made = inside_if(recurrent(cell))
    assert assert_folds(made, precision, inline, tmp_path) == {"If": 1, cell: 2}


@FORMS
@CELLS
@pytest.mark.parametrize("outside", [True, False])
def test_a_layer_in_the_body_of_a_scan_is_folded(cell, outside, precision, inline, tmp_path):
    made = inside_scan(cell, outside)
    assert assert_folds(made, precision, inline, tmp_path) == {"Scan": 1, cell: 1}


def inside_scan(cell, outside):
    """A layer over each piece of a sequence; the weights outside the body or in it."""
    layer = recurrent(cell).graph
    held = [] if outside else list(layer.initializer)
    body = helper.make_graph(
        list(layer.node), "body", [value("x", [5, 2, I])], [value("y", [5, 1, 2, 4])], held
    )
    scan = helper.make_node("Scan", ["pieces"], ["answers"], body=body, num_scan_inputs=1)
    return model(
        [scan],
        [value("pieces", ["piece", 5, 2, I])],
        [value("answers", ["piece", 5, 1, 2, 4])],
        weights(cell) if outside else [],
    )


@pytest.mark.slow
def test_int8_errs_at_most_0_6_as_much_as_onnx_runtimes_own_int8(tmp_path):
    ratios = [ours / theirs for ours, theirs in (strayed(seed, tmp_path) for seed in range(10))]
    assert statistics.median(ratios) <= 0.6


def strayed(seed, tmp_path):
    """RMS errors over 1,000 steps of a 256-unit LSTM: ours, and the better of the other's."""
    made = unit_lstm(seed)
    feeds = {"x": normal(1000, 1, 128, seed=seed + 1000)}
    reference = run(made, feeds)["y"]

    def error(small):
        return np.sqrt(np.mean((run(small, feeds)["y"] - reference) ** 2))

    small, _ = with_small_weights(made, "int8")
    rivals = [dynamic(made, seven_bits, tmp_path) for seven_bits in (False, True)]
    return error(small), min(error(rival) for rival in rivals)


def unit_lstm(seed, features=128, hidden=256):
    """x [time, batch, features] → y, weights as PyTorch draws them: uniform in ±1/√hidden."""
    draw = np.random.default_rng(seed)
    shapes = {
        "W": (1, 4 * hidden, features),
        "R": (1, 4 * hidden, hidden),
        "B": (1, 8 * hidden),
    }
    drawn = [
        onnx.numpy_helper.from_array(
            (draw.uniform(-1, 1, shape) / np.sqrt(hidden)).astype(np.float32), name
        )
        for name, shape in shapes.items()
    ]
    layer = helper.make_node("LSTM", ["x", *shapes], ["y"], name="layer", hidden_size=hidden)
    inputs = [value("x", ["time", "batch", features])]
    return model([layer], inputs, [value("y", ["time", 1, "batch", hidden])], drawn)


def dynamic(made, seven_bits, tmp_path):
    """ONNX Runtime's DynamicQuantizeLSTM of the same weights, one scale for each row.

    With all eight bits of them a CPU without VNNI overflows, and errs ten times as much.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = tmp_path / "dynamic.onnx"
    logging.getLogger().addFilter(no_advice := lambda _: False)
    try:
        quantize_dynamic(
            made, path, per_channel=True, reduce_range=seven_bits, weight_type=QuantType.QInt8
        )
    finally:
        logging.getLogger().removeFilter(no_advice)
    found = onnx.load(path)
    assert operators(found.graph) == {"DynamicQuantizeLSTM": 1}
    return found
