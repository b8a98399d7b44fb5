"""The int8 kernels equal a NumPy model of their arithmetic, to the last bit in integers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_layers import Layer, random_call, run

ONE = np.float32(1)


def safe_range(weights):
    """The largest 16-bit activation with which no sum of a row leaves 32 bits."""
    return min(32767, (2**31 - 1) // int(np.abs(weights.astype(np.int64)).sum(-1).max()))


def fixed_point(values, bound, *, state):
    """Whole numbers of at most ``bound`` for each row, and what one unit of them is."""
    largest = np.abs(values).max(-1, keepdims=True)
    largest = np.maximum(largest, ONE) if state else largest
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        whole = np.rint(values * (np.float32(bound) / largest))
    small = largest < np.float32(1e-30)
    return np.where(small, 0, whole).astype(np.int64), np.where(
        small, np.float32(0), largest / np.float32(bound)
    )


def products(values, weights, scale, *, state):
    """values [batch, depth] times weights [rows, depth], in float32 once the sums are made."""
    whole, unit = fixed_point(values, safe_range(weights), state=state)
    sums = whole @ weights.astype(np.int64).T
    assert np.abs(sums).max(initial=0) < 2**31
    return sums.astype(np.float32) * (scale[:, 0] * unit)


def relu_rnn(layer, feeds):
    """A relu RNN: after the integer sums only float32 products, sums and max are left."""
    stored = {name: array[0] for name, array in layer.stored().items()}
    bias = np.add(*np.split(stored["B"], 2)) if layer.bias else np.zeros(layer.hidden, np.float32)
    h, answers = feeds["initial_h"][0], []
    for x in feeds["X"]:
        projected = products(x, stored["W"], stored["W_scale"], state=False) + bias
        recurrent = products(h, stored["R"], stored["R_scale"], state=True)
        h = np.maximum(projected + recurrent, np.float32(0))
        answers.append(h)
    return np.stack(answers)


@given(
    hidden=st.sampled_from([1, 2, 3, 7, 16, 31, 64, 100, 257]),
    features=st.sampled_from([1, 2, 3, 7, 16, 31, 64, 100, 257]),
    batch=st.integers(1, 33),
    time=st.integers(1, 12),
    size=st.sampled_from([0.5, 1, 7]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_relu_rnn_equals_the_model_to_the_last_bit(
    hidden, features, batch, time, size, bias, seed
):
    layer = Layer("RNN", input=features, hidden=hidden, activation="Relu", bias=bias, seed=seed)
    feeds = random_call(layer, time, batch, states=True, size=size, seed=seed)
    feeds["X"][:, 0] *= 1e-5  # a small row keeps its own scale
    assert (run(layer, feeds)["Y"][:, 0] == relu_rnn(layer, feeds)).all()


class Extreme(Layer):
    """A layer whose weights are the largest that int8 has."""

    def stored(self):
        stored = super().stored()
        for role in ("W", "R"):
            stored[role] = np.full_like(stored[role], 127)
        return stored


@pytest.mark.parametrize("hidden", [600, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_largest_weights_and_activations_stay_within_32_bits(hidden):
    layer = Extreme("RNN", input=hidden, hidden=hidden, activation="Relu")
    feeds = random_call(layer, 2, 3, states=True)
    feeds["X"][:] = np.sign(feeds["X"][:, :1])
    feeds["initial_h"][:] = 1
    assert (run(layer, feeds)["Y"][:, 0] == relu_rnn(layer, feeds)).all()


def steps_of_lstm(layer, feeds):
    """An LSTM whose sums are the model's, and whose activations are NumPy's in float64."""
    stored = {name: array[0] for name, array in layer.stored().items()}
    bias = np.add(*np.split(stored["B"], 2))
    h, c = feeds["initial_h"][0], feeds["initial_c"][0].astype(np.float64)
    for x in feeds["X"]:
        total = products(x, stored["W"], stored["W_scale"], state=False) + bias
        total = total + products(h, stored["R"], stored["R_scale"], state=True)
        i, o, f, g = np.split(total.astype(np.float64), 4, axis=-1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = (np.tanh(c) / (1 + np.exp(-o))).astype(np.float32)
        yield h


def test_an_lstm_step_is_the_model_but_for_the_rounding_of_its_activations():
    layer = replace(Layer(), input=40, hidden=50)
    feeds = random_call(layer, 1, 9, states=True, size=2)
    (wanted,) = steps_of_lstm(layer, feeds)
    np.testing.assert_allclose(run(layer, feeds)["Y"][0, 0], wanted, 0, 3e-7)
