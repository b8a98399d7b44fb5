"""Each fault that check repairs: found, not in the healthy twin, gone and right after --fix."""

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
    model,
    normal,
    recurrent,
    run,
    save,
    states_of,
    value,
    weights,
)  # fmt: skip
from onnx import helper

from rnnport.graph.check.fix import fix_file
from rnnport.graph.check.run import check_file
from rnnport.graph.check.table import RULES, choose

CPU = frozenset({"ort-cpu"})
WITHOUT_METADATA = choose([], ["RNN205"])


def found(made, tmp_path, rules=WITHOUT_METADATA, targets=CPU):
    return check_file(save(made, tmp_path / "checked.onnx"), rules, targets).findings


def ids(made, tmp_path):
    return {finding.rule for finding in found(made, tmp_path)}


def repaired(made, tmp_path, rules=WITHOUT_METADATA):
    report = fix_file(
        save(made, tmp_path / "faulty.onnx"), tmp_path / "fixed.onnx", rules, CPU, True
    )
    assert all(step.kept for step in report.steps), report.steps
    assert report.output is not None
    return onnx.load(report.output), report


def assert_equal(one, other, exact=True):
    assert len(one) == len(other) > 0
    for name, answer in one.items():
        if exact:
            np.testing.assert_array_equal(answer, other[name])
        else:
            np.testing.assert_allclose(answer, other[name], atol=1e-5, rtol=1e-5)


def torch_gru(seed=0):
    """A torch GRU, and the file that the faulty exporter wrote for it."""
    import torch

    torch.manual_seed(seed)
    gru = torch.nn.GRU(I, H)
    order = np.r_[H : 2 * H, 0:H, 2 * H : 3 * H]  # torch: r, z, n; ONNX: z, r, n
    tensors = {name: p.detach().numpy() for name, p in gru.named_parameters()}
    bias = np.concatenate([tensors["bias_ih_l0"][order], tensors["bias_hh_l0"][order]])
    made = by_torch(recurrent("GRU", states=states_of("GRU"), linear_before_reset=None))
    del made.graph.initializer[:]
    made.graph.initializer.extend(
        [
            constant("W", tensors["weight_ih_l0"][None, order]),
            constant("R", tensors["weight_hh_l0"][None, order]),
            constant("B", bias[None]),
        ]
    )
    return gru, made


@pytest.mark.parametrize("wrap", [lambda m: m, inside_if, inside_function])
def test_a_gru_with_the_wrong_reset_is_repaired_to_what_torch_answers(wrap, tmp_path):
    import torch

    gru, made = torch_gru()
    faulty = wrap(made)
    assert ids(faulty, tmp_path) == {"RNN001"}
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    x, h = normal(7, 2, I), normal(1, 2, H)
    feeds = {"x": x, "h0": h}
    if len(fixed.graph.input) == 3:
        feeds["flag"] = np.asarray(True)
    with torch.no_grad():
        y, hn = gru(torch.from_numpy(x), torch.from_numpy(h))
    wrong, right = run(faulty, feeds), run(fixed, feeds)
    assert np.abs(wrong["y"][:, 0] - y.numpy()).max() > 1e-2
    np.testing.assert_allclose(right["y"][:, 0], y.numpy(), atol=1e-6)
    np.testing.assert_allclose(right["hn"], hn.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "healthy",
    [
        by_torch(recurrent("GRU")),
        recurrent("GRU", linear_before_reset=0),  # Keras with reset_after=False
        by_torch(recurrent("GRU", linear_before_reset=0), "1.13.1"),  # before the fault
        by_torch(recurrent("GRU", linear_before_reset=0, activations=["Sigmoid", "Relu"])),
    ],
    ids=["right", "another producer", "an older torch", "no cell of torch"],
)
def test_a_gru_that_is_right_or_not_torchs_is_left_alone(healthy, tmp_path):
    assert "RNN001" not in ids(healthy, tmp_path)


def test_the_exporters_notes_on_a_node_show_the_fault_without_the_producer(tmp_path):
    made = recurrent("GRU", linear_before_reset=0)
    made.graph.node[0].metadata_props.add(key="namespace", value="M/gru: aten.gru.input")
    assert ids(made, tmp_path) == {"RNN001"}


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_layout_1_becomes_transposes_that_answer_as_the_standard_says(op, tmp_path):
    entering = list(states_of(op)[::2])
    leaving = list(states_of(op)[1::2])
    extra = {"linear_before_reset": 1} if op == "GRU" else {}
    node = helper.make_node(
        op, ["x", "W", "R", "B", "", *entering], ["y", *leaving], hidden_size=H, layout=1, **extra
    )
    inputs = [value("x", ["batch", "time", I]), *(value(n, ["batch", 1, H]) for n in entering)]
    outputs = [value("y", ["batch", "time", 1, H]), *(value(n, ["batch", 1, H]) for n in leaving)]
    faulty = model([node], inputs, outputs, weights(op))
    healthy = recurrent(op, states=states_of(op))
    assert ids(faulty, tmp_path) == {"RNN002"}
    assert "RNN002" not in ids(healthy, tmp_path)
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    feeds = {"x": normal(2, 5, I), **{n: normal(2, 1, H, seed=i) for i, n in enumerate(entering)}}
    wanted = run(healthy, {name: array.swapaxes(0, 1) for name, array in feeds.items()})
    answers = run(fixed, feeds)
    np.testing.assert_array_equal(answers["y"], wanted["y"].transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(answers["hn"], wanted["hn"].swapaxes(0, 1))


def crossed(*names):
    """Two LSTM states whose successors' names sort the other way round."""
    return recurrent("LSTM", states=names)


def test_state_names_that_sort_differently_are_renamed(tmp_path):
    faulty = crossed("h", "out_2", "c", "out_1")  # sorted: c, h beside out_1, out_2: right
    assert ids(faulty, tmp_path) == set()
    faulty = crossed("h", "out_1", "c", "out_2")
    assert ids(faulty, tmp_path) == {"RNN003"}
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    assert [output.name for output in fixed.graph.output] == ["y", "next.h", "next.c"]
    feeds = {"x": normal(3, 2, I), "h": normal(1, 2, H), "c": normal(1, 2, H, seed=2)}
    before, after = run(faulty, feeds), run(fixed, feeds)
    np.testing.assert_array_equal(after["next.h"], before["out_1"])
    np.testing.assert_array_equal(after["next.c"], before["out_2"])


def test_a_state_that_never_leaves_gets_an_output(tmp_path):
    faulty = recurrent("GRU", states=("h0", "hn"))
    del faulty.graph.output[1], faulty.graph.node[0].output[1]
    healthy = recurrent("GRU", states=("h0", "hn"))
    assert ids(faulty, tmp_path) == {"RNN004"}
    assert ids(healthy, tmp_path) == set()
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    feeds = {"x": normal(3, 2, I), "h0": normal(1, 2, H)}
    answers, wanted = run(fixed, feeds), run(healthy, feeds)
    np.testing.assert_array_equal(answers["next.h0"], wanted["hn"])
    np.testing.assert_array_equal(answers["y"], wanted["y"])


def test_a_state_that_nothing_reads_is_taken_away(tmp_path):
    faulty = recurrent("GRU")
    faulty.graph.input.append(value("hidden_state", [1, "batch", H]))
    assert ids(faulty, tmp_path) == {"RNN004"}
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    assert [each.name for each in fixed.graph.input] == ["x"]
    feeds = {"x": normal(3, 2, I)}
    assert_equal(run(fixed, feeds), run(recurrent("GRU"), feeds))


def test_a_state_that_comes_back_unchanged_is_reported(tmp_path):
    faulty = recurrent("GRU")
    faulty.graph.node.append(helper.make_node("Identity", ["state_in"], ["state_out"]))
    faulty.graph.input.append(value("state_in", [1, "batch", H]))
    faulty.graph.output.append(value("state_out", [1, "batch", H]))
    (finding,) = found(faulty, tmp_path)
    assert (finding.rule, finding.node, finding.fixable) == ("RNN004", "state_in", False)


def reshaped(target):
    """y [time, 1, batch, H] → [time, batch, H], by a Reshape to the target."""
    made = recurrent("LSTM")
    made.graph.node[0].output[0] = "four"
    made.graph.node.append(helper.make_node("Reshape", ["four", "target"], ["y"], name="flat"))
    made.graph.initializer.append(constant("target", target, np.int64))
    del made.graph.output[:]
    made.graph.output.append(value("y", ["time", "batch", H]))
    return made


def test_a_frozen_reshape_follows_the_input_again(tmp_path):
    faulty, healthy = reshaped([5, 2, H]), reshaped([0, -1, H])
    assert ids(faulty, tmp_path) == {"RNN101"}
    assert ids(healthy, tmp_path) == set()
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    for batch, time in ((2, 5), (1, 1), (7, 3), (64, 10)):
        feeds = {"x": normal(time, batch, I)}
        assert_equal(run(fixed, feeds), run(healthy, feeds))


def merged(rows):
    """A linear layer over all rows at once, and back to [time, batch, 2]."""
    made = reshaped([rows, H])
    made.graph.node[1].output[0] = "rows"
    made.graph.node.append(helper.make_node("MatMul", ["rows", "head"], ["scores"]))
    made.graph.initializer.append(constant("head", normal(H, 2)))
    made.graph.output[0].CopyFrom(value("scores", ["rows", 2]))
    return made


def test_a_frozen_product_of_batch_and_time_is_found(tmp_path):
    assert ids(merged(10), tmp_path) == {"RNN101"}
    assert ids(merged(-1), tmp_path) == set()
    fixed, _ = repaired(merged(10), tmp_path)
    feeds = {"x": normal(7, 3, I)}
    assert_equal(run(fixed, feeds), run(merged(-1), feeds))


def with_state(array):
    made = recurrent("GRU")
    made.graph.node[0].input.extend(["", "start"])
    made.graph.initializer.append(constant("start", array, np.float32))
    return made


def test_a_zero_state_of_the_examples_batch_is_left_out(tmp_path):
    faulty = with_state(np.zeros((1, 2, H)))
    assert ids(faulty, tmp_path) == {"RNN102"}
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    feeds = {"x": normal(4, 6, I)}
    assert_equal(run(fixed, feeds), run(recurrent("GRU"), feeds))


def test_a_learned_state_of_the_examples_batch_is_spread_over_any(tmp_path):
    row = normal(1, 1, H)
    faulty = with_state(np.repeat(row, 2, axis=1))
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    feeds = {"x": normal(4, 6, I)}
    wanted = run(recurrent("GRU", states=("h0", "hn")), {**feeds, "h0": np.repeat(row, 6, axis=1)})
    np.testing.assert_array_equal(run(fixed, feeds)["y"], wanted["y"])


def test_a_state_that_differs_from_row_to_row_is_no_state_for_any_batch(tmp_path):
    (finding,) = found(with_state(normal(1, 2, H)), tmp_path)
    assert (finding.rule, finding.fixable) == ("RNN102", False)


def test_a_state_expanded_from_the_examples_batch_is_found(tmp_path):
    faulty = recurrent("GRU")
    faulty.graph.node[0].input.extend(["", "start"])
    faulty.graph.initializer.extend(
        [
            constant("zeros", np.zeros((1, 2, H), np.float32)),
            constant("one", [1]),
            constant("axis", [1]),
        ]
    )
    faulty.graph.initializer.append(constant("hidden", [H]))
    for place, node in enumerate(
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "axis"], ["rows"]),
            helper.make_node("Concat", ["one", "rows", "hidden"], ["wanted"], axis=0),
            helper.make_node("Expand", ["zeros", "wanted"], ["start"]),
        ]
    ):
        faulty.graph.node.insert(place, node)
    assert ids(faulty, tmp_path) == {"RNN102"}
    fixed, _ = repaired(faulty, tmp_path)
    feeds = {"x": normal(4, 6, I)}
    assert_equal(run(fixed, feeds), run(recurrent("GRU"), feeds))


def test_a_state_expanded_to_the_examples_batch_is_found_before_it_is_folded(tmp_path):
    faulty = recurrent("GRU")
    faulty.graph.node[0].input.extend(["", "start"])
    faulty.graph.initializer.extend(
        [constant("zero", np.zeros((1, 1, H), np.float32)), constant("wanted", [1, 2, H])]
    )
    faulty.graph.node.insert(0, helper.make_node("Expand", ["zero", "wanted"], ["start"]))
    assert ids(faulty, tmp_path) == {"RNN102", "RNN202"}
    fixed, _ = repaired(faulty, tmp_path, choose(["RNN102"], []))
    feeds = {"x": normal(4, 6, I)}
    assert_equal(run(fixed, feeds), run(recurrent("GRU"), feeds))


def test_fixed_inputs_are_opened_and_rows_do_not_notice(tmp_path):
    faulty = recurrent("LSTM", batch=2, time=5)
    assert ids(faulty, tmp_path) == {"RNN103"}
    assert ids(recurrent("LSTM"), tmp_path) == set()
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    feeds = {"x": normal(11, 7, I)}
    assert_equal(run(fixed, feeds), run(recurrent("LSTM"), feeds))


def test_opening_an_input_is_dropped_where_the_graph_does_not_run_at_other_sizes(tmp_path):
    faulty = recurrent("LSTM", batch=2, time=5)
    faulty.graph.node[0].output[0] = "inner"
    faulty.graph.node.append(helper.make_node("Add", ["inner", "table"], ["y"]))
    faulty.graph.initializer.append(constant("table", normal(5, 1, 2, H)))
    path = save(faulty, tmp_path / "faulty.onnx")
    report = fix_file(path, tmp_path / "fixed.onnx", WITHOUT_METADATA, CPU)
    assert report.output is None
    assert not (tmp_path / "fixed.onnx").exists()
    assert "does not run at" in report.steps[0].note


def test_a_step_model_may_have_its_time_fixed_at_one(tmp_path):
    assert ids(recurrent("GRU", states=("h0", "hn"), time=1), tmp_path) == set()


def loose(op="LSTM"):
    """The recurrent matrix stored transposed, as some exporters do, and turned in every run."""
    made = recurrent(op)
    turned = onnx.numpy_helper.to_array(made.graph.initializer[1]).swapaxes(1, 2)
    made.graph.initializer[1].CopyFrom(constant("turned", np.ascontiguousarray(turned)))
    made.graph.node.insert(0, helper.make_node("Transpose", ["turned"], ["R"], perm=[0, 2, 1]))
    return made


def test_weights_that_nodes_compute_become_initializers(tmp_path):
    faulty = loose()
    assert ids(faulty, tmp_path) == {"RNN201"}
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    assert [node.op_type for node in fixed.graph.node] == ["LSTM"]
    feeds = {"x": normal(4, 2, I)}
    assert_equal(run(fixed, feeds), run(recurrent("LSTM"), feeds))


def test_weights_that_are_fed_are_reported_and_not_repaired(tmp_path):
    faulty = recurrent("LSTM")
    faulty.graph.input.append(value("W", [1, 4 * H, I]))
    del faulty.graph.initializer[0]
    (finding,) = found(faulty, tmp_path)
    assert (finding.rule, finding.fixable) == ("RNN201", False)


def test_a_functions_weights_are_initializers_where_it_is_called(tmp_path):
    assert ids(inside_function(recurrent("LSTM")), tmp_path) == set()
    faulty = inside_function(recurrent("LSTM"))
    faulty.graph.node.insert(0, helper.make_node("Identity", ["V"], ["W"]))
    faulty.graph.initializer[0].name = "V"
    assert "RNN201" in ids(faulty, tmp_path)


def test_constants_are_folded_once_and_for_all(tmp_path):
    faulty = recurrent("RNN")
    faulty.graph.node[0].output[0] = "inner"
    faulty.graph.node.insert(0, helper.make_node("Mul", ["two", "two"], ["four"]))
    faulty.graph.node.insert(1, helper.make_node("Sqrt", ["four"], ["scale"]))
    faulty.graph.node.append(helper.make_node("Mul", ["inner", "scale"], ["y"]))
    faulty.graph.initializer.append(constant("two", 2.0, np.float32))
    assert ids(faulty, tmp_path) == {"RNN202"}
    fixed, report = repaired(faulty, tmp_path)
    assert report.left == ()
    assert [node.op_type for node in fixed.graph.node] == ["RNN", "Mul"]
    feeds = {"x": normal(4, 2, I)}
    assert_equal(run(fixed, feeds), run(faulty, feeds), exact=False)


def test_weights_kept_small_on_purpose_are_not_folded(tmp_path):
    made = recurrent("LSTM")
    small = (onnx.numpy_helper.to_array(made.graph.initializer[0]) * 50).astype(np.int8)
    made.graph.initializer[0].CopyFrom(constant("small", small))
    made.graph.initializer.append(constant("scale", 0.02, np.float32))
    made.graph.node.insert(0, helper.make_node("DequantizeLinear", ["small", "scale"], ["W"]))
    assert "RNN202" not in ids(made, tmp_path)


def test_external_data_of_a_small_model_come_home(tmp_path):
    made = recurrent("LSTM")
    onnx.save_model(
        made,
        tmp_path / "two.onnx",
        save_as_external_data=True,
        location="two.data",
        size_threshold=0,
    )
    (finding,) = check_file(tmp_path / "two.onnx", WITHOUT_METADATA, CPU).findings
    assert (finding.rule, finding.fixable) == ("RNN203", True)
    fix_file(tmp_path / "two.onnx", tmp_path / "one.onnx", WITHOUT_METADATA, CPU)
    (tmp_path / "two.data").unlink()
    feeds = {"x": normal(4, 2, I)}
    assert_equal(run(tmp_path / "one.onnx", feeds), run(recurrent("LSTM"), feeds))
    (missing,) = check_file(tmp_path / "two.onnx", WITHOUT_METADATA, CPU).findings
    assert "not beside the file" in missing.message


def test_external_data_outside_the_folder_are_not_even_looked_at(tmp_path):
    made = recurrent("LSTM")
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (finding,) = found(made, tmp_path)
    assert (finding.rule, finding.fixable) == ("RNN203", False)


def test_states_without_a_description_get_one(tmp_path):
    made = recurrent("LSTM", states=states_of("LSTM"))
    (finding,) = found(made, tmp_path, RULES)
    assert (finding.rule, finding.fixable) == ("RNN205", True)
    fixed, report = repaired(made, tmp_path, RULES)
    assert report.left == ()
    assert found(recurrent("LSTM"), tmp_path, RULES) == ()
    feeds = {"x": normal(4, 2, I), "h0": normal(1, 2, H), "c0": normal(1, 2, H)}
    assert_equal(run(fixed, feeds), run(made, feeds))


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 15, 18, 21])
@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_files_from_opset_7_on_are_read_and_repaired(op, opset, tmp_path):
    made = recurrent(op, batch=2, time=5, opset=opset, states=states_of(op))
    assert ids(made, tmp_path) == {"RNN103"}
    fixed, report = repaired(made, tmp_path)
    assert report.left == ()
    feeds = {"x": normal(4, 3, I), "h0": normal(1, 3, H)}
    if op == "LSTM":
        feeds["c0"] = normal(1, 3, H, seed=3)
    assert_equal(run(fixed, feeds), run(recurrent(op, states=states_of(op)), feeds))


def test_several_faults_are_repaired_in_one_go(tmp_path):
    _, made = torch_gru()
    made.graph.node[0].input[5] = "start"
    del made.graph.input[1]
    made.graph.initializer.append(constant("start", np.zeros((1, 2, H), np.float32)))
    for dim, size in zip(made.graph.input[0].type.tensor_type.shape.dim, (5, 2), strict=False):
        dim.dim_value = size
    fixed, report = repaired(made, tmp_path)
    assert {step.rule for step in report.steps} == {"RNN001", "RNN102", "RNN103"}
    assert report.left == ()
    assert run(fixed, {"x": normal(9, 4, I)})["y"].shape == (9, 1, 4, H)
