"""Recurrent layers with other blocks: attention, embedding, convolution, flips, shared weights."""

import onnx
import pytest
import torch
from exported_modules import FEATURES, HIDDEN, Layers, assert_close, open_file, run_file, tensors
from torch import nn

from rnnport.porting.export import export_module

SHAPES = [(1, 1), (1, 7), (7, 2), (3, 300)]


class Attending(nn.Module):
    """Multi-head attention after a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(2 * HIDDEN, 4, dropout=0.2, batch_first=True)
        self.norm = nn.LayerNorm(2 * HIDDEN)

    def forward(self, x):
        y, _ = self.rnn(x)
        found, weights = self.attention(y, y, y)
        return self.norm(y + found), weights


class Mixed(nn.Module):
    """An embedding, a convolution, two directions made by hand, a GRU and a nested answer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, FEATURES)
        self.convolution = nn.Conv1d(FEATURES, FEATURES, 3, padding=1)
        self.ahead = nn.LSTM(FEATURES, HIDDEN)
        self.back = nn.LSTM(FEATURES, HIDDEN)
        self.top = nn.GRU(2 * HIDDEN, FEATURES, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * FEATURES, 20)

    def forward(self, ids):
        x = self.convolution(self.embedding(ids).transpose(1, 2)).permute(2, 0, 1)
        ahead = self.ahead(x)[0]
        back = self.back(x.flip(0))[0].flip(0).expand_as(ahead)
        y, last = self.top(torch.cat([ahead, back], -1).transpose(0, 1))
        return {"scores": self.head(y), "rest": (last, [y.mean(1)])}


class Sharing(nn.Module):
    """One layer under two names, and one weight of two heads."""

    def __init__(self):
        super().__init__()
        self.one = nn.GRU(FEATURES, FEATURES, batch_first=True)
        self.two = self.one
        self.first = nn.Linear(FEATURES, FEATURES)
        self.second = nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(self.two(self.one(x)[0])[0]))


@pytest.mark.parametrize("make", [Attending, Mixed, Sharing])
def test_mixed_blocks_equal_torch_at_other_shapes(tmp_path, make):
    torch.manual_seed(6)
    module = make().train()

    def inputs(batch, time):
        if make is Mixed:
            return torch.from_numpy(tensors(batch, time).numpy() * 5).long() % 20
        return tensors(batch, time, FEATURES, seed=time)

    assert export_module(module, inputs(3, 6), tmp_path / "m.onnx").parity.ok
    assert module.training
    session = open_file(tmp_path / "m.onnx")
    for shape in SHAPES:
        x = inputs(*shape)
        with torch.no_grad():
            expected = torch.utils._pytree.tree_leaves(module.eval()(x))
        module.train()
        for actual, wanted in zip(run_file(session, x).values(), expected, strict=True):
            assert_close(actual, wanted)


def test_nested_answers_have_the_names_of_their_keys(tmp_path):
    ids = torch.zeros(3, 6, dtype=torch.int64)
    report = export_module(Mixed(), ids, tmp_path / "m.onnx", verify=False)
    assert [each.name for each in report.spec.outputs] == ["scores", "rest_0", "rest_1_0"]


def test_a_shared_weight_is_written_once(tmp_path):
    export_module(Sharing(), tensors(3, 6, FEATURES), tmp_path / "m.onnx", verify=False)
    graph = onnx.load(tmp_path / "m.onnx").graph
    grus = [node for node in graph.node if node.op_type == "GRU"]
    assert len(grus) == 2
    sizes = [tuple(each.dims) for each in graph.initializer]
    assert sizes.count((FEATURES, FEATURES)) == 1


def test_a_double_module_goes_out_as_single_on_request(tmp_path):
    module = Layers(nn.LSTM, batch_first=True).double()
    x = tensors(3, 6, FEATURES)
    report = export_module(module.float(), x, tmp_path / "m.onnx")
    assert report.parity.ok
    assert {each.dtype for each in (*report.spec.inputs, *report.spec.outputs)} == {"float32"}
