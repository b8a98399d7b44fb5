"""Faults of recurrent nodes inside If, Loop, Scan and functions: found, and repaired in place."""

import numpy as np
import onnx
import pytest
from graph_models import (
    H,
    I,
    by_torch,
    constant,
    inside_function,
    inside_if,
    inside_loop,
    inside_scan,
    normal,
    recurrent,
    run,
    save,
    value,
)  # fmt: skip
from onnx import helper, numpy_helper

from rnnport.graph.check.fix import fix_file
from rnnport.graph.check.run import check_file, targets_of
from rnnport.graph.check.table import RULES, choose

INSIDE = {
    "if": inside_if,
    "loop": inside_loop,
    "scan": inside_scan,
    "function": inside_function,
}


def wrong_reset():
    return by_torch(recurrent("GRU", linear_before_reset=None)), by_torch(recurrent("GRU"))


def layout_1():
    """Batch first inside, and the healthy twin with the same interface around a plain node."""
    faulty, healthy = recurrent("LSTM", layout=1), recurrent("LSTM")
    shapes = ["batch", "time", I], ["batch", "time", 1, H]
    (lstm,) = healthy.graph.node
    lstm.input[0], lstm.output[0] = "x_turned", "y_turned"
    healthy.graph.node.insert(0, helper.make_node("Transpose", ["x"], ["x_turned"], perm=[1, 0, 2]))
    healthy.graph.node.append(helper.make_node("Transpose", ["y_turned"], ["y"], perm=[2, 0, 1, 3]))
    for made in (faulty, healthy):
        made.graph.input[0].CopyFrom(value("x", shapes[0]))
        made.graph.output[0].CopyFrom(value("y", shapes[1]))
    return faulty, healthy


def frozen_state():
    faulty = recurrent("LSTM")
    faulty.graph.initializer.append(constant("h0", np.zeros((1, 2, H), np.float32)))
    faulty.graph.node[0].input.extend(["", "h0"])
    return faulty, recurrent("LSTM")


def computed_weights():
    faulty = recurrent("RNN")
    (W,) = (t for t in faulty.graph.initializer if t.name == "W")
    turned = numpy_helper.to_array(W).transpose(0, 2, 1)
    W.CopyFrom(constant("W_turned", np.ascontiguousarray(turned)))
    faulty.graph.node.insert(0, helper.make_node("Transpose", ["W_turned"], ["W"], perm=[0, 2, 1]))
    return faulty, recurrent("RNN")


def unfolded():
    faulty, healthy = recurrent("GRU"), recurrent("GRU")
    for made in (faulty, healthy):
        made.graph.node[0].output[0] = "raw"
        made.graph.node.append(helper.make_node("Add", ["raw", "offset"], ["y"]))
    faulty.graph.node.insert(1, helper.make_node("Mul", ["two", "three"], ["offset"]))
    faulty.graph.initializer.extend(
        [constant("two", 2.0, np.float32), constant("three", 3.0, np.float32)]
    )
    healthy.graph.initializer.append(constant("offset", 6.0, np.float32))
    return faulty, healthy


REPAIRED = {
    "RNN001": wrong_reset,
    "RNN002": layout_1,
    "RNN102": frozen_state,
    "RNN201": computed_weights,
    "RNN202": unfolded,
}
LEFT = {  # what is not repaired there
    # A function holds no initializers: what its nodes compute stays for runtimes to inline.
    ("RNN201", "function"),
    ("RNN202", "function"),
    # ONNX Runtime refuses layout=1 and the standard's evaluator a Loop's outputs: no proof.
    ("RNN002", "loop"),
}
CASES = [(rule, place) for rule in REPAIRED for place in INSIDE if (rule, place) not in LEFT]


@pytest.mark.parametrize(("rule", "place"), CASES)
def test_a_fault_inside_is_found_and_repaired_to_what_the_healthy_twin_answers(
    rule, place, tmp_path
):
    faulty, healthy = REPAIRED[rule]()
    rules, targets = choose([rule], []), targets_of([])
    path = save(INSIDE[place](faulty), tmp_path / "faulty.onnx")
    twin = save(INSIDE[place](healthy), tmp_path / "healthy.onnx")
    assert check_file(twin, rules, targets).findings == ()
    found = check_file(path, rules, targets).findings
    assert found
    assert all(finding.fixable for finding in found)
    report = fix_file(path, tmp_path / "fixed.onnx", rules, targets)
    assert all(step.kept for step in report.steps), report.steps
    assert report.left == ()
    fixed, sound = onnx.load(tmp_path / "fixed.onnx"), onnx.load(twin)
    for batch, time in ((2, 5), (3, 7), (1, 1)):
        shape = (batch, time, I) if rule == "RNN002" else (time, batch, I)
        feeds = {sound.graph.input[0].name: normal(*shape)}
        if place == "if":
            feeds["flag"] = np.array(True)
        wanted = run(sound, feeds)["y"]
        np.testing.assert_allclose(run(fixed, feeds)["y"], wanted, atol=1e-6)


def test_a_repair_that_nothing_can_prove_is_not_kept(tmp_path):
    path = save(inside_loop(layout_1()[0]), tmp_path / "faulty.onnx")
    rules = choose(["RNN002"], [])
    report = fix_file(path, tmp_path / "fixed.onnx", rules, targets_of([]))
    assert [step.kept for step in report.steps] == [False]
    assert "nothing to compare with" in report.steps[0].note
    assert not (tmp_path / "fixed.onnx").exists()
    assert [finding.rule for finding in report.left] == ["RNN002"]


REPORTED = {
    "RNN005": (lambda: wrong_sizes(), ["ort-cpu"]),
    "RNN301": (lambda: (recurrent("GRU", lengths=True), recurrent("GRU")), ["rten"]),
    "RNN302": (lambda: (recurrent("LSTM", clip=3.0), recurrent("LSTM")), ["ort-cuda"]),
    "RNN304": (lambda: (recurrent("GRU", dtype="float64"), recurrent("GRU")), ["ort-cpu"]),
}


def wrong_sizes():
    """As PyTorch's exporter writes a projection: the state is wider than the matrix."""
    faulty, healthy = (recurrent("LSTM", states=("h0", "hn", "c0", "cn")) for _ in range(2))
    faulty.graph.input[2].CopyFrom(value("c0", [1, "batch", 2 * H]))
    return faulty, healthy


@pytest.mark.parametrize("rule", REPORTED)
@pytest.mark.parametrize("place", ["main", "if", "loop", "function"])
def test_what_cannot_be_repaired_is_reported_inside_as_well(rule, place, tmp_path):
    build, names = REPORTED[rule]
    put = INSIDE.get(place, lambda made: made)
    faulty, healthy = (put(made) for made in build())
    rules, targets = choose([rule], []), targets_of(names)
    (path, twin) = (save(faulty, tmp_path / "faulty.onnx"), save(healthy, tmp_path / "twin.onnx"))
    found = check_file(path, rules, targets).findings
    assert {finding.rule for finding in found} == {rule}
    assert not any(finding.fixable for finding in found)
    assert check_file(twin, rules, targets).findings == ()


def test_a_healthy_file_is_healthy_wherever_its_node_stands(tmp_path):
    for place, put in INSIDE.items():
        path = save(put(recurrent("LSTM")), tmp_path / f"{place}.onnx")
        assert check_file(path, RULES, targets_of([])).findings == (), place
