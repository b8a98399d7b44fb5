"""Packed sequences: any order of lengths, ties, padding values, and work on the packed data."""

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
