"""Files as PyTorch's own exporters write them, with the faults that users meet."""

import numpy as np
import onnx
import pytest
import torch
from graph_models import normal, run

from rnnport.graph.check.fix import fix_file
from rnnport.graph.check.run import check_file, targets_of
from rnnport.graph.check.table import choose

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # torch's exporters warn of their own parts
]
CPU = targets_of([])
RULES = choose([], ["RNN205"])


class Attending(torch.nn.Module):
    """An LSTM and multi-head attention over its answers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = torch.nn.LSTM(3, 8, batch_first=True)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.attention(y, y, y)[0]


class Outputs(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        torch.manual_seed(0)
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


def exported(module, path, dynamo, dynamic=True):
    """Exported at batch 2, time 6, both axes declared dynamic."""
    axes = {"x": {0: "batch", 1: "time"}} if dynamic else None
    how = {"dynamic_shapes": axes, "external_data": False, "verbose": False} if dynamo else {}
    how = how if dynamo else {"dynamic_axes": {**axes, "y": axes["x"]} if axes else None}
    torch.onnx.export(
        module.eval(), (torch.zeros(2, 6, 3),), path, dynamo=dynamo, input_names=["x"],
        output_names=["y"], **how,
    )  # fmt: skip
    return path


def rules_of(path):
    return {finding.rule for finding in check_file(path, RULES, CPU).findings}


@pytest.mark.parametrize("dynamo", [True, False])
def test_attention_with_the_examples_time_in_it_runs_at_any_after_the_repair(dynamo, tmp_path):
    module = Attending()
    path = exported(module, tmp_path / "torch.onnx", dynamo)
    assert "RNN101" in rules_of(path)
    with pytest.raises(Exception, match="Reshape"):
        run(path, {"x": normal(3, 9, 3)})
    report = fix_file(path, tmp_path / "fixed.onnx", RULES, CPU)
    assert report.left == ()
    for batch, time in ((2, 6), (3, 9), (1, 1), (7, 100)):
        x = normal(batch, time, 3)
        with torch.no_grad():
            wanted = module(torch.from_numpy(x)).numpy()
        answers = run(tmp_path / "fixed.onnx", {"x": x})["y"]
        np.testing.assert_allclose(answers, wanted, atol=1e-5)


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "RNN"])
def test_a_file_of_fixed_sizes_takes_any_after_the_repair(layer, tmp_path):
    module = Outputs(getattr(torch.nn, layer)(3, 4, num_layers=2, batch_first=True))
    path = exported(module, tmp_path / "torch.onnx", dynamo=False, dynamic=False)
    assert "RNN103" in rules_of(path)
    fix_file(path, tmp_path / "fixed.onnx", RULES, CPU)
    assert rules_of(tmp_path / "fixed.onnx") == set()
    x = normal(5, 30, 3)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(tmp_path / "fixed.onnx", {"x": x})["y"], wanted, atol=1e-5)


def test_the_unrolled_rnn_of_the_default_exporter_is_found(tmp_path):
    module = Outputs(torch.nn.RNN(3, 4, batch_first=True))
    path = exported(module, tmp_path / "torch.onnx", dynamo=True, dynamic=False)
    assert "RNN" not in {node.op_type for node in onnx.load(path).graph.node}
    assert "RNN104" in rules_of(path)


def test_a_projection_that_the_default_exporter_lost_is_found(tmp_path):
    module = Outputs(torch.nn.LSTM(3, 4, proj_size=2, batch_first=True))
    path = exported(module, tmp_path / "torch.onnx", dynamo=True)
    onnx.checker.check_model(path, full_check=True)
    with pytest.raises(Exception, match="LSTM"):
        run(path, {"x": normal(2, 6, 3)})
    assert "RNN005" in rules_of(path)


def test_a_gru_of_todays_exporter_with_its_attribute_lost_is_known_as_torchs(tmp_path):
    module = Outputs(torch.nn.GRU(3, 4, batch_first=True))
    path = exported(module, tmp_path / "torch.onnx", dynamo=True)
    assert "RNN001" not in rules_of(path)
    made = onnx.load(path)
    (gru,) = (node for node in made.graph.node if node.op_type == "GRU")
    kept = [a for a in gru.attribute if a.name != "linear_before_reset"]
    del gru.attribute[:]
    gru.attribute.extend(kept)
    made.producer_name = made.producer_version = ""  # as after a tool that leaves only the nodes
    onnx.save(made, path)
    assert "RNN001" in rules_of(path)
    fix_file(path, tmp_path / "fixed.onnx", RULES, CPU)
    x = normal(4, 20, 3)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    assert np.abs(run(path, {"x": x})["y"] - wanted).max() > 1e-3
    np.testing.assert_allclose(run(tmp_path / "fixed.onnx", {"x": x})["y"], wanted, atol=1e-6)
