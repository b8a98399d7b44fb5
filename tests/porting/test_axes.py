"""Batch and time are found where the recurrent layer's sizes are not those of an input."""

import numpy as np
import pytest
import torch
from exported_modules import FEATURES, HIDDEN, assert_close, open_file, run_file, tensors
from torch import nn

from rnnport.errors import RequestError
from rnnport.porting.export import export_module


class Conditioned(nn.Module):
    """A sequence, one vector for each row, and one number for all."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.first = nn.Linear(5, HIDDEN)

    def forward(self, x, *, speaker, scale):
        return self.rnn(x, torch.tanh(self.first(speaker)).unsqueeze(0))[0] * scale


class Translating(nn.Module):
    """An encoder and a decoder, each over a time of its own, with attention between them."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.decoder = nn.LSTM(FEATURES, HIDDEN, batch_first=True)

    def forward(self, source, target):
        memory, state = self.encoder(source)
        y, _ = self.decoder(target, state)
        return torch.softmax(y @ memory.transpose(1, 2), -1) @ memory


class Pictures(nn.Module):
    """A convolution that halves width and height; the width is the time."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.rnn = nn.LSTM(4 * 8, HIDDEN, bidirectional=True)

    def forward(self, picture):  # [batch, 1, 16, width]
        y = nn.functional.max_pool2d(torch.relu(self.convolution(picture)), 2)
        return self.rnn(y.permute(3, 0, 1, 2).flatten(2))[0]


class Bands(nn.Module):
    """One GRU over every band: the layer's batch is the rows times the bands."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):  # [batch, bands, time, features]
        y, _ = self.rnn(x.flatten(0, 1))
        return y.reshape(x.size(0), x.size(1), x.size(2), HIDDEN)


class Pairs(nn.Module):
    """Joins every two steps, and takes no single one."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2 * FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        half = x.size(1) // 2
        return self.rnn(x[:, : 2 * half].reshape(x.size(0), half, 2 * FEATURES))[0]


def exported(path, module, args, **settings):
    report = export_module(module, args, path, **settings)
    assert report.parity.ok
    return report.spec, open_file(path)


def test_a_vector_and_a_number_beside_a_sequence_have_no_time(tmp_path):
    module, path = Conditioned(), tmp_path / "m.onnx"
    given = {"speaker": tensors(3, 5), "scale": torch.tensor(2.0)}
    spec, session = exported(path, module, tensors(3, 6, FEATURES), kwargs=given)
    assert [each.shape for each in spec.inputs] == [
        ("batch", "time", FEATURES),
        ("batch", 5),
        (),
    ]
    x, speaker = tensors(2, 30, FEATURES), tensors(2, 5, seed=1)
    found = run_file(session, x, speaker, np.float32(0.5))["output"]
    assert_close(found, module(x, speaker=speaker, scale=0.5))


def test_two_sequences_have_a_time_each(tmp_path):
    module, path = Translating(), tmp_path / "m.onnx"
    spec, session = exported(path, module, (tensors(3, 6, FEATURES), tensors(3, 4, FEATURES)))
    assert spec.inputs[1].shape == ("batch", "target_time", FEATURES)
    x, y = tensors(2, 30, FEATURES), tensors(2, 7, FEATURES, seed=1)
    assert_close(run_file(session, x, y)["output"], module(x, y))


@pytest.mark.parametrize("batch", [1, 2])
def test_the_width_of_a_picture_is_the_time(tmp_path, batch):
    module, path = Pictures(), tmp_path / "m.onnx"
    spec, session = exported(path, module, tensors(batch, 1, 16, 20))
    assert spec.inputs[0].shape == ("batch", 1, 16, "time")
    x = tensors(3, 1, 16, 50)
    assert_close(run_file(session, x)["output"], module(x))


@pytest.mark.parametrize("time", [6, 7])  # of the size of the layer's batch, and not
def test_the_batch_is_found_where_several_axes_make_it_up(tmp_path, time):
    module, path = Bands(), tmp_path / "m.onnx"
    spec, session = exported(path, module, tensors(2, 3, time, FEATURES))
    assert spec.inputs[0].shape == ("batch", 3, "time", FEATURES)
    x = tensors(5, 3, 20, FEATURES)
    assert_close(run_file(session, x)["output"], module(x))


def test_a_module_that_takes_no_single_step_says_so(tmp_path):
    spec, _ = exported(tmp_path / "m.onnx", Pairs(), tensors(3, 6, FEATURES))
    assert spec.time.min == 2


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (("bach", "time", FEATURES), "'bach' of 'input' is the batch of the recurrent layers"),
        (("batch", "T", FEATURES), "'T' of 'input' is the time of the recurrent layers"),
    ],
)
def test_a_batch_or_time_under_another_name_is_refused(tmp_path, axes, message):
    module = nn.GRU(FEATURES, HIDDEN, batch_first=True)
    with pytest.raises(RequestError, match=message):
        export_module(module, tensors(3, 6, FEATURES), tmp_path / "m.onnx", inputs={"input": axes})
