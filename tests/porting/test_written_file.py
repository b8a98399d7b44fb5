"""What is in the written file, and that a file that breaks a promise is not kept."""

import json

import numpy as np
import onnx
import pytest
import torch
from exported_modules import FEATURES, HIDDEN, LastStep, Layers, Packed, tensors
from onnx import helper, numpy_helper
from torch import nn

from rnnport import __version__
from rnnport.errors import CheckFailedError, ParityError
from rnnport.porting import export as exporting
from rnnport.porting.export import export_module
from rnnport.porting.postconditions import check_file
from rnnport.spec import ModelSpec, SeriesSpec, TensorSpec, parse

X = tensors(3, 6, FEATURES)
LENGTHS = torch.tensor([4, 6, 2])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "m.onnx"
    return export_module(Layers(nn.GRU, num_layers=2, batch_first=True), X, path), path


def test_the_spec_is_inside(written):
    report, path = written
    model = onnx.load(path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert list(properties) == ["rnnport"]
    assert parse(properties["rnnport"]) == report.spec
    assert report.spec.provenance["versions"]["rnnport"] == __version__
    assert set(report.spec.provenance["versions"]) == {"rnnport", "torch", "onnx", "onnxscript"}


def test_names_are_those_of_the_modules(written):
    model = onnx.load(written[1])
    names = [node.name for node in model.graph.node]
    assert "rnn/GRU" in names
    assert "rnn/GRU_1" in names
    assert len(set(names)) == len(names)
    initializers = {tensor.name for tensor in model.graph.initializer}
    assert {"rnn/GRU.W", "rnn/GRU.R", "rnn/GRU.B", "rnn/GRU_1.W", "head.bias"} <= initializers
    for node in model.graph.node:
        assert not node.doc_string
        assert not node.metadata_props


def test_the_report_says_what_was_written(written):
    report, path = written
    assert report.size == path.stat().st_size
    assert report.nodes["GRU"] == 2
    text = "\n".join(report.lines())
    assert "x: float32[batch, time, 8]" in text
    assert "2 GRU" in text
    assert "elements" in text
    document = json.loads(report.to_json())
    assert document["schema_version"] == 1
    assert document["opset"] == 18
    assert document["parity"]["schema_version"] >= 1


def test_facts_stand_in_the_spec(tmp_path):
    facts = ModelSpec(
        inputs=(TensorSpec("x", "float32", ("batch", "time", FEATURES), 0, 1, mean=(4.0,)),),
        outputs=(TensorSpec("forecast", "float32", ("batch", "time", 3), 0),),
        task="forecast",
        series=SeriesSpec(("a",), ("a",), lookback=6, horizon=3),
        provenance={"seed": 7, "versions": {"torch": "1"}},
    )
    module = Layers(nn.LSTM, batch_first=True)
    spec = export_module(module, {"x": X}, tmp_path / "m.onnx", facts=facts).spec
    assert spec.inputs == facts.inputs
    assert spec.series == facts.series
    assert spec.task == "forecast"
    assert spec.provenance["seed"] == 7
    assert spec.provenance["trained_with"] == {"torch": "1"}
    assert [tensor.name for tensor in spec.outputs] == ["forecast"]


def freeze(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 6


def rename(model):
    model.graph.output[0].name = "other"
    next(n for n in model.graph.node if "output" in n.output).output[0] = "other"


def drop_layer(model):
    second = next(n for n in model.graph.node if n.name == "rnn/GRU_1")
    first_answer = next(n for n in model.graph.node if n.name == "rnn/Squeeze").output[0]
    after = next(n for n in model.graph.node if second.output[0] in n.input)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == after.output[0]:
                node.input[i] = first_answer
    for node in (second, after):
        model.graph.node.remove(node)


def compute_weights(model):
    gru = next(n for n in model.graph.node if n.op_type == "GRU")
    model.graph.node.insert(0, helper.make_node("Identity", [gru.input[1]], ["w"], name="copy"))
    gru.input[1] = "w"


def reset_before(model):
    gru = next(n for n in model.graph.node if n.op_type == "GRU")
    kept = [a for a in gru.attribute if a.name != "linear_before_reset"]
    del gru.attribute[:]
    gru.attribute.extend(kept)


def forget_spec(model):
    del model.metadata_props[:]


def other_opset(model):
    model.opset_import[0].version = 19


def cycle(model):
    model.graph.node[0].input[0] = "output"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (freeze, r"'x' has the axes \['batch', 6, 8\]"),
        (rename, r"its outputs are \['other'\]"),
        (drop_layer, "recurrent nodes 1 GRU, not 2 GRU"),
        (compute_weights, "weights of rnn/GRU are not initializers"),
        (reset_before, "rnn/GRU lacks linear_before_reset=1"),
        (forget_spec, "its spec is missing"),
        (other_opset, "opsets {'': 19}, not 18"),
        (cycle, "not valid ONNX"),
    ],
)
def test_a_broken_promise_is_found_in_the_file(written, tmp_path, damage, message):
    report, path = written
    check_file(path, report.spec, 18, ["GRU", "GRU"])
    model = onnx.load(path)
    damage(model)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.SerializeToString())
    with pytest.raises(CheckFailedError, match=message) as caught:
        check_file(broken, report.spec, 18, ["GRU", "GRU"])
    assert caught.value.exit_code == 1


def swap_gates(model, spec, path):
    """Write the file with two gates of its first layer exchanged."""
    original(model, spec, path)
    proto = onnx.load(path)
    name = next(n for n in proto.graph.node if n.op_type in ("LSTM", "GRU")).input[2]
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[:, : 2 * HIDDEN] = np.roll(values[:, : 2 * HIDDEN], HIDDEN, axis=1)
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    path.write_bytes(proto.SerializeToString())


def ignore_lengths(model, spec, path):
    original(model, spec, path)
    proto = onnx.load(path)
    for node in proto.graph.node:
        if node.op_type in ("LSTM", "GRU"):
            node.input[4] = ""
    path.write_bytes(proto.SerializeToString())


original = exporting.write_model


@pytest.mark.parametrize(
    ("module", "damage"), [(LastStep(), swap_gates), (Packed(nn.GRU), ignore_lengths)]
)
def test_a_file_that_is_wrong_is_not_kept(tmp_path, monkeypatch, module, damage):
    monkeypatch.setattr(exporting, "write_model", damage)
    path = tmp_path / "m.onnx"
    with pytest.raises(ParityError, match="differs from PyTorch") as caught:
        export_module(module, (X, LENGTHS), path)
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []
    export_module(module, (X, LENGTHS), path, verify=False)  # the proof alone found it
    assert path.exists()


class Picky(Layers):
    """Refuses batches of seven in plain PyTorch, which nothing in the exported graph does."""

    def forward(self, x):
        if not torch.compiler.is_exporting() and len(x) == 7:
            raise ValueError("seven are too many")
        return super().forward(x)


def test_what_pytorch_itself_cannot_run_is_no_proof(tmp_path):
    with pytest.raises(ParityError, match=r"at batch 7, time .*seven are too many.*by padding"):
        export_module(Picky(nn.GRU, batch_first=True), X, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_the_proof_runs_at_the_examples_time(written):
    report, _ = written
    times = {item.case.time for item in report.parity.comparisons}
    assert times == {1, 2, X.shape[1], 3 * X.shape[1]}
