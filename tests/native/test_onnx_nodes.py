"""ONNX's own node tests of LSTM, GRU and RNN pass through the float32 kernels."""

from importlib import import_module

import numpy as np
import onnx
import pytest
from native_layers import DOMAIN, session_of
from onnx import helper, numpy_helper
from onnx.backend.test.case import node as node_tests
from plain_nodes import provider_session

from rnnport.runtime.provider import claimed_nodes

WEIGHTS = {"W", "R", "B"}
CARRIED = {"hidden_size", "direction", "linear_before_reset"}


def cases(op):
    """The tests of an operator whose nodes the kernels carry: layout 0, usual activations."""
    import_module(f"{node_tests.__name__}.{op.lower()}")  # which adds its tests to the list
    found = []
    for case in node_tests._NodeTestCases:
        node = case.model.graph.node[0]
        attributes = {each.name for each in node.attribute}
        peepholes = op == "LSTM" and len(node.input) > 7 and node.input[7]
        if node.op_type == op and attributes <= CARRIED and not peepholes:
            found.append(pytest.param(case, id=case.name))
    return found


CASES = [case for op in ("LSTM", "GRU", "RNN") for case in cases(op)]


def test_there_are_some_of_each_operator():
    names = [case.id for case in CASES]
    for op in ("lstm", "gru", "rnn"):
        assert sum(f"_{op}_" in name for name in names) >= 2, names


@pytest.mark.parametrize("case", CASES)
def test_a_node_test_passes(case):
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    (node,) = model.graph.node
    node.op_type, node.domain = f"{node.op_type}Float32", DOMAIN
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    assert_passes(session_of(model), case)


@pytest.mark.parametrize("case", CASES)
def test_a_node_test_passes_untouched_through_the_provider(case):
    """The tests feed the weights; the provider claims nodes whose weights are constants."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    ((arrays, _),) = case.data_sets
    for value, array in zip(case.model.graph.input, arrays, strict=True):
        if value.name in WEIGHTS:
            model.graph.input.remove(value)
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
    session = provider_session(model)
    assert not claimed_nodes(session)[1]
    assert_passes(session, case)


def assert_passes(session, case):
    taken = {value.name for value in session.get_inputs()}
    names = [value.name for value in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        feeds = {n: array for n, array in zip(names, inputs, strict=True) if n in taken}
        for answer, wanted in zip(session.run(None, feeds), outputs, strict=True):
            np.testing.assert_allclose(answer, wanted, case.rtol, case.atol)
