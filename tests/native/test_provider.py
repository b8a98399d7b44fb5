"""ONNX's own nodes in the kernels, through the plug-in execution provider: right in every form."""

import threading
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_layers import expected, kinds, name_of, random_call
from onnx import TensorProto, helper
from plain_nodes import answers_of, plain_model, provider_session, run_plain, stock_session

from rnnport.runtime.provider import claimed_nodes, offer_provider

BOTH = [kind for precision in ("fp32", "bf16") for kind in kinds(precision)]
EVERY = pytest.mark.parametrize("kind", BOTH, ids=name_of)
FP32 = pytest.mark.parametrize("kind", kinds("fp32"), ids=name_of)
NEXT = {"initial_h": "Y_h", "initial_c": "Y_c"}


def assert_right(layer, feeds, **how):
    """Of bfloat16, the reference has the weights that are left after rounding."""
    answers = run_plain(layer, feeds, **how)
    for name, values in expected(layer, feeds).items():
        largest = max(1, np.abs(values).max(initial=0))  # relu has no bound
        np.testing.assert_allclose(answers[name], values, 0, 2e-6 * largest, err_msg=name)


@given(
    kind=st.sampled_from(BOTH),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    hidden=st.integers(1, 40),
    features=st.integers(1, 20),
    batch=st.integers(1, 33),
    time=st.integers(0, 30),
    lengths=st.booleans(),
    states=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_shape(kind, direction, hidden, features, batch, time, lengths, states, bias, seed):
    layer = replace(kind, direction=direction, hidden=hidden, input=features, bias=bias, seed=seed)
    assert_right(layer, random_call(layer, time, batch, lengths=lengths, states=states, seed=seed))


@EVERY
def test_a_wide_layer_and_threads(kind):
    layer = replace(kind, hidden=257, input=100, direction="bidirectional")
    assert_right(layer, random_call(layer, time=5, batch=13, lengths=True), threads=4)


@EVERY
@pytest.mark.slow
def test_a_thousand_steps(kind):
    layer = replace(kind, hidden=64, input=16)
    assert_right(layer, random_call(layer, time=1000, batch=1))


@FP32
@pytest.mark.slow
def test_bf16_keeps_to_fp32_over_a_thousand_steps(kind):
    layer = replace(kind, hidden=64, input=16, direction="bidirectional")
    feeds = random_call(layer, time=1000, batch=2)
    fast, exact = run_plain(replace(layer, precision="bf16"), feeds), run_plain(layer, feeds)
    for name, values in exact.items():
        assert (fast[name] != values).any(), "the weights were not rounded"
        largest = max(1, np.abs(values).max())
        np.testing.assert_allclose(fast[name], values, 0, 1e-2 * largest)


@FP32
@pytest.mark.parametrize("opset", [7, 11, 13, 14, 18, 21, 22, 23])
def test_every_version_of_the_operators(kind, opset):
    feeds = random_call(kind, 4, 3, lengths=True, states=True)
    session = provider_session(plain_model(kind, tuple(feeds), opset=opset))
    assert claimed_nodes(session) == ([f"{kind.op} 'layer'"], [])
    np.testing.assert_allclose(session.run(["Y"], feeds)[0], expected(kind, feeds)["Y"], 0, 2e-6)


@EVERY
def test_a_row_alone_answers_as_in_the_batch(kind):
    layer = replace(kind, hidden=27, input=9, direction="bidirectional")
    feeds = random_call(layer, time=11, batch=13, lengths=True, states=True)
    axes = {"X": 1, "sequence_lens": 0, "initial_h": 1, "initial_c": 1}
    session = provider_session(plain_model(layer, tuple(feeds)), layer.precision)
    together = answers_of(session, feeds)
    for row in (0, 6, 12):
        alone = {name: np.take(array, [row], axes[name]) for name, array in feeds.items()}
        for name, answer in answers_of(session, alone).items():
            assert (answer == np.take(together[name], [row], -2)).all(), (name, row)


@EVERY
def test_pieces_answer_as_the_whole(kind):
    layer = replace(kind, hidden=27, input=9)
    feeds = random_call(layer, time=60, batch=3, states=True)
    session = provider_session(plain_model(layer, tuple(feeds)), layer.precision)
    whole = answers_of(session, feeds)
    parts, state = [], {name: feeds[name] for name in NEXT if name in feeds}
    for piece in np.split(feeds["X"], [1, 2, 5, 30, 31]):
        answers = answers_of(session, {"X": piece, **state})
        state = {name: answers[NEXT[name]] for name in state}
        parts.append(answers["Y"])
    assert (np.concatenate(parts) == whole["Y"]).all()
    assert (state["initial_h"] == whole["Y_h"]).all()


def test_two_sessions_answer_in_eight_threads():
    """Each of its own precision, all at once."""
    layer = replace(kinds("fp32")[0], hidden=40, input=30, direction="bidirectional")
    feeds = [random_call(layer, time=20, batch=3, seed=seed) for seed in range(8)]
    for_all = [provider_session(plain_model(layer), each) for each in ("fp32", "bf16")]
    alone = [[session.run(None, each) for session in for_all] for each in feeds]
    wrong = []

    def repeat(index):
        for _ in range(20):
            for session, wanted in zip(for_all, alone[index], strict=True):
                answers = session.run(None, feeds[index])
                if not all((a == b).all() for a, b in zip(answers, wanted, strict=True)):
                    wrong.append(index)

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def branches(one, other):
    """A model that runs one of two graphs, each a single node with weights of its own."""
    graphs = []
    for layer in (one, other):
        graph = plain_model(layer).graph
        del graph.input[:]
        graphs.append(graph)
    results = [helper.make_tensor_value_info(f"{v.name}_", 1, None) for v in graphs[0].output]
    choose = helper.make_node(
        "If", ["first"], [result.name for result in results],
        then_branch=graphs[0], else_branch=graphs[1],
    )  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("first", TensorProto.BOOL, []),
        helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, None, one.input]),
    ]
    graph = helper.make_graph([choose], "branches", inputs, results)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_nodes_in_branches_that_give_their_outputs_one_name_are_told_apart():
    tanh, relu = (replace(kind, seed=n) for n, kind in enumerate(kinds("fp32")[3:]))
    model = branches(tanh, relu)
    session, feeds = provider_session(model), random_call(tanh, 5, 2)
    for first, layer in ((True, tanh), (False, relu)):
        answer = session.run(None, {"first": np.array(first), **feeds})[0]
        np.testing.assert_allclose(answer, expected(layer, feeds)["Y"], 0, 2e-6)


def test_the_weights_may_be_dropped_once_they_are_packed():
    """Packing beforehand lets ONNX Runtime drop them; without it they stay, and nothing changes."""
    layer = replace(kinds("fp32")[0], hidden=50, input=40)
    feeds = random_call(layer, 10, 2)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_prepacking", "1")
    assert not offer_provider(options, "fp32", claim="all")
    kept = onnxruntime.InferenceSession(plain_model(layer).SerializeToString(), options)
    assert not claimed_nodes(kept)[1]
    for one, other in zip(
        kept.run(None, feeds), provider_session(plain_model(layer)).run(None, feeds), strict=True
    ):
        assert (one == other).all()


def test_the_answers_are_those_of_onnx_runtime():
    for layer in kinds("fp32"):
        feeds = random_call(layer, 30, 3, states=True)
        stock = answers_of(stock_session(plain_model(layer, tuple(feeds))), feeds)
        for name, answer in run_plain(layer, feeds).items():
            np.testing.assert_allclose(answer, stock[name], 0, 1e-5)
