"""The kernels against ONNX's equations in float64: every cell, size, direction, state."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_layers import expected, kinds, model_of, name_of, random_call, run, session_of

SIZES = (1, 2, 3, 7, 16, 31, 64, 100, 257)
BOUND = {"fp32": 2e-6, "bf16": 2e-6, "int8": 3e-4}  # with the stored weights as they are
ALL = [kind for precision in BOUND for kind in kinds(precision)]
EVERY = pytest.mark.parametrize("kind", ALL, ids=name_of)


def assert_right(layer, feeds):
    answers, wanted = run(layer, feeds), expected(layer, feeds)
    for name, values in wanted.items():
        assert answers[name].shape == values.shape
        largest = max(1, np.abs(values).max(initial=0))  # relu has no bound
        bound = BOUND[layer.precision] * largest
        np.testing.assert_allclose(answers[name], values, 0, bound, err_msg=name)


@EVERY
@pytest.mark.parametrize("hidden", SIZES)
def test_every_hidden_size(kind, hidden):
    layer = replace(kind, hidden=hidden, input=5)
    assert_right(layer, random_call(layer, time=3, batch=2, states=True))


@EVERY
@pytest.mark.parametrize("features", SIZES)
def test_every_input_size(kind, features):
    layer = replace(kind, input=features)
    assert_right(layer, random_call(layer, time=3, batch=2))


@EVERY
@pytest.mark.slow
def test_a_large_layer(kind):
    layer = replace(kind, hidden=1024, input=1024)
    assert_right(layer, random_call(layer, time=2, batch=1))


@given(
    kind=st.sampled_from(ALL),
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
def test_a_state_larger_than_one(kind):
    layer = replace(kind, hidden=20, direction="bidirectional")
    feeds = random_call(layer, time=9, batch=5, lengths=True, states=True, size=4)
    assert np.abs(feeds["initial_h"]).max() > 3
    answers, wanted = run(layer, feeds), expected(layer, feeds)
    bound = 5 * BOUND[layer.precision]
    np.testing.assert_allclose(answers["Y"], wanted["Y"], 0, bound)


@EVERY
@pytest.mark.slow
def test_a_thousand_steps(kind):
    layer = replace(kind, hidden=64, input=16)
    assert_right(layer, random_call(layer, time=1000, batch=1))


@EVERY
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_length_0_and_time_0_give_the_initial_state(kind, direction):
    layer = replace(kind, direction=direction)
    feeds = random_call(layer, time=3, batch=2, lengths=True, states=True)
    feeds["sequence_lens"][:] = [0, 2]
    answers = run(layer, feeds)
    assert (answers["Y_h"][:, 0] == feeds["initial_h"][:, 0]).all()
    assert (answers["Y"][:, :, 0] == 0).all()
    none = {**feeds, "X": feeds["X"][:0], "sequence_lens": np.zeros(2, np.int32)}
    answers = run(layer, none)
    assert answers["Y"].shape == (0, layer.directions, 2, layer.hidden)
    for name, state in {"Y_h": "initial_h", "Y_c": "initial_c"}.items():
        if state in feeds:
            assert (answers[name] == feeds[state]).all()


def body_and_kernel(layer, feeds):
    model = model_of(layer, tuple(feeds))
    return [session_of(model, native=native).run(None, feeds) for native in (False, True)]


@pytest.mark.parametrize("kind", [k for k in ALL if k.precision != "fp32"], ids=name_of)
def test_the_kernel_answers_what_the_body_does(kind):
    layer = replace(kind, hidden=48, input=10, direction="bidirectional")
    feeds = random_call(layer, time=40, batch=3, states=True)
    body, kernel = body_and_kernel(layer, feeds)
    for one, other in zip(body, kernel, strict=True):
        np.testing.assert_allclose(other, one, 0, 1e-3 if layer.precision == "int8" else 1e-5)


@pytest.mark.parametrize("kind", kinds("int8"), ids=name_of)
@pytest.mark.slow
def test_int8_keeps_to_the_body_over_a_thousand_steps(kind):
    layer = replace(kind, hidden=128, input=128)
    body, kernel = body_and_kernel(layer, random_call(layer, time=1000, batch=2))
    for one, other in zip(body, kernel, strict=True):
        np.testing.assert_allclose(other, one, 0, 1e-3)


@EVERY
def test_the_session_runs_the_call_and_not_the_body(kind):
    session = session_of(model_of(kind, body=False))  # without a body nothing else could
    assert session.run(None, random_call(kind, 2, 1))[0].shape == (2, 1, 1, kind.hidden)
