"""Axes, rows and times that only a trial tells: two sequences, bands, odd and least lengths."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exported_modules import assert_close, in_pieces, open_file, run_file, tensors
from torch import nn

import rnnport
from rnnport.errors import UnsupportedModelError

BANDS, WIDTH = 4, 5


class Pair(nn.Module):
    """Two sequences, each with its own layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.GRU(3, 4, batch_first=True), nn.GRU(3, 4, batch_first=True)

    def forward(self, x, y):
        return self.one(x)[0].mean(1) + self.two(y)[0].mean(1)


class Multiplied(nn.Module):
    """Two sequences that must be equally long."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x, gate):
        return self.rnn(x * gate)[0]


class Banded(nn.Module):
    """Frames [batch, time, bands, width], along time in every band."""

    def __init__(self, order):
        super().__init__()
        self.order = order
        self.rnn = nn.LSTM(WIDTH, 6, 2, batch_first=True)

    def forward(self, x):
        b, t, f, c = x.shape
        axes = {"batch": (0, 2, 1, 3), "bands": (2, 0, 1, 3)}
        rows = x.permute(axes.get(self.order, (0, 2, 1, 3))).reshape(b * f, t, c)
        if self.order == "mixed":
            rows = rows.flip(0)
        y, _ = self.rnn(rows)
        if self.order == "bands":
            return y.reshape(f, b, t, -1).permute(1, 2, 0, 3)
        return y.reshape(b, f, t, -1).permute(0, 2, 1, 3)


class BandedCell(nn.Module):
    """The same with a cell."""

    def __init__(self):
        super().__init__()
        self.rnn = rnnport.Recurrent(nn.GRUCell(WIDTH, 6))

    def forward(self, x):
        b, t, f, c = x.shape
        y, _ = self.rnn(x.transpose(1, 2).reshape(b * f, t, c))
        return y.reshape(b, f, t, -1).transpose(1, 2)


class Across(nn.Module):
    """Along the bands within each step, in both directions, then along time."""

    def __init__(self):
        super().__init__()
        self.within = nn.GRU(WIDTH, 4, batch_first=True, bidirectional=True)
        self.rnn = nn.GRU(8 * BANDS, 6, batch_first=True)

    def forward(self, x):
        b, t, f, c = x.shape
        y, _ = self.within(x.reshape(b * t, f, c))
        return self.rnn(y.reshape(b, t, -1))[0]


class Lagged(nn.Module):
    """The difference to three steps before: no answer to fewer than four."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x[:, 3:] - x[:, :-3])[0]


class Evened(nn.Module):
    """Pads an odd sequence, in a branch or by arithmetic."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch
        self.rnn = nn.GRU(6, 4, batch_first=True)

    def forward(self, x):
        if not self.branch:
            x = F.pad(x, (0, 0, 0, -x.size(1) % 2))
        elif x.size(1) % 2 != 0:
            x = F.pad(x, (0, 0, 0, 1))
        return self.rnn(x.reshape(x.size(0), -1, 6))[0]


class Shifted(nn.Module):
    """Sees the step before, by a cut sequence after zeros."""

    def __init__(self, pad):
        super().__init__()
        self.pad = pad
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        if self.pad:
            return self.rnn(F.pad(x[:, :-2], (0, 0, 2, 0)))[0]
        return self.rnn(torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1))[0]


class Pooled(nn.Module):
    """Pools with a crop, and blanks through ``data``."""

    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool1d(2, stride=1, padding=1)
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        x = self.pool(x.transpose(1, 2))[:, :, : x.size(1)].transpose(1, 2)
        y = self.rnn(x)[0] * 2
        y.data.masked_fill_(y > 0.5, -1.0)
        return y


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.onnx"


def answers(path, module, *inputs):
    """The file's answer beside the module's."""
    with torch.no_grad():
        expected = module.eval()(*inputs)
    assert_close(next(iter(run_file(open_file(path), *inputs).values())), expected)


def test_two_sequences_of_equal_length_in_the_example_are_two_axes(path):
    module = Pair()
    report = rnnport.export(module, (tensors(2, 6, 3), tensors(2, 6, 3)), path)
    shapes = [each.shape for each in report.spec.inputs]
    assert shapes == [("batch", "time", 3), ("batch", "y_time", 3)]
    answers(path, module, tensors(3, 9, 3), tensors(3, 2, 3, seed=1))


def test_sequences_that_must_be_equally_long_share_their_axis(path):
    report = rnnport.export(Multiplied(), (tensors(2, 6, 3), tensors(2, 6, 3)), path)
    assert {each.shape for each in report.spec.inputs} == {("batch", "time", 3)}


@pytest.mark.parametrize("order", ["batch", "bands"])
def test_bands_stream_with_a_state_each(path, order):
    module = Banded(order)
    report = rnnport.export(module, tensors(3, 6, BANDS, WIDTH), path, stream=True)
    assert [state.shape for state in report.spec.states] == [("batch", BANDS, 2, 6)] * 2
    x = tensors(2, 9, BANDS, WIDTH, seed=4)
    found, _ = in_pieces(open_file(path), report.spec, x, (1, 5, 1, 2))
    with torch.no_grad():
        assert_close(found, module.eval()(x))


def test_rows_that_mix_the_batch_do_not_stream(path):
    with pytest.raises(UnsupportedModelError, match="12 rows mix the 3 rows of the batch"):
        rnnport.export(Banded("mixed"), tensors(3, 6, BANDS, WIDTH), path, stream=True)


def test_bands_in_a_cell_of_one_s_own_do_not_stream(path):
    with pytest.raises(UnsupportedModelError, match="it has 12 rows for a batch of 3"):
        rnnport.export(BandedCell(), tensors(3, 6, BANDS, WIDTH), path, stream=True)


def test_a_layer_within_each_step_has_no_state_in_a_stream(path):
    module = Across()
    report = rnnport.export(module, tensors(3, 6, BANDS, WIDTH), path, stream=True)
    assert [state.input for state in report.spec.states] == ["state.rnn.h"]
    x = tensors(2, 9, BANDS, WIDTH, seed=4)
    found, _ = in_pieces(open_file(path), report.spec, x, (1, 5, 1, 2))
    with torch.no_grad():
        assert_close(found, module.eval()(x))


def test_a_file_says_the_fewest_steps_that_its_module_takes(path):
    module = Lagged()
    report = rnnport.export(module, tensors(2, 11, 3), path)
    assert report.spec.time.min == 4
    answers(path, module, tensors(3, 4, 3))


def test_padding_by_arithmetic_is_carried(path):
    module = Evened(branch=False)
    rnnport.export(module, tensors(2, 8, 3), path)
    answers(path, module, tensors(3, 7, 3))


@pytest.mark.parametrize("time", [8, 7])
def test_padding_by_a_branch_is_refused_with_its_line(path, time):
    with pytest.raises(UnsupportedModelError, match=r"decides by a size at test_growing.py.*elif"):
        rnnport.export(Evened(branch=True), tensors(2, time, 3), path)
    assert not path.exists()


@pytest.mark.parametrize("pad", [False, True])
def test_a_shifted_sequence_streams(path, pad):
    module = Shifted(pad)
    report = rnnport.export(module, tensors(3, 6, 3), path, stream=True)
    x = tensors(2, 9, 3, seed=4)
    found, _ = in_pieces(open_file(path), report.spec, x, (1, 5, 1, 2))
    with torch.no_grad():
        assert_close(found, module.eval()(x))


def test_a_pool_along_time_and_a_change_through_data_are_carried(path):
    module = Pooled()
    rnnport.export(module, tensors(3, 6, 3), path)
    answers(path, module, tensors(2, 11, 3))


def test_one_tensor_given_as_two_states_is_two_inputs(path):
    zeros = torch.zeros(1, 3, 4)
    module = nn.LSTM(3, 4, batch_first=True)
    report = rnnport.export(module, (tensors(3, 6, 3), (zeros, zeros)), path)
    assert [each.name for each in report.spec.inputs] == ["input", "hx_0", "hx_1"]
    x, h, c = tensors(2, 5, 3), tensors(1, 2, 4, seed=1), tensors(1, 2, 4, seed=2)
    found = run_file(open_file(path), x, h, c)
    with torch.no_grad():
        expected = module(x, (h, c))[0]
    np.testing.assert_allclose(next(iter(found.values())), expected, rtol=1e-5, atol=1e-5)
