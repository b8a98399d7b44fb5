"""Packed sequences: any order of lengths, ties, padding values, and work on the packed data."""

from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from exported_modules import (
    FEATURES,
    HIDDEN,
    LastStep,
    Packed,
    PackedData,
    assert_close,
    open_file,
    run_file,
    tensors,
)
from torch import nn
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

from rnnport.errors import UnsupportedModelError
from rnnport.porting.export import export_module

EXAMPLE = (tensors(3, 6, FEATURES), torch.tensor([4, 6, 2]))
CASES = [(6, [4, 6, 2]), (9, [5]), (1, [1]), (12, [3, 11, 3, 11, 1]), (300, [299, 7])]


def assert_equal(session, module, time, lengths):
    x, lengths = tensors(len(lengths), time, FEATURES, seed=time), torch.tensor(lengths)
    found = run_file(session, x, lengths)
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(module(x, lengths))
    assert len(found) == len(expected)
    for actual, wanted in zip(found.values(), expected, strict=True):
        assert_close(actual, wanted)


@pytest.mark.parametrize(
    "module",
    [
        Packed(nn.LSTM),  # as long as the longest
        Packed(nn.GRU, time_first=True),
        Packed(nn.RNN, padding_value=-1.5),
        Packed(nn.LSTM, total_length="input", padding_value=0.25),
        Packed(nn.GRU, time_first=True, total_length="input"),
        Packed(nn.LSTM, total_length=400),
        PackedData(),
        PackedData(padding_value=0.0),
        PackedData(padding_value=0.0, in_place=True),
        LastStep(nn.LSTM),
    ],
    ids=[
        "lstm",
        "time-first",
        "value",
        "value-total",
        "total",
        "longer",
        "data",
        "data-zero",
        "data-in-place",
        "last",
    ],
)
def test_a_packed_module_equals_torch(tmp_path, module):
    export_module(module.eval(), EXAMPLE, tmp_path / "m.onnx", verify=False)
    session = open_file(tmp_path / "m.onnx")
    for time, lengths in CASES:
        assert_equal(session, module, time, lengths)


def test_sorted_rows_are_taken_as_they_come(tmp_path):
    module = Packed(nn.LSTM, ordered=True).eval()
    example = (EXAMPLE[0], torch.tensor([6, 4, 2]))
    export_module(module, example, tmp_path / "m.onnx", verify=False)
    assert_equal(open_file(tmp_path / "m.onnx"), module, 9, [8, 8, 3, 1])


def test_no_sorting_is_left_in_the_file(tmp_path):
    export_module(LastStep(), EXAMPLE, tmp_path / "m.onnx", verify=False)
    found = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert sorted(found) == ["Cast", "Gather", "Gemm", "LSTM", "Softmax", "Transpose"]


def test_lengths_are_found_and_proven(tmp_path):
    report = export_module(Packed(), EXAMPLE, tmp_path / "m.onnx")
    assert report.spec.lengths == "lengths"
    assert [tensor.shape for tensor in report.spec.inputs] == [
        ("batch", "time", FEATURES),
        ("batch",),
    ]
    outputs = {tensor.name: tensor for tensor in report.spec.outputs}
    assert outputs["y"].shape == ("batch", "longest", 2 * HIDDEN)
    assert outputs["y"].time_axis == 1
    assert report.parity.ok
    assert any(item.case.ragged for item in report.parity.comparisons)


class AsNumbers(LastStep):
    """Gives the lengths to the packing as numbers."""

    def __init__(self, convert):
        super().__init__()
        self.convert = convert

    def forward(self, x, lengths):
        lengths = self.convert(lengths)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.rnn(packed)[1][0][-1])


@pytest.mark.parametrize(
    "convert",
    [torch.Tensor.tolist, lambda n: n.tolist(), lambda n: n.cpu().numpy()],
    ids=["function", "list", "array"],
)
def test_lengths_may_become_numbers_for_the_packing(tmp_path, convert):
    module = AsNumbers(convert).eval()
    export_module(module, EXAMPLE, tmp_path / "m.onnx", verify=False)
    assert_equal(open_file(tmp_path / "m.onnx"), module, 9, [3, 8, 1, 8])
    assert torch.tensor([2, 1]).tolist() == [2, 1]


class Counting(LastStep):
    def forward(self, x, lengths):
        return super().forward(x, lengths) / max(lengths.tolist())


class CutApart(LastStep):
    def forward(self, x, lengths):
        rows = [row[:n] for row, n in zip(x, lengths, strict=True)]
        packed = pack_sequence(rows, enforce_sorted=False)
        return self.rnn(packed)[1][0][-1]


class CutByIndex(LastStep):
    def forward(self, x, lengths):
        packed = pack_sequence([x[i, :n] for i, n in enumerate(lengths)], enforce_sorted=False)
        return self.rnn(packed)[1][0][-1]


class Unbound(LastStep):
    def forward(self, x, lengths):
        return self.rnn(pack_sequence(x.unbind(0)))[1][0][-1]


class Unpadded(LastStep):
    def forward(self, x, lengths):
        rows = unpad_sequence(self.rnn(x)[0], lengths, batch_first=True)
        return pad_sequence(rows, batch_first=True)


class Unpacked(LastStep):
    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_sequence(unpack_sequence(self.rnn(packed)[0]), batch_first=True)


class RowByRow(LastStep):
    def forward(self, x, lengths):
        rows = [self.rnn(x[i : i + 1, : lengths[i]])[1][0][-1, 0] for i in range(x.size(0))]
        return torch.stack(rows)


class MadeByHand(LastStep):
    def forward(self, x, lengths):
        rows, features = x.size(0), x.size(2)
        data = x.transpose(0, 1).reshape(-1, features)
        packed = PackedSequence(data, torch.full((x.size(1),), rows))
        return self.rnn(packed)[1][0][-1]


REPLACEMENT = r".*pack_padded_sequence\(x, lengths, .*enforce_sorted=False\)"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Counting(), "works with the lengths as Python numbers, which a file cannot"),
        (CutApart(), "takes the rows of the batch apart at .*pack_sequence" + REPLACEMENT),
        (CutByIndex(), "takes the rows of the batch apart at .*pack_sequence" + REPLACEMENT),
        (Unbound(), "takes the rows of the batch apart at .*x.unbind" + REPLACEMENT),
        (Unpadded(), "takes the rows of the batch apart at .*unpad_sequence" + REPLACEMENT),
        (Unpacked(), "takes the rows of the batch apart at .*unpack_sequence" + REPLACEMENT),
        (RowByRow(), "calls the LSTM of 'rnn' in a Python loop, once for each row" + REPLACEMENT),
        (MadeByHand(), "a PackedSequence made by hand cannot be carried" + REPLACEMENT),
    ],
)
def test_rows_that_are_taken_apart_are_refused_with_what_replaces_it(tmp_path, module, message):
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        export_module(module, EXAMPLE, tmp_path / "m.onnx")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Batch(NamedTuple):
    x: torch.Tensor
    lengths: torch.Tensor


def test_lengths_inside_a_named_tuple_are_lengths(tmp_path):
    class Nested(LastStep):
        def forward(self, batch):
            return super().forward(batch.x, batch.lengths)

    report = export_module(Nested(), (Batch(*EXAMPLE),), tmp_path / "m.onnx")
    assert report.spec.lengths == "batch_lengths"


class LongestFirst(nn.Module):
    """Packs as most examples do: with enforce_sorted left at its default."""

    def __init__(self, cell):
        super().__init__()
        self.rnn = cell(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("stream", [False, True])
def test_a_module_that_packs_longest_first_gives_a_file_for_any_order(tmp_path, cell, stream):
    module = LongestFirst(cell).eval()
    example = (tensors(3, 6, FEATURES), torch.tensor([6, 4, 2]))
    report = export_module(module, example, tmp_path / "m.onnx", stream=stream)
    assert report.parity.ok
    x, lengths = tensors(4, 9, FEATURES), torch.tensor([2, 9, 5, 9])
    order = lengths.argsort(descending=True, stable=True)
    with torch.no_grad():
        expected = module(x[order], lengths[order])[order.argsort()]
    states = {s.input: np.zeros((4, 1, HIDDEN), np.float32) for s in report.spec.states}
    found = run_file(open_file(tmp_path / "m.onnx"), x=x, lengths=lengths, **states)
    assert_close(found["output"] if "output" in found else found["output_0"], expected)


class Continued(nn.Module):
    """Packed input that goes on from a given state."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN, 2, batch_first=True)

    def forward(self, x, lengths, state):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, state = self.rnn(packed, state)
        return pad_packed_sequence(y, batch_first=True, total_length=x.size(1))[0], state


def test_given_states_go_to_their_own_rows(tmp_path):
    module = Continued().eval()

    def inputs(lengths, time):
        states = tuple(tensors(2, len(lengths), HIDDEN, seed=seed) for seed in (3, 4))
        return tensors(len(lengths), time, FEATURES), torch.tensor(lengths), states

    example = inputs([4, 6, 2], 6)
    export_module(module, example, tmp_path / "m.onnx", verify=False)
    x, lengths, states = inputs([2, 7, 7, 1, 5], 8)
    with torch.no_grad():
        y, final = module(x, lengths, states)
    found = run_file(open_file(tmp_path / "m.onnx"), x, lengths, *states)
    for actual, expected in zip(found.values(), (y, *final), strict=True):
        assert_close(actual, expected)
    report = export_module(module, example, tmp_path / "stream.onnx", stream=True)
    assert report.parity.ok
    taken = {f"state.rnn.{k}": s.transpose(0, 1) for k, s in zip("hc", states, strict=True)}
    found = run_file(open_file(tmp_path / "stream.onnx"), x=x, lengths=lengths, **taken)
    assert_close(found["output_0"], y)
    assert_close(found["next.rnn.c"], final[1].transpose(0, 1))


class Masked(nn.Module):
    """Takes a mask instead of lengths; packs by it, and means over what it leaves."""

    def __init__(self, measure=lambda x, mask: x.size(1)):
        super().__init__()
        self.measure = measure
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True, bidirectional=True)

    def forward(self, x, mask):
        packed = pack_padded_sequence(x, mask.sum(1), batch_first=True, enforce_sorted=False)
        y, _ = self.rnn(packed)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=self.measure(x, mask))
        return (y * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


@pytest.mark.parametrize("measure", [lambda x, mask: x.size(1), lambda x, mask: mask.size(1)])
def test_a_mask_stands_for_the_lengths(tmp_path, measure):
    module = Masked(measure).eval()

    def mask(time, lengths):
        return torch.arange(time) < torch.tensor(lengths).unsqueeze(1)

    report = export_module(module, (EXAMPLE[0], mask(6, [4, 6, 2])), tmp_path / "m.onnx")
    assert report.spec.inputs[1].shape == ("batch", "time")
    assert report.parity.ok
    x, given = tensors(4, 30, FEATURES), mask(30, [30, 2, 17, 17])
    with torch.no_grad():
        expected = module(x, given)
    assert_close(run_file(open_file(tmp_path / "m.onnx"), x, given)["output"], expected)


def test_the_users_own_sort_stays_a_sort(tmp_path):
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = LastStep()

        def forward(self, x, lengths):
            ordered, _ = torch.sort(lengths)
            return self.inner(x, lengths), ordered

    module = Sorted().eval()
    export_module(module, EXAMPLE, tmp_path / "m.onnx", verify=False)
    assert_equal(open_file(tmp_path / "m.onnx"), module, 9, [3, 8, 1, 8])
