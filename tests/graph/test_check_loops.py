"""Loops and Scans that are plain cells, as Keras models come from tf2onnx, become one node."""

import numpy as np
import onnx
import pytest
from graph_models import H, I, constant, model, normal, run, save, value
from onnx import helper

from rnnport.graph.check.fix import fix_file
from rnnport.graph.check.run import check_file
from rnnport.graph.check.table import choose

CPU = frozenset({"ort-cpu"})
RULES = choose(["RNN1"], [])
node = helper.make_node


def lstm_step(order="ifco", forget=0.0):
    """h, c, x → h_next, c_next with the gates of one product split in an order of their own."""
    return [
        node("MatMul", ["x_t", "kernel"], ["from_x"]),
        node("MatMul", ["h", "recurrent"], ["from_h"]),
        node("Add", ["from_x", "from_h"], ["both"]),
        node("Add", ["both", "bias"], ["gates"]),
        node("Split", ["gates", "quarters"], [f"{gate}_raw" for gate in order], axis=1),
        node("Add", ["f_raw", "forget_bias"], ["f_more"]),
        node("Sigmoid", ["i_raw"], ["i"]),
        node("Sigmoid", ["f_more"], ["f"]),
        node("Sigmoid", ["o_raw"], ["o"]),
        node("Tanh", ["c_raw"], ["g"]),
        node("Mul", ["f", "c"], ["kept"]),
        node("Mul", ["i", "g"], ["new"]),
        node("Add", ["kept", "new"], ["c_next"]),
        node("Tanh", ["c_next"], ["squashed"]),
        node("Mul", ["o", "squashed"], ["h_next"]),
    ]


def lstm_weights(forget=0.0):
    return [
        constant("kernel", normal(I, 4 * H, seed=5)),
        constant("recurrent", 0.5 * normal(H, 4 * H, seed=6)),
        constant("bias", normal(4 * H, seed=7)),
        constant("quarters", [H] * 4, np.int64),
        constant("forget_bias", forget, np.float32),
    ]


def gru_step():
    """Keras' GRU with reset_after: gates z, r, h; the state is kept by z."""
    return [
        node("MatMul", ["x_t", "kernel"], ["x_raw"]),
        node("Add", ["x_raw", "bias_x"], ["from_x"]),
        node("MatMul", ["h", "recurrent"], ["h_raw"]),
        node("Add", ["h_raw", "bias_h"], ["from_h"]),
        node("Split", ["from_x", "thirds"], ["xz", "xr", "xn"], axis=1),
        node("Split", ["from_h", "thirds"], ["hz", "hr", "hn"], axis=1),
        node("Add", ["xz", "hz"], ["z_raw"]),
        node("Sigmoid", ["z_raw"], ["z"]),
        node("Add", ["xr", "hr"], ["r_raw"]),
        node("Sigmoid", ["r_raw"], ["r"]),
        node("Mul", ["r", "hn"], ["reset"]),
        node("Add", ["xn", "reset"], ["n_raw"]),
        node("Tanh", ["n_raw"], ["n"]),
        node("Mul", ["z", "h"], ["kept"]),
        node("Sub", ["one", "z"], ["rest"]),
        node("Mul", ["rest", "n"], ["new"]),
        node("Add", ["kept", "new"], ["h_next"]),
    ]


def gru_weights():
    return [
        constant("kernel", normal(I, 3 * H, seed=5)),
        constant("recurrent", normal(H, 3 * H, seed=6)),
        constant("bias_x", normal(3 * H, seed=7)),
        constant("bias_h", normal(3 * H, seed=8)),
        constant("thirds", [H] * 3, np.int64),
        constant("one", 1.0, np.float32),
    ]


def rnn_step(activation="Tanh"):
    return [
        node("Concat", ["x_t", "h"], ["joint"], axis=1),
        node("MatMul", ["joint", "kernel"], ["raw"]),
        node("Add", ["raw", "bias"], ["biased"]),
        node(activation, ["biased"], ["h_next"]),
    ]


def rnn_weights():
    return [constant("kernel", 0.5 * normal(I + H, H, seed=5)), constant("bias", normal(H, seed=6))]


def scan(step, initializers, states=("h",), reverse=False):
    """y [time, batch, H] and the last states, by a Scan over x [time, batch, I]."""
    body = helper.make_graph(
        [*step, node("Identity", ["h_next"], ["y_t"])], "body",
        [*(value(s, ["batch", H]) for s in states), value("x_t", ["batch", I])],
        [*(value(f"{s}_next", ["batch", H]) for s in states), value("y_t", ["batch", H])],
    )  # fmt: skip
    directions = {"scan_input_directions": [1], "scan_output_directions": [1]} if reverse else {}
    one = node(
        "Scan", [*(f"{s}0" for s in states), "x"], [*(f"{s}n" for s in states), "y"],
        name="over_time", body=body, num_scan_inputs=1, **directions,
    )  # fmt: skip
    inputs = [value("x", ["time", "batch", I]), *(value(f"{s}0", ["batch", H]) for s in states)]
    outputs = [value("y", ["time", "batch", H]), *(value(f"{s}n", ["batch", H]) for s in states)]
    return model([one], inputs, outputs, initializers)


def loop(step, initializers, states=("h",)):
    """The same by a Loop with a counter of its own, as tf2onnx writes TensorFlow's while."""
    body = helper.make_graph(
        [
            node("Add", ["counter", "step_of_one"], ["counter_next"]),
            node("Less", ["counter_next", "steps"], ["going"]),
            node("Gather", ["x", "counter"], ["x_t"], axis=0),
            *step,
            node("Identity", ["h_next"], ["y_t"]),
        ],
        "body",
        [value("iteration", [], "int64"), value("go", [], "bool"), value("counter", [], "int64"),
         *(value(s, ["batch", H]) for s in states)],
        [value("going", [], "bool"), value("counter_next", [], "int64"),
         *(value(f"{s}_next", ["batch", H]) for s in states), value("y_t", ["batch", H])],
    )  # fmt: skip
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["steps"], axis=0),
        node(
            "Loop", ["steps", "true", "zero", *(f"{s}0" for s in states)],
            ["counted", *(f"{s}n" for s in states), "y"], name="over_time", body=body,
        ),
    ]  # fmt: skip
    inputs = [value("x", ["time", "batch", I]), *(value(f"{s}0", ["batch", H]) for s in states)]
    outputs = [value("y", ["time", "batch", H]), *(value(f"{s}n", ["batch", H]) for s in states)]
    more = [constant("zero", 0, np.int64), constant("step_of_one", 1, np.int64),
            constant("true", True)]  # fmt: skip
    return model(nodes, inputs, outputs, [*initializers, *more])


FAULTY = {
    "a Scan of an LSTM": ("LSTM", scan(lstm_step(), lstm_weights(), ("h", "c"))),
    "a reversed Scan of an LSTM": ("LSTM", scan(lstm_step(), lstm_weights(), ("h", "c"), True)),
    "states in another order": ("LSTM", scan(lstm_step("fico"), lstm_weights(), ("c", "h"))),
    "a Loop of Keras' LSTM": ("LSTM", loop(lstm_step(), lstm_weights(), ("h", "c"))),
    "a forget bias after the split": (
        "LSTM", loop(lstm_step("icfo"), lstm_weights(1.0), ("h", "c")),
    ),
    "a Loop of Keras' GRU": ("GRU", loop(gru_step(), gru_weights())),
    "a Scan of an RNN": ("RNN", scan(rnn_step(), rnn_weights())),
    "a Loop of a relu RNN": ("RNN", loop(rnn_step("Relu"), rnn_weights())),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTY)
def test_a_loop_that_is_a_plain_cell_becomes_one_node(name, tmp_path):
    op, faulty = FAULTY[name]
    path = save(faulty, tmp_path / "faulty.onnx")
    (finding,) = check_file(path, RULES, CPU).findings
    assert (finding.rule, finding.node, finding.fixable) == ("RNN105", "over_time", True)
    report = fix_file(path, tmp_path / "fixed.onnx", RULES, CPU)
    assert [step.kept for step in report.steps] == [True], report.steps
    assert report.left == ()
    fixed = onnx.load(tmp_path / "fixed.onnx")
    kinds = {each.op_type for each in fixed.graph.node}
    assert op in kinds
    assert not kinds & {"Loop", "Scan"}
    for batch, time in ((2, 5), (1, 1), (7, 300)):
        feeds = {"x": normal(time, batch, I)}
        for each in faulty.graph.input[1:]:
            feeds[each.name] = normal(batch, H, seed=9)
        wanted, answers = run(faulty, feeds), run(fixed, feeds)
        for output in wanted:
            np.testing.assert_allclose(answers[output], wanted[output], atol=1e-5, rtol=1e-5)


def changed(step, **changes):
    """A step with one operator changed: no plain cell any more."""
    return [
        node(changes.get(each.output[0], each.op_type), list(each.input), list(each.output),
             **{a.name: helper.get_attribute_value(a) for a in each.attribute})
        for each in step
    ]  # fmt: skip


@pytest.mark.parametrize(
    "healthy",
    [
        scan(changed(lstm_step(), o="Tanh"), lstm_weights(), ("h", "c")),
        loop(changed(gru_step(), r="Tanh"), gru_weights()),
        scan(changed(rnn_step(), h_next="Neg"), rnn_weights()),
    ],
    ids=["LSTM", "GRU", "RNN"],
)
def test_a_cell_of_ones_own_stays_a_loop(healthy, tmp_path):
    assert check_file(save(healthy, tmp_path / "own.onnx"), RULES, CPU).findings == ()
