"""Modules that are one step of a recurrence: a policy takes an observation and its state."""

import numpy as np
import pytest
import torch
from exported_modules import assert_close, open_file, run_file, tensors
from torch import nn
from typer.testing import CliRunner

import rnnport
from rnnport.cli.main import app
from rnnport.errors import RequestError, UnsupportedModelError
from rnnport.graph.annotate import annotate_file

SEEN, HIDDEN, ACTIONS = 4, 16, 2
STEPS = 40


class Policy(nn.Module):
    """A cell of torch's, called once a call; the author's own states go in and come out."""

    def __init__(self, cell=nn.LSTMCell, **settings):
        super().__init__()
        self.eye = nn.Linear(SEEN, 8)
        self.cell = cell(8, HIDDEN, **settings)
        self.hand = nn.Linear(HIDDEN, ACTIONS)

    def forward(self, observation, state):
        state = self.cell(torch.relu(self.eye(observation)), state)
        h = state[0] if isinstance(state, tuple) else state
        return torch.tanh(self.hand(h)), state


class Keeping(Policy):
    """Keeps its state in an attribute."""

    def __init__(self, cell=nn.LSTMCell):
        super().__init__(cell)
        self.state = None

    def forward(self, observation):
        action, self.state = super().forward(observation, self.state)
        return action


class OneRow(Policy):
    """Keeps its state in a buffer that begins as one row for all."""

    def __init__(self):
        super().__init__(nn.GRUCell)
        self.register_buffer("state", tensors(1, HIDDEN, seed=3))

    def forward(self, observation):
        rows = self.state.expand(observation.size(0), HIDDEN)
        action, self.state = super().forward(observation, rows)
        return action


class Layered(nn.Module):
    """An LSTM over a time of one step, made by unsqueeze."""

    def __init__(self, batch_first=True):
        super().__init__()
        self.axis = 1 if batch_first else 0
        self.rnn = nn.LSTM(SEEN, HIDDEN, 2, batch_first=batch_first)
        self.hand = nn.Linear(HIDDEN, ACTIONS)

    def forward(self, observation, state):
        y, state = self.rnn(observation.unsqueeze(self.axis), state)
        return self.hand(y.squeeze(self.axis)), state


class OwnCell(nn.Module):
    """A cell written by its user: nothing of torch's is recurrent here."""

    def __init__(self):
        super().__init__()
        self.gates = nn.Linear(SEEN + HIDDEN, 2 * HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)

    def forward(self, observation, h):
        update, new = self.gates(torch.cat([observation, h], -1)).chunk(2, -1)
        h = self.norm(torch.lerp(h, torch.tanh(new), torch.sigmoid(update)))
        return {"action": h[:, :ACTIONS], "h": h}


class Masked(Policy):
    """Begins anew where an episode is over, so that the cell takes no input as it is."""

    def forward(self, observation, done, h, c):
        left = (~done).unsqueeze(-1)
        action, (h, c) = super().forward(observation, (h * left, c * left))
        return action, h, c


def states(batch, count=2, layers=None):
    shape = (batch, HIDDEN) if layers is None else (layers, batch, HIDDEN)
    return tuple(tensors(*shape, seed=i + 1) for i in range(count))


def told(count):
    return {f"state_{i}": f"output_1_{i}" for i in range(count)}


CELLS = [(nn.LSTMCell, {}), (nn.GRUCell, {}), (nn.RNNCell, {"nonlinearity": "relu", "bias": False})]


@pytest.mark.parametrize(("cell", "settings"), CELLS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_cell_is_one_node_and_its_states_are_the_author_s(tmp_path, cell, settings, batch):
    module = Policy(cell, **settings)
    state = states(batch) if cell is nn.LSTMCell else states(batch)[0]
    path = tmp_path / "m.onnx"
    report = rnnport.export(module, (tensors(batch, SEEN), state), path)
    assert report.nodes[cell.__name__.removesuffix("Cell")] == 1
    assert all("time" not in tensor.shape for tensor in report.spec.inputs)
    session = open_file(path)
    for rows in (1, 2, 7, 64):
        x = tensors(rows, SEEN, seed=9)
        state = states(rows) if cell is nn.LSTMCell else states(rows)[0]
        flat = state if isinstance(state, tuple) else (state,)
        found = list(run_file(session, x, *flat).values())
        action, after = module(x, state)
        after = after if isinstance(after, tuple) else (after,)
        for one, other in zip(found, (action, *after), strict=True):
            assert_close(one, other)


def follow(module, path, x, state):
    """The actions of a stream, and those of the module, step by step."""
    stream = rnnport.load(path).stream(batch=x.shape[1])
    found, expected = [], []
    for step in x:
        answer = stream.push(step.numpy())
        found.append(next(iter(answer.values())) if isinstance(answer, dict) else answer)
        with torch.no_grad():
            action, state = module(step, state)
        expected.append(action.numpy())
    return np.stack(found), np.stack(expected)


def zeros(batch, layers=None):
    return tuple(torch.zeros_like(each) for each in states(batch, layers=layers))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("module", "layers"), [(Policy(), None), (Layered(), 2), (Layered(batch_first=False), 2)]
)
def test_states_that_are_named_stream(tmp_path, module, layers, batch):
    path = tmp_path / "m.onnx"
    example = (tensors(batch, SEEN), states(batch, layers=layers))
    report = rnnport.export(module, example, path, states=told(2))
    assert report.parity.ok
    assert [state.input for state in report.spec.states] == ["state_0", "state_1"]
    x = tensors(STEPS, 5, SEEN, seed=2)
    np.testing.assert_allclose(*follow(module, path, x, zeros(5, layers)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("module", "layers"), [(Policy(), None), (Layered(), 2)])
def test_states_that_are_lifted_stream(tmp_path, module, layers):
    path = tmp_path / "m.onnx"
    rnnport.export(module, (tensors(3, SEEN), states(3, layers=layers)), path, stream=True)
    x = tensors(STEPS, 5, SEEN, seed=2)
    np.testing.assert_allclose(*follow(module, path, x, zeros(5, layers)), rtol=1e-5, atol=1e-5)


def test_a_file_whose_states_are_not_named_streams_once_it_is_annotated(tmp_path):
    module, path, streams = Policy(), tmp_path / "m.onnx", tmp_path / "s.onnx"
    rnnport.export(module, (tensors(3, SEEN), states(3)), path)
    assert not rnnport.load(path).spec.streaming
    annotate_file(path, streams, told(2))
    x = tensors(STEPS, 5, SEEN, seed=2)
    np.testing.assert_allclose(*follow(module, streams, x, zeros(5)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("module", [Keeping(), Keeping(nn.GRUCell), OneRow()])
def test_a_state_in_an_attribute_streams(tmp_path, module):
    path = tmp_path / "m.onnx"
    report = rnnport.export(module, tensors(3, SEEN), path, stream=True)
    assert report.spec.states[0].input == "state.cell.h"
    stream = rnnport.load(path).stream(batch=4)
    for step in tensors(STEPS, 4, SEEN, seed=2):
        with torch.no_grad():
            np.testing.assert_allclose(stream.push(step.numpy()), module(step), 1e-5, 1e-5)


def test_a_cell_without_a_state_begins_at_zero_and_streams(tmp_path):
    class Forgetful(Policy):
        def forward(self, observation):
            return super().forward(observation, None)[0]

    report = rnnport.export(Forgetful(), tensors(3, SEEN), tmp_path / "m.onnx", stream=True)
    assert [state.shape for state in report.spec.states] == [("batch", HIDDEN)] * 2


def test_a_user_s_own_cell_is_carried_once_its_state_is_named(tmp_path):
    module, path = OwnCell(), tmp_path / "m.onnx"
    example = (tensors(3, SEEN), states(3)[0])
    with pytest.raises(UnsupportedModelError, match=r"states=\{'h': 'h_out'\}"):
        rnnport.export(module, example, path)
    assert not path.exists()
    rnnport.export(module, example, path, states={"h": "h_out"})
    stream, h = rnnport.load(path).stream(batch=2), torch.zeros(2, HIDDEN)
    for step in tensors(STEPS, 2, SEEN, seed=2):
        with torch.no_grad():
            expected = module(step, h)
        h = expected["h"]
        np.testing.assert_allclose(stream.push(step.numpy()), expected["action"], 1e-5, 1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_state_that_forward_clears_is_the_author_s(tmp_path, batch):
    example = (tensors(batch, SEEN), torch.zeros(batch, dtype=torch.bool), *states(batch))
    pairs = {"h": "output_1", "c": "output_2"}
    report = rnnport.export(Masked(), example, tmp_path / "m.onnx", states=pairs)
    assert report.parity.ok
    assert [state.shape for state in report.spec.states] == [("batch", HIDDEN)] * 2


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"h": "output_1"}, "no input 'h'; there are observation, state_0, state_1"),
        ({"state_0": "h"}, "no output 'h'; there are output_0, output_1_0, output_1_1"),
        ({"state_0": "output_0"}, "is no successor of 'state_0'"),
        ({"state_0": "output_1_0", "state_1": "output_1_0"}, "two of them have one output"),
    ],
)
def test_states_that_do_not_fit_are_refused(tmp_path, pairs, message):
    with pytest.raises(RequestError, match=message):
        rnnport.export(Policy(), (tensors(3, SEEN), states(3)), tmp_path / "m.onnx", states=pairs)
    assert list(tmp_path.iterdir()) == []


SOURCE = """
import torch
from torch import nn

class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 16)

    def forward(self, observation, h):
        return {"h": self.cell(observation, h)}
"""


def test_the_command_takes_the_states_of_a_policy(tmp_path):
    (tmp_path / "policy.py").write_text(SOURCE)
    path = tmp_path / "m.onnx"
    arguments = [f"{tmp_path / 'policy.py'}:Policy", "-o", str(path), "--state", "h=h_out"]
    inputs = ["--input", "observation=float32[batch,4]", "--input", "h=float32[batch,16]"]
    done = CliRunner().invoke(app, ["export", *arguments, *inputs])
    assert done.exit_code == 0, done.stderr
    assert "state    h → h_out [batch, 16]" in done.stdout
    shown = CliRunner().invoke(app, ["inspect", str(path)])
    assert shown.exit_code == 0
    assert "h_out" in shown.stdout
    again = CliRunner().invoke(app, ["verify", str(path), "--against", str(path)])
    assert again.exit_code == 0
