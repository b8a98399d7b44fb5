"""``Recurrent`` runs any cell as torch runs its own layers, trains, and exports as one Scan."""

import itertools
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from exported_modules import assert_close, in_pieces, open_file, run_file, tensors
from recurrent_cells import (
    FEATURES,
    HIDDEN,
    Attending,
    LayerNormLSTMCell,
    Looped,
    TextToFrames,
)
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnport
from rnnport.errors import UnsupportedModelError

X = tensors(3, 6, FEATURES)
LENGTHS = torch.tensor([4, 6, 2])
PAIRS = [(nn.LSTMCell, nn.LSTM), (nn.GRUCell, nn.GRU), (nn.RNNCell, nn.RNN)]
pairs = pytest.mark.parametrize(("cell", "layer"), PAIRS)


def twins(cell, layer):
    """A cell in the wrapper, and torch's layer with the same weights."""
    cell, layer = cell(FEATURES, HIDDEN), layer(FEATURES, HIDDEN, batch_first=True)
    for name, value in cell.named_parameters():
        getattr(layer, f"{name}_l0").data.copy_(value.data)
    return cell, layer


def leaves(state):
    return list(state) if isinstance(state, tuple) else [state]


def sizes():
    """Batch and time of the grid."""
    return itertools.product((1, 2, 7), (1, 2, 6, 18))


@pairs
def test_a_cell_answers_as_torch_s_layer(cell, layer):
    cell, layer = twins(cell, layer)
    state = [tensors(1, 3, HIDDEN, seed=i) for i in range(2 if layer.mode == "LSTM" else 1)]
    given = tuple(state) if len(state) == 2 else state[0]
    begun = tuple(each[0] for each in state) if len(state) == 2 else state[0][0]
    for theirs, ours in ((None, None), (given, begun)):
        expected, final = layer(X, theirs)
        y, last = rnnport.Recurrent(cell)(X, ours)
        torch.testing.assert_close(y, expected)
        for mine, its in zip(leaves(last), leaves(final), strict=True):
            torch.testing.assert_close(mine, its[0])


@pairs
def test_lengths_are_those_of_a_packed_layer_in_both_directions(cell, layer):
    cell, layer = twins(cell, layer)
    packed = pack_padded_sequence(X, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, final = layer(packed)
    y, last = rnnport.Recurrent(cell)(X, lengths=LENGTHS)
    torch.testing.assert_close(y, pad_packed_sequence(expected, batch_first=True)[0])
    for mine, its in zip(leaves(last), leaves(final), strict=True):
        torch.testing.assert_close(mine, its[0])
    backward, _ = rnnport.Recurrent(cell)(X, lengths=LENGTHS, reverse=True)
    for row, length in enumerate(LENGTHS):
        own = layer(X[row : row + 1, :length].flip(1))[0].flip(1)
        torch.testing.assert_close(backward[row, :length], own[0])
        assert not backward[row, length:].any()


@pairs
def test_it_trains_as_torch_s_layer(cell, layer):
    cell, layer = twins(cell, layer)
    loop = rnnport.Recurrent(cell)
    layer(X)[0].square().sum().backward()
    loop(X)[0].square().sum().backward()
    for name, value in loop.cell.named_parameters():
        torch.testing.assert_close(value.grad, getattr(layer, f"{name}_l0").grad)


@pairs
@pytest.mark.parametrize("reverse", [False, True])
def test_the_file_has_one_scan_that_answers_at_every_size(tmp_path, cell, layer, reverse):
    module = Looped(cell(FEATURES, HIDDEN), reverse=reverse).eval()
    report = rnnport.export(module, (X, LENGTHS), tmp_path / "m.onnx")
    assert report.nodes["Scan"] == 1
    assert "Loop" not in report.nodes
    session = open_file(tmp_path / "m.onnx")
    for batch, time in sizes():
        x = tensors(batch, time, FEATURES, seed=time)
        lengths = torch.randint(1, time + 1, (batch,), generator=torch.Generator().manual_seed(7))
        found = run_file(session, x=x, lengths=lengths)
        with torch.no_grad():
            y, last = module(x, lengths)
        for actual, expected in zip(found.values(), [y, *leaves(last)], strict=True):
            assert_close(actual, expected)


def test_states_that_are_given_are_inputs_of_the_file(tmp_path):
    module = Looped(LayerNormLSTMCell()).eval()
    given = (tensors(3, HIDDEN), tensors(3, HIDDEN, seed=1))
    report = rnnport.export(module, {"x": X, "state": given}, tmp_path / "m.onnx")
    assert [each.name for each in report.spec.inputs] == ["x", "state_0", "state_1"]
    session = open_file(tmp_path / "m.onnx")
    for batch, time in sizes():
        x = tensors(batch, time, FEATURES, seed=time)
        state = tuple(tensors(batch, HIDDEN, seed=i) for i in (3, 4))
        with torch.no_grad():
            y, last = module(x, state=state)
        found = run_file(session, x=x, state_0=state[0], state_1=state[1])
        for actual, expected in zip(found.values(), [y, *last], strict=True):
            assert_close(actual, expected)


@pytest.mark.parametrize("cell", [LayerNormLSTMCell, lambda: nn.GRUCell(FEATURES, HIDDEN)])
def test_a_streamed_cell_gives_its_state(tmp_path, cell):
    module = Looped(cell()).eval()
    report = rnnport.export(module, (X,), tmp_path / "m.onnx", stream=True)
    names = [state.input for state in report.spec.states]
    assert names == ["state.loop.h", "state.loop.c"][: len(names)]
    assert all(state.shape == ("batch", HIDDEN) for state in report.spec.states)
    x = tensors(2, 48, FEATURES)
    with torch.no_grad():
        expected, last = module(x)
    for pieces in ([48], [1, 7, 40], [1] * 48):
        found, states = in_pieces(open_file(tmp_path / "m.onnx"), report.spec, x.numpy(), pieces)
        assert_close(found, expected)
        assert_close(states["state.loop.h"], leaves(last)[0])


def test_a_module_with_two_names_streams_under_the_first(tmp_path):
    class Twofold(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(FEATURES, HIDDEN)
            self.loop = rnnport.Recurrent(self.cell)
            self.rnn = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
            self.alias = self.rnn

        def forward(self, x):
            return self.alias(self.loop(x)[0])[0]

    report = rnnport.export(Twofold().eval(), (X,), tmp_path / "m.onnx", stream=True)
    assert report.parity.ok
    assert [each.input for each in report.spec.states] == ["state.rnn.h", "state.loop.h"]


def test_a_learned_first_state_streams_as_the_file_s_initial_state(tmp_path):
    class Learned(nn.GRUCell):
        def __init__(self):
            super().__init__(FEATURES, HIDDEN)
            self.first = nn.Parameter(tensors(HIDDEN))

        def initial_state(self, x):
            return self.first.expand(x.shape[0], -1)

    module = Looped(Learned()).eval()
    report = rnnport.export(module, (X,), tmp_path / "m.onnx", stream=True)
    assert_close(np.float32(report.spec.states[0].initial), module.loop.cell.first)


def test_a_state_that_is_given_streams_under_its_own_name(tmp_path):
    module = Looped(nn.GRUCell(FEATURES, HIDDEN)).eval()
    example = {"x": X, "state": tensors(3, HIDDEN)}
    report = rnnport.export(module, example, tmp_path / "m.onnx", stream=True)
    assert [each.name for each in report.spec.inputs] == ["x", "state.loop.h"]
    x = tensors(2, 9, FEATURES)
    with torch.no_grad():
        expected, _ = module(x, state=x.new_zeros(2, HIDDEN))
    found, _ = in_pieces(open_file(tmp_path / "m.onnx"), report.spec, x.numpy(), [1, 3, 5])
    assert_close(found, expected)


class Counting(nn.GRUCell):
    """A state that counts its steps in whole numbers."""

    def initial_state(self, x):
        return x.new_zeros(x.shape[0], HIDDEN), torch.zeros(x.shape[0], dtype=torch.int64)

    def forward(self, x, state):
        h = super().forward(x, state[0])
        return (h * state[1].unsqueeze(1), state[1]), (h, state[1] + 1)


def test_a_state_of_whole_numbers_stays_whole(tmp_path):
    module = Looped(Counting(FEATURES, HIDDEN)).eval()
    report = rnnport.export(module, (X,), tmp_path / "m.onnx", stream=True)
    assert [state.dtype for state in report.spec.states] == ["float32", "int64"]
    assert [state.shape for state in report.spec.states] == [("batch", HIDDEN), ("batch",)]


def test_an_attention_decoder_reads_its_memory_outside_the_body(tmp_path):
    module = Attending().eval()
    axes = {"x": ("batch", "time", 8), "target": ("batch", "target_time", 8)}
    report = rnnport.export(module, (X, tensors(3, 5, FEATURES)), tmp_path / "m.onnx", inputs=axes)
    assert report.nodes["Scan"] == 1
    model = onnx.load(tmp_path / "m.onnx")
    (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
    assert len(scan.input) == 4  # three states and the target: the memory is no carry
    assert not scan.attribute[0].g.initializer
    session = open_file(tmp_path / "m.onnx")
    for batch, time in sizes():
        x, target = tensors(batch, time, FEATURES), tensors(batch, 2 * time + 1, FEATURES, seed=9)
        with torch.no_grad():
            y, weights = module(x, target)
        found = run_file(session, x=x, target=target)
        for actual, expected in zip(found.values(), [y, weights], strict=True):
            assert_close(actual, expected)


class Generator(nn.Module):
    """Feeds its answers back from a state."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(FEATURES, HIDDEN)
        self.out = nn.Linear(HIDDEN, FEATURES)
        self.loop = rnnport.Recurrent(self.step)

    def step(self, x, h):
        h = self.cell(x, h)
        return self.out(h), h

    def forward(self, state, steps):
        return self.loop(None, state, steps=steps, start=state.new_zeros(state.shape[0], FEATURES))


def test_answers_are_fed_back_for_a_number_of_steps_chosen_at_run_time(tmp_path):
    module = Generator().eval()
    given = (tensors(3, HIDDEN), torch.tensor(5))
    report = rnnport.export(module, given, tmp_path / "m.onnx")
    assert report.parity.ok
    assert report.spec.outputs[0].shape == ("batch", "steps", FEATURES)
    session = open_file(tmp_path / "m.onnx")
    for batch, steps in sizes():
        state = tensors(batch, HIDDEN, seed=steps)
        with torch.no_grad():
            y, last = module(state, steps)
        assert y.shape == (batch, steps, FEATURES)
        found = run_file(session, state=state, steps=np.array(steps))
        for actual, expected in zip(found.values(), [y, last], strict=True):
            assert_close(actual, expected)


def test_text_becomes_frames_for_as_many_steps_as_asked(tmp_path):
    module = TextToFrames().eval()
    text = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(0))
    example = (text, torch.tensor([9, 4, 6]), torch.tensor(5))
    axes = {"text": ("batch", "time"), "lengths": ("batch",)}
    report = rnnport.export(module, example, tmp_path / "m.onnx", inputs=axes)
    assert {name: report.nodes[name] for name in ("LSTM", "Scan")} == {"LSTM": 1, "Scan": 1}
    session = open_file(tmp_path / "m.onnx")
    for batch, time, steps in ((1, 1, 1), (2, 30, 4), (7, 12, 40)):
        generator = torch.Generator().manual_seed(time)
        text = torch.randint(0, 40, (batch, time), generator=generator)
        lengths = torch.randint(1, time + 1, (batch,), generator=generator)
        with torch.no_grad():
            expected = module(text, lengths, steps)
        found = run_file(session, text=text, lengths=lengths, steps=np.array(steps))
        for name, value in expected.items():
            assert_close(found[name], value)


def test_a_loop_inside_a_cell_is_part_of_its_step(tmp_path):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.letters = rnnport.Recurrent(nn.GRUCell(FEATURES, HIDDEN))
            self.cell = nn.GRUCell(HIDDEN, HIDDEN)

        def forward(self, x, state):  # x [batch, letters, features]
            return self.cell(self.letters(x)[1], state)

    module = Looped(Words()).eval()
    x = tensors(3, 6, 4, FEATURES)
    axes = {"x": ("batch", "time", "letters", FEATURES)}
    rnnport.export(module, (x,), tmp_path / "m.onnx", inputs=axes)
    session = open_file(tmp_path / "m.onnx")
    for batch, time, letters in ((1, 1, 1), (2, 7, 5)):
        x = tensors(batch, time, letters, FEATURES)
        with torch.no_grad():
            expected, _ = module(x)
        assert_close(next(iter(run_file(session, x=x).values())), expected)


class Leaking(nn.GRUCell):
    def forward(self, x, state):
        self.last = x * 2
        return super().forward(x, state)


class ReadsAttribute(Looped):
    def forward(self, x):
        return self.loop(x)[0].sum(1) + self.loop.cell.last.sum()


class Growing(nn.Module):
    def forward(self, x, state):
        return x, torch.cat([state, x], 1)

    def initial_state(self, x):
        return x * 1


class Layered(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x, state):
        return self.rnn(x.unsqueeze(1), state.unsqueeze(0))[1][0]

    def initial_state(self, x):
        return x.new_zeros(x.shape[0], HIDDEN)


@pytest.mark.parametrize(
    ("module", "stream", "message"),
    [
        (ReadsAttribute(Leaking(FEATURES, HIDDEN)), False, "a value of a single step leaves"),
        (Looped(Growing()), False, r"a step of the Recurrent 'loop' takes a state \["),
        (Looped(Layered()), False, "calls a whole GRU; a step takes nn.GRUCell"),
        (Looped(nn.GRUCell(FEATURES, HIDDEN), reverse=True), True, "'loop' runs in reverse"),
    ],
)
def test_a_loop_that_cannot_be_carried(tmp_path, module, stream, message):
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        rnnport.export(module, (X,), tmp_path / "m.onnx", stream=stream)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_feeds_back_cannot_stream(tmp_path):
    class Begins(Generator):
        def forward(self, x, steps):
            return self.loop(None, x.new_zeros(x.shape[0], HIDDEN), steps=steps, start=x)

    given = (tensors(3, FEATURES), torch.tensor(5))
    with pytest.raises(UnsupportedModelError, match="feeds its answers back"):
        rnnport.export(Begins(), given, tmp_path / "m.onnx", stream=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cell", "call", "error", "message"),
    [
        (nn.GRUCell(8, 16), {}, ValueError, "say for how many steps"),
        (nn.GRUCell(8, 16), {"steps": 3}, ValueError, r"give the first input as start="),
        (nn.GRUCell(8, 8), {"steps": 0, "state": X[:, 0]}, ValueError, "steps is 0"),
        (nn.GRUCell(8, 16), {"x": X, "steps": 3}, ValueError, "steps and start are for x=None"),
        (nn.GRUCell(8, 16), {"x": X[0, 0]}, ValueError, r"x must be a tensor \[batch, time"),
        (nn.GRUCell(8, 16), {"steps": 2, "state": tensors(3, 16)}, ValueError, "be fed back"),
        (lambda x, state: (x, *state), {"x": X}, ValueError, "<lambda> does not run without"),
        (lambda x, state: (x, x), {"x": X}, ValueError, "tell a state from"),
        (lambda x, state: [x] * 3, {"x": X, "state": X[:, 0]}, TypeError, "neither its next"),
        (lambda x, state: x, {"x": X, "state": 3}, TypeError, "must be a tensor"),
    ],
)
def test_a_call_that_does_not_fit(cell, call, error, message):
    with pytest.raises(error, match=message):
        rnnport.Recurrent(cell)(**call)


class Steps(nn.Module):
    """A cell in a Python loop over time, alone or after a recurrent layer."""

    def __init__(self, *, cell=True, layer=False, over="range"):
        super().__init__()
        self.layer = nn.GRU(FEATURES, FEATURES, batch_first=True) if layer else None
        self.cell = nn.LSTMCell(FEATURES, HIDDEN) if cell else None
        self.linear = None if cell else nn.Linear(FEATURES + HIDDEN, HIDDEN)
        self.over = over

    def step(self, x, state):
        if self.cell is not None:
            return self.cell(x, state)
        h = torch.tanh(self.linear(torch.cat([x, state[0]], 1)))
        return h, h

    def forward(self, x):
        x = x if self.layer is None else self.layer(x)[0]
        state = (x.new_zeros(x.shape[0], HIDDEN), x.new_zeros(x.shape[0], HIDDEN))
        steps, answers = (range(x.shape[1]), []) if self.over == "range" else (x.unbind(1), [])
        for step in steps:
            state = self.step(x[:, step] if self.over == "range" else step, state)
            answers.append(state[0])
        return torch.stack(answers, 1)


@pytest.mark.parametrize("over", ["range", "unbind"])
@pytest.mark.parametrize("layer", [False, True])
@pytest.mark.parametrize("cell", [False, True])
def test_a_python_loop_over_time_is_refused_with_the_wrapper_that_replaces_it(
    tmp_path, cell, layer, over
):
    with pytest.raises(UnsupportedModelError) as caught:
        rnnport.export(Steps(cell=cell, layer=layer, over=over), (X,), tmp_path / "m.onnx")
    message = str(caught.value)
    assert "self.loop = rnnport.Recurrent(cell)" in message
    assert "\n" not in message
    if layer:
        assert "the time can only be 6, the example's at test_recurrent.py:" in message
    else:
        assert ("runs LSTMCell cell step by step" in message) is cell
    assert list(tmp_path.iterdir()) == []


def test_without_torch_the_missing_extra_is_named():
    code = """
import sys
sys.modules["torch"] = None
import rnnport
try:
    rnnport.Recurrent
except rnnport.RnnportError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "needs the package 'torch'" in result.stdout
    assert "rnnport[train]" in result.stdout
