"""PyTorch as an engine: its own kernels, with the states that are given, in two precisions."""

import numpy as np
import pytest
import torch
from exported_modules import FEATURES, HIDDEN, Layers, Learned, Tags, tensors
from torch import nn

from rnnport.errors import RequestError
from rnnport.porting.oracle import TorchEngine
from rnnport.spec import ModelSpec, StateSpec, TensorSpec

X = TensorSpec("x", "float32", ("batch", "time", FEATURES), 0, 1)
Y = TensorSpec("y", "float32", ("batch", "time", 3), 0, 1)
LENGTHS = TensorSpec("lengths", "int64", ("batch",), 0)


def spec(*letters, lengths=False):
    states = tuple(
        StateSpec(f"state.rnn.{k}", f"next.rnn.{k}", "float32", ("batch", 2, HIDDEN))
        for k in letters
    )
    inputs = (X, *([LENGTHS] if lengths else []))
    inputs += tuple(TensorSpec(s.input, s.dtype, s.shape, 0) for s in states)
    return ModelSpec(inputs, (Y,), states, lengths="lengths" if lengths else None)


def test_states_are_taken_and_given_batch_first():
    module = Layers(nn.LSTM, num_layers=2, batch_first=True).eval()
    engine = TorchEngine(module, spec("h", "c"), stream=True)
    x, h, c = (tensors(4, *s, seed=i) for i, s in enumerate([(5, 8), (2, 16), (2, 16)]))
    found = engine.run({"x": x.numpy(), "state.rnn.h": h.numpy(), "state.rnn.c": c.numpy()})
    with torch.no_grad():
        y, (h, c) = module.rnn(x, (h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous()))
        np.testing.assert_array_equal(found["y"], module.head(y))
    np.testing.assert_array_equal(found["next.rnn.h"], h.transpose(0, 1))
    np.testing.assert_array_equal(found["next.rnn.c"], c.transpose(0, 1))


def test_packed_rows_keep_their_own_states():
    module = Tags(nn.GRU).eval()
    engine = TorchEngine(module, spec("h", lengths=True), stream=True)
    lengths = [2, 5, 1, 5]
    x, h = tensors(4, 5, FEATURES), tensors(4, 2, HIDDEN, seed=1)
    found = engine.run({"x": x.numpy(), "lengths": np.array(lengths), "state.rnn.h": h.numpy()})
    for row, length in enumerate(lengths):
        with torch.no_grad():
            _, expected = module.rnn(x[row : row + 1, :length], h[row][:, None].contiguous())
        np.testing.assert_allclose(found["next.rnn.h"][row], expected[:, 0], atol=1e-6)


def test_double_precision_is_double_all_the_way():
    module = Learned().eval()
    single = TorchEngine(module, spec(), stream=False).run({"x": tensors(2, 9, FEATURES).numpy()})
    engine = TorchEngine(module, spec(), stream=False, dtype=torch.float64)
    double = engine.run({"x": tensors(2, 9, FEATURES).numpy()})["y"]
    assert double.dtype == np.float64
    with torch.no_grad():
        expected = Learned().double()
        expected.load_state_dict({k: v.double() for k, v in module.state_dict().items()})
        np.testing.assert_allclose(double, expected(tensors(2, 9, FEATURES).double()), atol=1e-14)
    assert 0 < np.abs(single["y"] - double).max() < 1e-6
    assert next(module.parameters()).dtype == torch.float32


def test_a_missing_feed_is_named():
    engine = TorchEngine(Layers(nn.GRU, batch_first=True), spec("h"), stream=True)
    with pytest.raises(RequestError, match=r"the input 'state\.rnn\.h' is missing"):
        engine.run({"x": np.zeros((1, 1, FEATURES), np.float32)})


def test_a_module_without_such_a_parameter_is_refused():
    with pytest.raises(RequestError, match="forward has no parameter x"):
        TorchEngine(nn.GRU(FEATURES, HIDDEN), spec(), stream=False)
