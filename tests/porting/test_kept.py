"""States that modules keep in attributes and buffers: carried when streaming, else begun afresh."""

import copy

import onnx
import pytest
import torch
from exported_modules import (
    FEATURES,
    HIDDEN,
    Keeping,
    assert_close,
    first_states,
    open_file,
    run_file,
    tensors,
)
from torch import nn

from rnnport.errors import UnsupportedModelError
from rnnport.porting.export import export_module

X = tensors(3, 6, FEATURES)


class InBuffer(nn.Module):
    """Changes a registered buffer in place; counts its calls and keeps a picture, unread."""

    def __init__(self, batch=3):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, 2, batch_first=True)
        self.register_buffer("state", torch.zeros(2, batch, HIDDEN))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        y, state = self.rnn(x, self.state)
        self.state.copy_(state)
        self.picture = y.softmax(-1)
        return y


class Resetting(nn.Module):
    """Makes its tuple anew where the batch is another."""

    def __init__(self, batch=3):
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.reset(batch)

    def reset(self, batch):
        self.hidden = (torch.zeros(1, batch, HIDDEN), torch.zeros(1, batch, HIDDEN))

    def forward(self, x):
        if self.hidden[0].size(1) != x.size(0):
            self.reset(x.size(0))
        y, self.hidden = self.rnn(x, self.hidden)
        return y


class InDictionary(nn.Module):
    """One state a layer, in a dictionary, and the last two frames for a convolution."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(FEATURES, HIDDEN, 3)
        self.layers = nn.ModuleList([nn.GRU(HIDDEN, HIDDEN, batch_first=True) for _ in range(2)])
        self.frames = None
        self.states = {}

    def forward(self, x):
        x = x.transpose(1, 2)
        if self.frames is None:
            self.frames = x.new_zeros(x.size(0), FEATURES, 2)
        x = torch.cat([self.frames, x], 2)
        self.frames = x[:, :, -2:]
        x = self.convolution(x).transpose(1, 2)
        for i, layer in enumerate(self.layers):
            x, self.states[i] = layer(x, self.states.get(i))
        return x


class Smoothing(nn.Module):
    """Keeps what no recurrent layer takes: a running level, which begins at one."""

    def __init__(self, batch=3):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.level = torch.ones(batch, HIDDEN)
        self.hidden = None

    def forward(self, x):
        y, self.hidden = self.rnn(x, self.hidden)
        answers = y + self.level.unsqueeze(1)
        self.level = 0.5 * self.level + 0.5 * self.hidden[-1]
        return answers


class Transformed(nn.Module):
    """Where nothing is kept yet begins from zeros, which its own projection would not give."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.turn = nn.Linear(HIDDEN, HIDDEN)
        self.hidden = None

    def forward(self, x):
        zero = x.new_zeros(1, x.size(0), HIDDEN)
        y, self.hidden = self.rnn(x, zero if self.hidden is None else self.turn(self.hidden))
        return y


def calls_one_after_the_other(module, pieces):
    module = copy.deepcopy(module).eval()
    with torch.no_grad():
        return [module(piece) for piece in pieces]


MAKERS = {
    "attribute": (Keeping, ["rnn.h", "rnn.c"]),
    "buffer": (InBuffer, ["rnn.h"]),
    "tuple": (Resetting, ["rnn.h", "rnn.c"]),
    "dictionary": (InDictionary, ["frames", "layers.0.h", "layers.1.h"]),
}


@pytest.mark.parametrize(("make", "names"), MAKERS.values(), ids=MAKERS)
def test_a_streaming_file_goes_on_as_the_module_does(tmp_path, make, names):
    module = make()
    report = export_module(module, X, tmp_path / "m.onnx", stream=True)
    assert report.parity.ok
    assert [state.input for state in report.spec.states] == [f"state.{name}" for name in names]
    assert [state.output for state in report.spec.states] == [f"next.{name}" for name in names]
    assert all(state.shape[0] == "batch" for state in report.spec.states)
    session, states = open_file(tmp_path / "m.onnx"), first_states(report.spec, 3)
    pieces = [tensors(3, time, FEATURES, seed=time) for time in (5, 1, 7, 1)]
    for piece, expected in zip(pieces, calls_one_after_the_other(module, pieces), strict=True):
        found = run_file(session, x=piece, **states)
        states = {state.input: found[state.output] for state in report.spec.states}
        assert_close(found["output"], expected)


@pytest.mark.parametrize("make", [each[0] for each in MAKERS.values()], ids=MAKERS)
def test_a_whole_sequence_file_begins_afresh_for_any_batch(tmp_path, make):
    module = make()
    export_module(module, X, tmp_path / "m.onnx", verify=False)
    session = open_file(tmp_path / "m.onnx")
    x = tensors(5, 9, FEATURES)
    for rows in (slice(0, 3), slice(2, 5)):  # the buffer holds a batch of three
        expected = calls_one_after_the_other(module, [x[rows]])[0]
        assert_close(run_file(session, x)["output"][rows], expected)
        assert_close(run_file(session, x[rows])["output"], expected)
    used = [n for n in onnx.load(tmp_path / "m.onnx").graph.node if n.op_type in ("LSTM", "GRU")]
    assert all(len(node.input) < 6 or not node.input[5] for node in used)  # zeros are not written


def test_what_no_recurrent_layer_takes_is_carried_with_its_first_value(tmp_path):
    module = Smoothing()
    export_module(module, X, tmp_path / "whole.onnx", verify=False)
    x = tensors(3, 9, FEATURES)
    whole = run_file(open_file(tmp_path / "whole.onnx"), x)["output"]
    assert_close(whole, calls_one_after_the_other(module, [x])[0])
    report = export_module(module, X, tmp_path / "m.onnx", stream=True, verify=False)
    assert {s.input: s.initial for s in report.spec.states} == {
        "state.level": 1.0,
        "state.rnn.h": 0.0,
    }
    found = run_file(open_file(tmp_path / "m.onnx"), x=x, **first_states(report.spec, 3))
    assert_close(found["output"], whole)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("make", [InBuffer, InDictionary])
def test_the_module_holds_what_it_held(tmp_path, make, stream):
    module = make()
    before = copy.deepcopy(module)
    export_module(module, X, tmp_path / "m.onnx", stream=stream)
    assert module.__dict__.keys() == before.__dict__.keys()
    for name, buffer in before.named_buffers():
        assert torch.equal(dict(module.named_buffers())[name], buffer)
    if make is InDictionary:
        assert module.frames is None
        assert module.states == {}


def warm(module):
    module(X)
    return module


class Growing(Keeping):
    """Attends to everything that it has seen."""

    def __init__(self):
        super().__init__()
        self.seen = torch.zeros(3, 0, HIDDEN)

    def forward(self, x):
        y = super().forward(x)
        self.seen = torch.cat([self.seen, y], 1)
        return y + self.seen.mean(1, keepdim=True)


class Shared(Keeping):
    """Normalises by a mean of all rows."""

    def __init__(self):
        super().__init__()
        self.mean = torch.zeros(HIDDEN)

    def forward(self, x):
        y = super().forward(x)
        self.mean = 0.5 * self.mean + 0.5 * y.mean((0, 1))
        return y - self.mean


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Transformed, "the state 'hidden' does not begin at zero"),
        (lambda: warm(Resetting()), "'hidden' holds the state of an earlier call.*reset"),
        (Growing, "'seen' keeps a tensor whose size changes from call to call"),
        (Shared, r"'mean' keeps a state of \[16\] that all rows of a batch share"),
    ],
    ids=["transformed", "warm", "growing", "shared"],
)
def test_a_kept_state_that_cannot_stream(tmp_path, make, message):
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        export_module(make().eval(), X, tmp_path / "m.onnx", stream=True)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_begins_by_itself_is_no_trouble_without_streaming(tmp_path):
    module = Transformed()
    assert export_module(module, X, tmp_path / "m.onnx").parity.ok
