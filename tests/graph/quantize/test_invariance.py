"""A quantized answer depends on its own input alone: not on batch-mates, chunks or threads."""

import functools

import numpy as np
import onnxruntime
import pytest
from graph_models import GATES, constant, model, normal, value
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from rnnport.graph.quantize.rewriting import with_small_weights

FEATURES, HIDDEN = 12, 48
BOUND = {"rtol": 1e-5, "atol": 1e-5}


@functools.cache
def sessions(op, direction, precision):
    """A layer and a product after it, quantized; run by one thread and by two."""
    directions = 2 if direction == "bidirectional" else 1
    rows, cell = GATES[op] * HIDDEN, op == "LSTM"
    states = ["h0", "c0"] if cell else ["h0"]
    leaving = ["hn", "cn"] if cell else ["hn"]
    nodes = [
        helper.make_node(
            op, ["x", "W", "R", "B", "lengths", *states], ["Y", *leaving], name="layer",
            hidden_size=HIDDEN, direction=direction,
            **({"linear_before_reset": 1} if op == "GRU" else {}),
        ),
        helper.make_node("MatMul", ["Y", "head"], ["y"], name="head"),
    ]  # fmt: skip
    state = [directions, "batch", HIDDEN]
    made = model(
        nodes,
        [value("x", ["time", "batch", FEATURES]), value("lengths", ["batch"], "int32"),
         *(value(name, state) for name in states)],
        [value("y", ["time", directions, "batch", 30]), *(value(n, state) for n in leaving)],
        [constant("W", 0.3 * normal(directions, rows, FEATURES)),
         constant("R", 0.2 * normal(directions, rows, HIDDEN, seed=2)),
         constant("B", 0.1 * normal(directions, 2 * rows, seed=3)),
         constant("head", normal(HIDDEN, 30, seed=4))],
    )  # fmt: skip
    twin, accounts = with_small_weights(made, precision)
    assert [account.stored for account in accounts] == [accounts[0].stored] * 2
    return tuple(_session(twin, threads) for threads in (1, 2))


def _session(made, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def answer(session, feeds):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def rows_of(feeds, rows):
    """The feeds of some rows; x is [time, batch, F], states [directions, batch, H]."""
    return {n: a[rows] if n == "lengths" else a[:, rows] for n, a in feeds.items()}


def drawn(data, op, direction, batch, time):
    """Feeds with ragged lengths and states that reach far above 1."""
    directions = 2 if direction == "bidirectional" else 1
    seed = data.draw(st.integers(0, 2**16), "seed")
    lengths = data.draw(st.lists(st.integers(1, time), min_size=batch, max_size=batch), "lengths")
    feeds = {
        "x": 3 * normal(time, batch, FEATURES, seed=seed),
        "lengths": np.array(lengths, np.int32),
        "h0": 4 * normal(directions, batch, HIDDEN, seed=seed + 1),
    }
    if op == "LSTM":
        feeds["c0"] = 4 * normal(directions, batch, HIDDEN, seed=seed + 2)
    return feeds


each_layer = pytest.mark.parametrize(
    ("op", "direction"),
    [(op, direction) for op in GATES for direction in ("forward", "reverse", "bidirectional")],
)
each_precision = pytest.mark.parametrize("precision", ["int8", "bf16"])


@each_precision
@each_layer
@given(data=st.data(), batch=st.integers(2, 9), time=st.integers(1, 12))
def test_a_row_answers_as_it_does_alone(op, direction, precision, data, batch, time):
    session, _ = sessions(op, direction, precision)
    feeds = drawn(data, op, direction, batch, time)
    row = data.draw(st.integers(0, batch - 1), "row")
    feeds["x"][:, np.arange(batch) != row] *= 100  # loud neighbours
    together = answer(session, feeds)
    alone = answer(session, rows_of(feeds, [row]))
    np.testing.assert_allclose(together["y"][:, :, [row]], alone["y"], **BOUND)
    for name in set(alone) - {"y"}:
        np.testing.assert_allclose(together[name][:, [row]], alone[name], **BOUND)


@each_precision
@pytest.mark.parametrize("op", GATES)
@given(data=st.data(), batch=st.integers(1, 5), time=st.integers(2, 30))
def test_pieces_of_any_size_answer_as_the_whole(op, precision, data, batch, time):
    session, _ = sessions(op, "forward", precision)
    feeds = drawn(data, op, "forward", batch, time)
    feeds["lengths"][:] = time
    whole = answer(session, feeds)
    cuts = sorted(data.draw(st.sets(st.integers(1, time - 1), max_size=6), "cuts"))
    states = {name: feeds[name] for name in feeds if name in ("h0", "c0")}
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, time], strict=True):
        lengths = np.full(batch, stop - start, np.int32)
        piece = answer(session, {"x": feeds["x"][start:stop], "lengths": lengths, **states})
        parts.append(piece["y"])
        states = {name: piece[f"{name[0]}n"] for name in states}
    np.testing.assert_allclose(np.concatenate(parts), whole["y"], **BOUND)
    for name, state in states.items():
        np.testing.assert_allclose(state, whole[f"{name[0]}n"], **BOUND)


@each_precision
@each_layer
@given(data=st.data(), batch=st.integers(1, 9), time=st.integers(1, 12))
def test_two_threads_answer_as_one(op, direction, precision, data, batch, time):
    one, two = sessions(op, direction, precision)
    feeds = drawn(data, op, direction, batch, time)
    found = answer(two, feeds)
    for name, wanted in answer(one, feeds).items():
        np.testing.assert_allclose(found[name], wanted, **BOUND)


@each_precision
@each_layer
@given(data=st.data(), batch=st.integers(1, 6), time=st.integers(1, 9), more=st.integers(1, 9))
def test_padding_never_changes_an_answer(op, direction, precision, data, batch, time, more):
    session, _ = sessions(op, direction, precision)
    feeds = drawn(data, op, direction, batch, time)
    padding = np.full((more, batch, FEATURES), 1e4, np.float32)
    padded = answer(session, {**feeds, "x": np.concatenate([feeds["x"], padding])})
    plain = answer(session, feeds)
    np.testing.assert_allclose(padded["y"][:time], plain["y"], **BOUND)
    for name in set(plain) - {"y"}:
        np.testing.assert_allclose(padded[name], plain[name], **BOUND)
