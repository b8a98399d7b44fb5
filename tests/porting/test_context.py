"""Causal paddings in a stream: the frames of the call before take the padding's place."""

import pytest
import torch
from exported_modules import (
    FEATURES,
    HIDDEN,
    LookingAhead,
    assert_close,
    first_states,
    in_pieces,
    open_file,
    run_file,
    tensors,
)
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnport.errors import UnsupportedModelError
from rnnport.porting.export import export_module

X = tensors(3, 6, FEATURES)


class Convolved(nn.Module):
    """Any frames-to-frames module on [batch, features, time], then a GRU."""

    def __init__(self, front):
        super().__init__()
        self.front = front
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        return self.rnn(self.front(x.transpose(1, 2)).transpose(1, 2))[0]


class PaddedLeft(nn.Module):
    def __init__(self, kernel, dilation=1, value=0.0):
        super().__init__()
        self.left, self.value = (kernel - 1) * dilation, value
        self.convolution = nn.Conv1d(FEATURES, FEATURES, kernel, dilation=dilation)

    def forward(self, x):
        return self.convolution(functional.pad(x, (self.left, 0), value=self.value)).relu()


class Chomped(nn.Module):
    """A block of a temporal convolution network: both sides padded, the right end cut off."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(FEATURES, FEATURES, 3, padding=4, dilation=2)
        self.padding = nn.ConstantPad1d((2, 0), 0.0)
        self.two = nn.Conv1d(FEATURES, FEATURES, 3, groups=FEATURES)

    def forward(self, x):
        x = functional.relu(self.one(x)[:, :, :-4]) + x
        return self.two(self.padding(x)) + x


class Joined(nn.Module):
    """The same convolution twice, each time with zeros put before."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(FEATURES, FEATURES, 3)

    def forward(self, x):
        for _ in range(2):
            x = self.convolution(torch.cat([x.new_zeros(x.size(0), FEATURES, 2), x], -1))
        return x


class Image(nn.Module):
    """A two-dimensional convolution over time and features."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, (3, 3))
        self.mix = nn.Linear(2 * FEATURES, FEATURES)

    def forward(self, x):
        x = functional.pad(x.transpose(1, 2).unsqueeze(1), (1, 1, 2, 0))
        x = self.convolution(x).transpose(1, 2).flatten(2)  # [batch, time, 2 × features]
        return self.mix(x).transpose(1, 2)


FRONTS = {
    "padded": (lambda: PaddedLeft(4), [("front.context", 3)]),
    "dilated": (lambda: PaddedLeft(3, dilation=4), [("front.context", 8)]),
    "value": (lambda: PaddedLeft(2, value=-2.5), [("front.context", 1)]),
    "chomped": (Chomped, [("front.one.context", 4), ("front.padding.context", 2)]),
    "joined": (Joined, [("front.context", 2), ("front.1.context", 2)]),
    "image": (Image, [("front.context", 2)]),
}


@pytest.mark.parametrize(("make", "contexts"), FRONTS.values(), ids=FRONTS)
def test_pieces_equal_the_whole(tmp_path, make, contexts):
    torch.manual_seed(4)
    module = Convolved(make()).eval()
    report = export_module(module, X, tmp_path / "m.onnx", stream=True)
    assert report.parity.ok
    *carried, last = report.spec.states
    assert last.input == "state.rnn.h"
    assert [state.input for state in carried] == [f"state.{name}" for name, _ in contexts]
    for state, (_, frames) in zip(carried, contexts, strict=True):
        assert state.shape[0] == "batch"
        assert frames in state.shape
    session, x = open_file(tmp_path / "m.onnx"), tensors(4, 48, FEATURES)
    with torch.no_grad():
        expected = module(x)
    for pieces in ([48], [1, 7, 40], [46, 1, 1], [1] * 48):
        assert_close(in_pieces(session, report.spec, x.numpy(), pieces)[0], expected)


class Tagged(nn.Module):
    """A causal convolution before a packed layer."""

    def __init__(self):
        super().__init__()
        self.front = PaddedLeft(3)
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x, lengths):
        time = x.size(1)
        x = self.front(x.transpose(1, 2)).transpose(1, 2)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=time)[0]


def test_each_row_keeps_the_frames_before_its_own_end(tmp_path):
    module = Tagged().eval()
    example = (X, torch.tensor([4, 6, 2]))
    report = export_module(module, example, tmp_path / "m.onnx", stream=True)
    session, states = open_file(tmp_path / "m.onnx"), first_states(report.spec, 2)
    rows = tensors(2, 9, FEATURES)
    first = torch.stack([rows[0, :5], torch.cat([rows[1, :2], torch.full((3, FEATURES), 9.0)])])
    second = torch.stack([rows[0, 5:9], rows[1, 2:6]])
    found = run_file(session, x=first, lengths=torch.tensor([5, 2]), **states)
    states = {state.input: found[state.output] for state in report.spec.states}
    found = run_file(session, x=second, lengths=torch.tensor([4, 4]), **states)["output"]
    with torch.no_grad():
        assert_close(found[0], module(rows[:1], torch.tensor([9]))[0, 5:])
        assert_close(found[1], module(rows[1:, :6], torch.tensor([6]))[0, 2:])


class Averaged(nn.Module):
    def forward(self, x):
        return x - x.mean(-1, keepdim=True)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(FEATURES, 1, batch_first=True)

    def forward(self, x):
        x = x.transpose(1, 2)
        return self.attention(x, x, x)[0].transpose(1, 2)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            Convolved(Attending()),
            "multi_head_attention_forward in 'front.attention' cannot stream: it looks ahead",
        ),
        (
            Convolved(nn.Conv1d(FEATURES, FEATURES, 3, padding=1)),
            "conv1d in 'front' cannot stream: it looks ahead",
        ),
        (
            Convolved(nn.Conv1d(FEATURES, FEATURES, 3, padding="same")),
            "conv1d in 'front' cannot stream: it looks ahead",
        ),
        (Convolved(Averaged()), "mean in 'front' cannot stream: it looks ahead"),
        (
            Convolved(nn.MaxPool1d(3, 1, 1)),
            "max_pool1d in 'front' cannot stream: it looks ahead",
        ),
        (LookingAhead(), "flip in the module itself cannot stream: it looks ahead"),
        (
            Convolved(nn.Conv1d(FEATURES, FEATURES, 3)),
            r"the convolution of 'front' cannot stream: it shortens the sequence by 2 steps",
        ),
        (
            Convolved(nn.Conv1d(FEATURES, FEATURES, 2, stride=2)),
            "the convolution of 'front' cannot stream: it strides by 2 in time",
        ),
    ],
    ids=["attention", "symmetric", "same", "mean", "pool", "flip", "valid", "stride"],
)
def test_what_looks_ahead_is_refused_by_name(tmp_path, module, message):
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        export_module(
            module.eval(), tensors(3, 8, FEATURES), tmp_path / "m.onnx", stream=True, verify=False
        )
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_without_streaming_nothing_of_it_is_refused(tmp_path):
    module = Convolved(nn.Conv1d(FEATURES, FEATURES, 3, padding=1))
    assert export_module(module, X, tmp_path / "m.onnx").parity.ok
