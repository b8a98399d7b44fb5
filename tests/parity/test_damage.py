"""Files damaged on purpose, each in a way that exporters really damage them: verify must fail."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from recurrent_files import GATES, Shape, build

from rnnport.pipeline.verify import verify

KINDS = ("LSTM", "GRU", "RNN")


def recurrent(model, index=0):
    return [node for node in model.graph.node if node.op_type in KINDS][index]


def weight(model, name):
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def replace_weight(model, name, values):
    weight(model, name).CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def swap_gates(model, first, second):
    for name in ("W.0", "R.0", "B.0"):
        values = numpy_helper.to_array(weight(model, name)).copy()
        parts = np.split(values, GATES[recurrent(model).op_type] * (2 if name == "B.0" else 1), 1)
        for offset in range(0, len(parts), GATES[recurrent(model).op_type]):
            one, two = offset + first, offset + second
            parts[one], parts[two] = parts[two], parts[one]
        replace_weight(model, name, np.concatenate(parts, 1))


def drop_bias(model):
    recurrent(model).input[3] = ""


def drop_recurrent_bias_of_one_gate(model):
    values = numpy_helper.to_array(weight(model, "B.0")).copy()
    values[:, -4:] = 0.0
    replace_weight(model, "B.0", values)


def drop_linear_before_reset(model):
    node = recurrent(model)
    kept = [each for each in node.attribute if each.name != "linear_before_reset"]
    del node.attribute[:]
    node.attribute.extend(kept)


def ignore_lengths(model):
    for node in model.graph.node:
        if node.op_type in KINDS:
            node.input[4] = ""


def ignore_lengths_of_the_last_layer(model):
    recurrent(model, -1).input[4] = ""


def rewire(model, output, source):
    """Make a graph output from another value."""
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == output:
                node.output[index] = f"{output}.unused"
    model.graph.node.append(helper.make_node("Identity", [source], [output]))


def forget_the_state(model):
    """The successor is the state that came in."""
    rewire(model, "next.rnn.0.h", "state.rnn.0.h")


def swap_successors(model):
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            swapped = {"next.rnn.0.h": "next.rnn.0.c", "next.rnn.0.c": "next.rnn.0.h"}
            node.output[index] = swapped.get(name, name)


def ignore_the_incoming_state(model):
    for index in range(5, len(recurrent(model).input)):
        recurrent(model).input[index] = ""


def cross_the_layers(model):
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            swapped = {"next.rnn.0.h": "next.rnn.1.h", "next.rnn.1.h": "next.rnn.0.h"}
            node.output[index] = swapped.get(name, name)


def bake_the_batch(model):
    """A Reshape with the example's batch in it, as exporters leave it."""
    values = np.array([0, 2, -1])
    weight(model, "flat").CopyFrom(numpy_helper.from_array(values, "flat"))


LSTM, GRU, RNN = (Shape(kind, 2, stream=True, lengths=True) for kind in KINDS)
DAMAGES = {
    "LSTM gates i and o swapped": (LSTM, lambda m: swap_gates(m, 0, 1)),
    "LSTM gates o and f swapped": (LSTM, lambda m: swap_gates(m, 1, 2)),
    "GRU gates z and r swapped": (GRU, lambda m: swap_gates(m, 0, 1)),
    **{f"{s.kind} bias dropped": (s, drop_bias) for s in (LSTM, GRU, RNN)},
    "LSTM bias of one gate dropped": (LSTM, drop_recurrent_bias_of_one_gate),
    "GRU linear_before_reset removed": (GRU, drop_linear_before_reset),
    **{f"{s.kind} lengths ignored": (s, ignore_lengths) for s in (LSTM, GRU, RNN)},
    "lengths of the last layer ignored": (LSTM, ignore_lengths_of_the_last_layer),
    **{f"{s.kind} successor is the old state": (s, forget_the_state) for s in (LSTM, GRU, RNN)},
    "successors of h and c swapped": (LSTM, swap_successors),
    "incoming state ignored": (GRU, ignore_the_incoming_state),
    "successors of two layers swapped": (GRU, cross_the_layers),
    "batch baked in": (RNN, bake_the_batch),
    "bidirectional, lengths ignored": (
        Shape("LSTM", 1, "bidirectional", lengths=True),
        ignore_lengths,
    ),
}


@pytest.fixture
def pair(tmp_path):
    """Write the undamaged file and its damaged twin."""

    def write(shape, damage):
        whole, damaged = tmp_path / "whole.onnx", tmp_path / "damaged.onnx"
        model = build(shape)
        onnx.save(model, whole)
        damage(model)
        onnx.save(model, damaged)
        return damaged, whole

    return write


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_fails(damage, pair):
    shape, do = DAMAGES[damage]
    outcome = verify(*pair(shape, do))
    assert outcome.exit_code == 1, "\n".join(outcome.lines())
    assert outcome.verdict().startswith("FAILED")


@pytest.mark.parametrize("shape", sorted({shape for shape, _ in DAMAGES.values()}, key=str))
def test_its_undamaged_twin_passes(shape, pair):
    outcome = verify(*pair(shape, lambda model: None))
    assert outcome.ok, "\n".join(outcome.lines())


def test_ignored_lengths_show_in_the_ragged_groups_alone(pair):
    damaged, whole = pair(Shape("GRU", lengths=True), ignore_lengths)
    groups = verify(damaged, whole).reports[0].groups()
    verdicts = {group.name: group.verdict for group in groups}
    assert verdicts["whole sequences"] == "ok"
    assert verdicts["whole sequences, random lengths"] == "FAILED"
    assert verdicts["each padded row alone"] == "FAILED"


def test_a_state_that_is_not_fed_back_shows_in_the_final_states(pair):
    report = verify(*pair(LSTM, forget_the_state)).reports[0]
    assert {item.output for item in report.failures if item.way == "whole"} == {"next.rnn.0.h"}
    assert "scores" in {item.output for item in report.failures if item.way == "chunked"}


def test_a_baked_batch_fails_by_the_other_batches(pair):
    report = verify(*pair(RNN, bake_the_batch)).reports[0]
    assert {item.case.batch for item in report.failures if item.way == "whole"} == {1, 7}
