"""The networks: scaling inside, padding without effect, the same answer whole and at every step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnport.spec import ModelSpec, SeriesSpec, TensorSpec
from rnnport.training.model import RawUnits, build_network, set_scaling
from rnnport.training.recipe import Model
from rnnport.training.scaling import Scaling

X = TensorSpec("x", "float32", ("batch", "time", 3))
CLASSIFIER = ModelSpec(inputs=(X,), outputs=(), task="classify", classes=("a", "b", "c", "d"))
SERIES = SeriesSpec(columns=("p", "q", "r"), targets=("p", "r"), lookback=6, horizon=5)
FORECASTER = ModelSpec(inputs=(X,), outputs=(), task="forecast", series=SERIES)
MODELS = [
    Model(cell=cell, layers=layers, hidden=7, bidirectional=bidirectional)
    for cell in ("lstm", "gru", "rnn")
    for layers in (1, 2)
    for bidirectional in (False, True)
]


def both(model, spec):
    torch.manual_seed(0)
    whole = build_network(model, spec).eval()
    stepwise = build_network(model, spec, every_step=True).eval()
    stepwise.load_state_dict(whole.state_dict())
    return whole, stepwise


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize(("spec", "shape"), [(CLASSIFIER, (4,)), (FORECASTER, (5, 2))])
def test_answers_have_the_promised_shapes(model, spec, shape):
    whole, stepwise = both(model, spec)
    x = torch.randn(2, 6, 3)
    assert whole(x).shape == (2, *shape)
    assert stepwise(x).shape == (2, 6, *shape)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_last_step_answers_as_the_whole_sequence_does(cell):
    whole, stepwise = both(Model(cell=cell, layers=2, hidden=7), CLASSIFIER)
    x = torch.randn(3, 9, 3)
    torch.testing.assert_close(stepwise(x)[:, -1], whole(x))
    torch.testing.assert_close(stepwise(x)[:, 3], whole(x[:, :4]))


@pytest.mark.parametrize("model", MODELS, ids=str)
@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_a_padded_row_answers_as_it_does_alone(model, lengths, seed):
    whole, stepwise = both(model, CLASSIFIER)
    x = torch.randn(len(lengths), 10, 3, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        answers = whole(x, torch.tensor(lengths))
        at_steps = stepwise(x, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = x[row : row + 1, :length]
            torch.testing.assert_close(answers[row : row + 1], whole(alone))
            torch.testing.assert_close(at_steps[row : row + 1, :length], stepwise(alone))


def test_probabilities_add_up_to_one():
    whole, _ = both(Model(hidden=7), CLASSIFIER)
    torch.testing.assert_close(whole(torch.randn(4, 5, 3)).sum(-1), torch.ones(4))


def test_raw_values_are_scaled_inside():
    plain, _ = both(Model(hidden=7), CLASSIFIER)
    scaled, _ = both(Model(hidden=7), CLASSIFIER)
    set_scaling(scaled, Scaling((1.0, 2.0, 3.0), (2.0, 4.0, 8.0)), None)
    x = torch.randn(2, 5, 3)
    raw = x * torch.tensor([2.0, 4.0, 8.0]) + torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(scaled(raw), plain(x))


def test_a_forecast_is_in_raw_units():
    network, _ = both(Model(hidden=7), FORECASTER)
    x = torch.randn(2, 6, 3)
    before = network(x)
    set_scaling(network, Scaling((0.0,) * 3, (1.0,) * 3), Scaling((100.0, -3.0), (10.0, 0.5)))
    after = network(x)
    expected = before * torch.tensor([10.0, 0.5]) + torch.tensor([100.0, -3.0])
    torch.testing.assert_close(after, expected)


def test_raw_units_and_scores_are_inverse():
    units = RawUnits(5, 2)
    units.mean.copy_(torch.tensor([100.0, -3.0]))
    units.std.copy_(torch.tensor([10.0, 0.5]))
    values = torch.randn(4, 5, 2)
    torch.testing.assert_close(units(units.scores(values)), values, atol=1e-4, rtol=0)


def test_dropout_acts_after_the_last_layer_too():
    network = build_network(Model(layers=1, hidden=7, dropout=0.5), CLASSIFIER).train()
    x = torch.randn(2, 5, 3)
    assert not torch.equal(network(x), network(x))
    assert network.recurrent.dropout == 0.0  # one layer has none between layers


def test_mnist_lstm_has_the_weights_of_three_layers_of_fifty():
    x = TensorSpec("x", "float32", ("batch", "time", 28))
    spec = ModelSpec(inputs=(x,), outputs=(), task="classify", classes=tuple("0123456789"))
    network = build_network(Model(cell="lstm", layers=3, hidden=50, dropout=0.2), spec)
    layers = 4 * 50 * (28 + 50 + 2) + 2 * 4 * 50 * (50 + 50 + 2)
    assert sum(weight.numel() for weight in network.parameters()) == layers + 50 * 10 + 10


@pytest.mark.parametrize("lengths", [None, torch.full((40,), 50)])
def test_noise_is_of_the_scaled_inputs_and_only_while_it_learns(lengths):
    network = build_network(Model(cell="gru", hidden=5, noise=0.3), CLASSIFIER)
    set_scaling(network, Scaling((5.0, -3.0, 0.0), (2.0, 0.5, 100.0)), None)
    x = torch.tensor([5.0, -3.0, 0.0]).expand(40, 50, 3)  # zeros once they are scaled
    seen = []
    network.recurrent.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network.train()(x, lengths)
        network(x, lengths)
        network.eval()(x, lengths)
    once, again, not_learning = (part if lengths is None else part.data for part in seen)
    assert not_learning.abs().max() == 0
    assert not torch.equal(once, again)
    spread = once.reshape(-1, 3).std(0)  # of 2,000 draws for each feature
    assert spread.tolist() == pytest.approx([0.3, 0.3, 0.3], rel=0.1)
