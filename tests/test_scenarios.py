"""The scenarios that must be right: what users bring, at the sizes they run it."""

import itertools

import numpy as np
import pytest
import torch
from exported_modules import assert_close, first_states, in_pieces, open_file, run_file, tensors
from recurrent_cells import TextToFrames
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnport
from rnnport.runtime import cuda


def run_both(module, session, *inputs):
    """The module's answers and the file's, flat."""
    with torch.no_grad():
        expected = module(*inputs)
    return list(run_file(session, *inputs).values()), _flat(expected)


def _flat(answer):
    if isinstance(answer, torch.Tensor):
        return [answer]
    return [leaf for each in answer for leaf in _flat(each)]


def assert_same(module, session, *inputs):
    found, expected = run_both(module, session, *inputs)
    for actual, wanted in zip(found, expected, strict=True):
        assert_close(actual, wanted)


def export(module, args, tmp_path, **settings):
    """The open file, and the report of its export."""
    report = rnnport.export(module, args, tmp_path / "m.onnx", verify=False, **settings)
    return open_file(tmp_path / "m.onnx"), report


SOME = [(1, 3000), (64, 110), (7, 1000), *((b, t) for b in (1, 2, 7) for t in (1, 2, 110))]
EVERY = list(itertools.product((1, 2, 7, 64), (1, 2, 110, 1000, 3000)))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [SOME, pytest.param(EVERY, marks=pytest.mark.full)])
def test_1_a_dynamic_gru(tmp_path, sizes):
    module = nn.GRU(39, 256, 2, batch_first=True).eval()
    example = (tensors(2, 110, 39), tensors(2, 2, 256))
    session, report = export(module, example, tmp_path)
    assert report.nodes["GRU"] == 2
    for batch, time in sizes:
        assert_same(module, session, tensors(batch, time, 39), tensors(2, batch, 256, seed=1))


class ManualBoth(nn.Module):
    """Two directions by hand: the backward input is flipped within each row's length."""

    def __init__(self, kind):
        super().__init__()
        self.forth = kind(16, 8, batch_first=True)
        self.back = kind(16, 8, batch_first=True)

    def flipped(self, x, lengths):
        steps = torch.arange(x.shape[1]).unsqueeze(0)
        last = lengths.unsqueeze(1) - 1
        places = torch.where(steps <= last, last - steps, steps)
        return x.gather(1, places.unsqueeze(2).expand_as(x))

    def forward(self, x, lengths):
        one, _ = self.forth(x)
        two, _ = self.back(self.flipped(x, lengths))
        return torch.cat([one, self.flipped(two, lengths).expand_as(one)], 2)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_2_two_directions_by_hand(tmp_path, kind):
    module = ManualBoth(kind).eval()
    session, _ = export(module, (tensors(3, 6, 16), torch.tensor([4, 6, 2])), tmp_path)
    for batch, time in ((1, 1), (3, 7), (5, 500)):
        lengths = torch.tensor([1 + 31 * row % time for row in range(batch)])
        assert_same(module, session, tensors(batch, time, 16), lengths)


class PackedBoth(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(64, 128, 2, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, h = self.rnn(packed)
        return pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0], h


def test_3_a_packed_bidirectional_gru(tmp_path):
    module = PackedBoth().eval()
    session, _ = export(module, (tensors(3, 9, 64), torch.tensor([4, 8, 4])), tmp_path)
    for batch, time in ((1, 1), (1, 40), (7, 1000), (64, 60)):
        rows = (1 + 271 * np.arange(batch)) % max(time - 1, 1) + 1
        rows[-1] = rows[0]  # a tie; the longest is shorter than the padding
        assert_same(module, session, tensors(batch, time, 64), torch.from_numpy(rows))


def test_4_a_streaming_lstm(tmp_path):
    module = nn.LSTM(64, 128, 2, batch_first=True).eval()
    session, report = export(module, (tensors(2, 5, 64),), tmp_path, stream=True)
    x = tensors(2, 1000, 64)
    with torch.no_grad():
        expected, (h, c) = module(x)
    for pieces in ([1000], [1] * 1000, [1, 7, 992]):
        found, states = in_pieces(session, report.spec, x.numpy(), pieces)
        assert_close(found, expected)
        assert_close(states["state.h"], h.transpose(0, 1))
        assert_close(states["state.c"], c.transpose(0, 1))
    assert len(first_states(report.spec, 2)) == 2


def test_4_two_streams_do_not_mix_and_one_starts_again(tmp_path):
    module = nn.LSTM(64, 128, 2, batch_first=True).eval()
    export(module, (tensors(2, 5, 64),), tmp_path, stream=True)
    session = rnnport.load(tmp_path / "m.onnx", device="cpu")
    one, other = tensors(1, 40, 64), tensors(1, 40, 64, seed=1)
    mine, yours = session.stream(), session.stream()
    with torch.no_grad():
        whole, first, second = (module(x)[0] for x in (one, other[:, :20], other[:, 20:]))
    again = torch.cat([first, second], 1)
    for step in range(40):
        if step == 20:
            yours.reset()
        for stream, x, expected in ((mine, one, whole), (yours, other, again)):
            answer = stream.push(x[:, step : step + 1].numpy())
            found = answer["output_0"] if isinstance(answer, dict) else answer
            assert_close(found, expected[:, step : step + 1])


class TextLine(nn.Module):
    """Convolutions over an image of a line, two BiLSTMs along its width, a linear head."""

    def __init__(self):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.one = nn.LSTM(512, 256, bidirectional=True, batch_first=True)
        self.two = nn.LSTM(512, 256, bidirectional=True, batch_first=True)
        self.head = nn.Linear(512, 40)

    def forward(self, image):
        found = self.convolutions(image)  # [batch, 64, 8, width / 4]
        columns = found.permute(0, 3, 1, 2).flatten(2)  # [batch, width / 4, 512]
        return self.head(self.two(self.one(columns)[0])[0])


def test_5_a_text_line(tmp_path):
    module = TextLine().eval()
    axes = {"image": ("batch", 1, 32, "time")}
    session, _ = export(module, (tensors(2, 1, 32, 64),), tmp_path, inputs=axes)
    for batch, width in ((1, 32), (16, 100), (2, 1280), (3, 67)):
        assert_same(module, session, tensors(batch, 1, 32, width))


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
@pytest.mark.parametrize("batched", [True, False])
def test_6_a_plain_rnn_in_train_mode(tmp_path, nonlinearity, batched):
    module = nn.RNN(
        10, 16, 3, nonlinearity, bias=False, dropout=0.3, bidirectional=True
    ).train()  # fmt: skip
    example = tensors(9, 3, 10) if batched else tensors(9, 10)
    axes = {"input": ("time", "batch", 10) if batched else ("time", 10)}
    session, report = export(module, (example,), tmp_path, inputs=axes)
    assert report.nodes["RNN"] == 3
    assert module.training
    module.eval()
    for time, batch in ((1, 1), (2, 7), (300, 2)):
        assert_same(module, session, tensors(time, batch, 10) if batched else tensors(time, 10))


@pytest.mark.slow
def test_7_text_to_frames(tmp_path):
    module = TextToFrames(text=512, encoder=256, hidden=1024, frame=80).eval()
    text = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(0))
    example = (text, torch.tensor([9, 4, 6]), torch.tensor(5))
    axes = {"text": ("batch", "time"), "lengths": ("batch",)}
    session, report = export(module, example, tmp_path, inputs=axes)
    assert {name: report.nodes[name] for name in ("LSTM", "Scan")} == {"LSTM": 1, "Scan": 1}
    for batch, time, steps in ((1, 1, 1), (4, 200, 3), (2, 50, 60)):
        generator = torch.Generator().manual_seed(time)
        text = torch.randint(0, 40, (batch, time), generator=generator)
        lengths = torch.randint(1, time + 1, (batch,), generator=generator)
        with torch.no_grad():
            expected = module(text, lengths, steps)
        found = run_file(session, text=text, lengths=lengths, steps=np.array(steps))
        for name, value in expected.items():
            assert_close(found[name], value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_8_a_streaming_projection(tmp_path):
    module = nn.LSTM(80, 1024, 3, batch_first=True, proj_size=256).eval()
    session, report = export(module, (tensors(2, 5, 80),), tmp_path, stream=True)
    assert report.nodes["LSTM"] == 3
    x = tensors(2, 100, 80)
    with torch.no_grad():
        expected = module(x)[0]
    for pieces in ([100], [1] * 100, [1, 7, 92]):
        assert_close(in_pieces(session, report.spec, x.numpy(), pieces)[0], expected)


class Words(nn.Module):
    """Tokens in, scores of the next token out."""

    def __init__(self, cell):
        super().__init__()
        self.embedding = nn.Embedding(32, 128)
        self.rnn = cell(128, 256, batch_first=True)

    def forward(self, tokens):
        return self.rnn(self.embedding(tokens))[0]


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_9_int8_shrinks_the_file_threefold_and_accounts_for_every_node(tmp_path, cell):
    tokens = torch.randint(0, 32, (2, 9), generator=torch.Generator().manual_seed(0))
    export(Words(cell).eval(), (tokens,), tmp_path)
    report = rnnport.quantize(tmp_path / "m.onnx", tmp_path / "m.int8.onnx")
    sizes = [(tmp_path / name).stat().st_size for name in ("m.onnx", "m.int8.onnx")]
    assert sizes[0] > 3 * sizes[1]
    assert {node.op for node in report.nodes if node.quantized} == {cell.__name__, "Gather"}
    assert all(node.stored == "int8" for node in report.nodes)
    assert any("not measured" in line for line in report.lines())
    tokens = torch.randint(0, 32, (3, 200), generator=torch.Generator().manual_seed(1)).numpy()
    before, after = (
        next(iter(run_file(open_file(tmp_path / name), tokens).values()))
        for name in ("m.onnx", "m.int8.onnx")
    )
    assert 0 < np.abs(before - after).max() < 0.02


@pytest.mark.cuda
def test_10_strict_cuda(tmp_path):
    if cuda.obstacle() is not None:
        pytest.skip(f"no CUDA: {cuda.obstacle()}")
    module = nn.LSTM(293, 128, 2, batch_first=True, bidirectional=True).eval()
    export(module, (tensors(2, 5, 293),), tmp_path)
    x = tensors(32, 60, 293)
    session = rnnport.load(tmp_path / "m.onnx", device="cuda")
    with torch.no_grad():
        expected, (h, c) = module(x)
    answer = session(x.numpy())
    assert session.device.startswith("cuda")
    for actual, wanted in zip(answer.values(), (expected, h, c), strict=True):
        assert_close(actual, wanted)
