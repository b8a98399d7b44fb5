"""What cannot be carried is refused in one sentence that names it, and nothing is left behind."""

import pytest
import torch
from exported_modules import (
    FEATURES,
    HIDDEN,
    Deciding,
    Fixed,
    LastStep,
    Layers,
    Stepping,
    tensors,
)
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

from rnnport.errors import OutputExistsError, RequestError, UnsupportedModelError
from rnnport.porting.export import export_module
from rnnport.porting.factory_name import FactoryName
from rnnport.porting.loading import make_module

X = tensors(3, 6, FEATURES)


class Keeps(nn.Module):
    """Holds a state for a batch of three."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.hidden = torch.zeros(1, 3, HIDDEN)

    def forward(self, x):
        return self.rnn(x, self.hidden)[0]


class GivesPacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x, lengths):
        return self.rnn(pack_padded_sequence(x, lengths, batch_first=True))[0]


class Raises(nn.Module):
    def forward(self, x):
        raise KeyError("vocabulary")


class GivesNumber(Layers):
    def forward(self, x):
        return super().forward(x), 3


class Noisy(Layers):
    def forward(self, x):
        return super().forward(x) + torch.randn(x.size(1), 3)


class Dropping(Layers):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.3)


class Exponential(Layers):
    def forward(self, x):
        return torch.linalg.matrix_exp(super().forward(x)[:, :3, :3])


@pytest.mark.parametrize(
    ("module", "args", "message"),
    [
        (Fixed(), X, r"the time can only be 6.* at .*`return self.rnn\(x\)\[0\] \* self.weight`"),
        (Stepping(), X, r"the time can only be 6.* at .*`h = self.cell\(y\[:, t\], h\)`"),
        (Deciding(), X, r"decides by the values of a tensor at .*`return y if y.sum\(\) > 0"),
        (Keeps(), X, "initial state of 'rnn' is made for a batch of 3"),
        (
            Layers(nn.LSTM, batch_first=True).double(),
            X.double(),
            "'rnn' computes in float64.*export module.float",
        ),
        (nn.Linear(FEATURES, 3), X, "no recurrent layer in Linear"),
        (GivesPacked(), (X, torch.tensor([6, 4, 2])), "returns a PackedSequence"),
        (nn.GRU(FEATURES, HIDDEN), (pack_sequence([X[0]]),), "an input is a PackedSequence"),
        (GivesNumber(nn.GRU, batch_first=True), X, "returns output_1 as int"),
        (Noisy(nn.GRU, batch_first=True), X, "differently each time: randn in the module itself"),
        (Dropping(nn.GRU, batch_first=True), X, "dropout in the module itself.*self.training"),
        (Exponential(nn.GRU, batch_first=True), X, "matrix_exp has no translation to ONNX"),
    ],
)
def test_a_module_that_cannot_be_carried(tmp_path, module, args, message):
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        export_module(module, args, tmp_path / "m.onnx")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "settings", "message"),
    [
        (X, {"opset": 17}, "opset 17 is below 18"),
        (X, {"opset": 99}, "opset 99 is above"),
        (tensors(3, 6, 5), {}, r"does not run on its example \(x \[3, 6, 5\]\)"),
        ((X, X), {}, "the example does not fit Layers.forward"),
        (X, {"inputs": ["x", "y"]}, "2 input names are given, and forward takes 1 tensors: x"),
        (X, {"outputs": ["a", "b"]}, "2 output names are given"),
        (X, {"inputs": {"z": ("batch", "time", 8)}}, "no input 'z'; there are x"),
        (X, {"inputs": {"x": ("batch", "time", 9)}}, "do not fit its example"),
        (X, {"inputs": {"x": ("batch", 6, 8)}}, "no input has a time axis"),
        (X, {"lengths": "lengths"}, "no input 'lengths'"),
        (X, {"lengths": "x"}, "not whole numbers of shape"),
    ],
)
def test_a_request_that_does_not_fit(tmp_path, args, settings, message):
    module = Layers(nn.GRU, batch_first=True)
    with pytest.raises(RequestError, match=message) as caught:
        export_module(module, args, tmp_path / "m.onnx", **settings)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_module_is_passed_on(tmp_path):
    with pytest.raises(RequestError, match=r"Raises does not run on its example.*vocabulary"):
        export_module(Raises(), X, tmp_path / "m.onnx")


@pytest.mark.parametrize("batch_first", [True, False])
def test_equal_sizes_are_told_apart_by_running_with_a_step_more(tmp_path, batch_first):
    module = Layers(nn.GRU, batch_first=batch_first)
    report = export_module(module, tensors(4, 4, FEATURES), tmp_path / "m.onnx")
    axes = ("batch", "time") if batch_first else ("time", "batch")
    assert report.spec.inputs[0].shape == (*axes, FEATURES)
    assert report.parity.ok


def test_equal_sizes_of_a_module_that_runs_with_no_others_are_refused(tmp_path):
    with pytest.raises(RequestError, match="cannot be told apart"):
        export_module(Fixed(), tensors(6, 6, FEATURES), tmp_path / "m.onnx")


def test_equal_sizes_are_no_trouble_when_the_axes_are_given(tmp_path):
    module = Layers(nn.GRU, batch_first=True)
    axes = {"x": ("batch", "time", FEATURES)}
    report = export_module(module, tensors(4, 4, FEATURES), tmp_path / "m.onnx", inputs=axes)
    assert report.parity.ok


def test_an_existing_file_stays_without_overwrite(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="--overwrite replaces it"):
        export_module(LastStep(), X, path)
    assert path.read_bytes() == b"mine"
    lengths = torch.tensor([4, 6, 2])
    export_module(LastStep(), (X, lengths), path, overwrite=True, verify=False)
    assert path.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys\nsys.exit(2)\n", "importing .*models.py raised SystemExit: 2"),
        ("import sys\ndef make():\n    sys.exit('no')\n", "make raised SystemExit: no"),
    ],
)
def test_a_file_that_ends_the_program_is_refused(tmp_path, source, message):
    (tmp_path / "models.py").write_text(source)
    with pytest.raises(RequestError, match=message):
        make_module(FactoryName(str(tmp_path / "models.py"), "make"))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RequestError, match="nowhere does not exist"):
        export_module(LastStep(), X, tmp_path / "nowhere" / "m.onnx")
