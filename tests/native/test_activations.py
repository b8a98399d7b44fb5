"""sigmoid and tanh of the kernels, to a few units in the last place, over all of float32."""

import numpy as np
import pytest
from native_layers import Layer, model_of, session_of

SWEEP = np.concatenate(
    [
        np.linspace(-20, 20, 20001),
        np.geomspace(1e-38, 100, 4000),
        -np.geomspace(1e-38, 100, 4000),
        [0, 1e30, -1e30],
    ]
).astype(np.float32)


class Bare(Layer):
    """One hidden unit whose gates are given their weights of x; nothing recurs."""

    gates = (1,)

    def weights(self):
        W = np.array(self.gates, np.float32).reshape(1, -1, 1)
        return {"W": W, "R": np.zeros((1, len(self.gates), 1), np.float32)}


def answers(layer, **states):
    """What the layer makes of every number of the sweep, one step each."""
    x = SWEEP.reshape(1, -1, 1)
    feeds = {"X": x, **{name: np.full_like(x, size) for name, size in states.items()}}
    return [each.ravel() for each in session_of(model_of(layer, tuple(feeds))).run(None, feeds)]


def test_tanh_is_right_to_a_few_units_in_the_last_place():
    layer = Bare("RNN", "fp32", input=1, hidden=1, bias=False)
    y = answers(layer)[0]
    wanted = np.tanh(SWEEP.astype(np.float64))
    np.testing.assert_allclose(y, wanted, 4e-7, 1e-45)
    assert np.abs(y).max() == 1


def test_sigmoid_is_right_to_a_few_units_in_the_last_place():
    layer = Bare("LSTM", "fp32", input=1, hidden=1, bias=False)
    object.__setattr__(layer, "gates", (0, 0, 1, 0))  # the forget gate alone
    c = answers(layer, initial_h=0, initial_c=1)[2]
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(-SWEEP.astype(np.float64)))
    np.testing.assert_allclose(c, wanted, 4e-7, 1e-37)


@pytest.mark.parametrize(("x", "wanted"), [(np.inf, 1), (-np.inf, -1), (np.nan, np.nan)])
def test_the_ends_of_tanh(x, wanted):
    layer = Bare("RNN", "fp32", input=1, hidden=1, bias=False)
    feeds = {"X": np.full((1, 1, 1), x, np.float32)}
    (y, _) = session_of(model_of(layer)).run(None, feeds)
    np.testing.assert_equal(y.ravel()[0], np.float32(wanted))
