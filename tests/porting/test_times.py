"""A module that answers only some numbers of steps: the file says so, and so does the export."""

import torch
from torch import nn

import rnnport


class Branching(nn.Module):
    """Doubles its answer past six steps."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 5, batch_first=True)

    def forward(self, x):
        y, _ = self.rnn(x)
        return y * 2 if x.shape[1] > 6 else y


def test_a_branch_on_the_time_bounds_the_times_and_is_told(tmp_path):
    report = rnnport.export(Branching(), (torch.randn(2, 9, 4),), tmp_path / "m.onnx")
    assert report.spec.time.min == 7
    assert "  time     7 or more steps; the file is proved for these alone" in report.lines()


def test_a_module_for_every_time_needs_no_word_of_it(tmp_path):
    module = nn.GRU(4, 5, batch_first=True)
    report = rnnport.export(module, (torch.randn(2, 9, 4),), tmp_path / "m.onnx")
    assert not [line for line in report.lines() if line.startswith("  time")]
