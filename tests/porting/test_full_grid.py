"""Every recurrent layer at every size: batch 1 to 64, time 1 to 1,000, states that are not zero."""

import itertools

import pytest
import torch
from recurrent_cells import LayerNormLSTMCell, Looped
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnport.parity.cases import Case
from rnnport.parity.compare import compare
from rnnport.porting.export import export_module
from rnnport.porting.oracle import TorchEngine
from rnnport.runtime.engine import open_engine

pytestmark = pytest.mark.full

FEATURES, HIDDEN = 8, 12
SIZES = tuple(itertools.product((1, 2, 7, 64), (1, 2, 6, 1000)))
KINDS = {
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
    "tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
}
SETTINGS = [
    {"num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": batch_first}
    for layers, both, bias, batch_first in (
        (1, False, True, True),
        (1, True, False, False),
        (2, True, True, True),
        (2, False, False, True),
        (3, False, True, False),
        (3, True, False, True),
        (4, True, True, False),
        (4, False, True, True),
    )
]


def layer(kind, **settings):
    torch.manual_seed(3)
    made, further = KINDS[kind]
    dropout = 0.3 if settings.get("num_layers", 1) > 1 else 0.0
    return made(FEATURES, HIDDEN, dropout=dropout, **further, **settings)


class Given(nn.Module):
    """A layer whose initial states are inputs; it answers its final ones too."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn

    def forward(self, x, h):
        return self.rnn(x, h)


class GivenPair(Given):
    def forward(self, x, h, c):
        y, (h, c) = self.rnn(x, (h, c))
        return y, h, c


class Packed(nn.Module):
    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn

    def forward(self, x, lengths):
        first = self.rnn.batch_first
        y, state = self.rnn(pack_padded_sequence(x, lengths, first, enforce_sorted=False))
        total = x.shape[1 if first else 0]
        return pad_packed_sequence(y, first, total_length=total)[0], state


def prove(module, report, stream=False):
    """Compare the file with PyTorch at every size."""
    spec = report.spec
    cases = [
        Case(
            batch,
            time,
            lengths=_lengths(batch, time) if spec.lengths else None,
            chunks=(1, time - 1) if stream and time > 1 else None,
            states="random" if stream else "zero",
            seed=batch * time,
        )
        for batch, time in SIZES
    ]
    engines = (
        TorchEngine(module, spec, stream=stream, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    reference, precise = engines
    found = compare(reference, open_engine("ort-cpu", str(report.path)), cases, precise=precise)
    assert found.ok, str(found)
    assert found.cases == len(cases)


def _lengths(batch, time):
    lengths = [1 + (37 * row) % time for row in range(batch)]
    return (time, *lengths[1:])


def axes(rnn):
    return ("batch", "time", FEATURES) if rnn.batch_first else ("time", "batch", FEATURES)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_with_given_states(tmp_path, kind, settings):
    rnn = layer(kind, **settings)
    rows = settings["num_layers"] * (2 if settings["bidirectional"] else 1)
    names = ("h", "c") if kind == "lstm" else ("h",)
    module = (GivenPair if kind == "lstm" else Given)(rnn).eval()
    shape = (3, 6, FEATURES) if rnn.batch_first else (6, 3, FEATURES)
    example = {"x": torch.randn(shape)} | {n: torch.randn(rows, 3, HIDDEN) for n in names}
    inputs = {"x": axes(rnn)} | dict.fromkeys(names, (rows, "batch", HIDDEN))
    report = export_module(module, example, tmp_path / "m.onnx", inputs=inputs, verify=False)
    prove(module, report)


@pytest.mark.parametrize("settings", SETTINGS[1:3] + SETTINGS[4:7])
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_layer(tmp_path, kind, settings):
    module = Packed(layer(kind, **settings)).eval()
    shape = (3, 6, FEATURES) if module.rnn.batch_first else (6, 3, FEATURES)
    example = {"x": torch.randn(shape), "lengths": torch.tensor([4, 6, 2])}
    inputs = {"x": axes(module.rnn)}
    report = export_module(module, example, tmp_path / "m.onnx", inputs=inputs, verify=False)
    prove(module, report)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    "rnn",
    [
        *(layer(kind, num_layers=2, batch_first=True) for kind in KINDS),
        nn.LSTM(FEATURES, HIDDEN, 3, batch_first=True, proj_size=5),
    ],
    ids=[*KINDS, "projected"],
)
def test_a_streamed_layer(tmp_path, rnn):
    class Streamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = rnn

        def forward(self, x):
            return self.rnn(x)[0]

    module = Streamed().eval()
    example = {"x": torch.randn(3, 6, FEATURES)}
    report = export_module(module, example, tmp_path / "m.onnx", stream=True, verify=False)
    prove(module, report, stream=True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "cell",
    [LayerNormLSTMCell, *(lambda k=k: k(FEATURES, HIDDEN) for k in (nn.LSTMCell, nn.GRUCell))],
)
def test_a_cell_over_time(tmp_path, cell, stream):
    module = Looped(cell()).eval()
    example = {"x": torch.randn(3, 6, FEATURES), "lengths": torch.tensor([4, 6, 2])}
    report = export_module(module, example, tmp_path / "m.onnx", stream=stream, verify=False)
    prove(module, report, stream=stream)
