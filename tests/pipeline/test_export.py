"""From a run folder to a model file, by function and by command."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from exported_modules import assert_close, open_file, run_file
from torch import nn
from training_data import classify_document, write_sequences
from typer.testing import CliRunner

import rnnport
from rnnport.cli.main import app
from rnnport.errors import MissingExtraError, RequestError
from rnnport.training.recipe import build
from rnnport.training.run import load_run
from rnnport.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained classifier of sequences of variable length."""
    folder = tmp_path_factory.mktemp("runs")
    data = write_sequences(folder / "x.npz", variable=True)
    train(build(classify_document(data, epochs=1), "x"), folder / "run")
    return folder / "run"


def command(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_a_run_becomes_a_file_beside_it(run):
    report = rnnport.export(run, overwrite=True)
    assert report.path == run / "model.onnx"
    assert report.parity.ok
    assert report.spec.task == "classify"
    assert report.spec.classes == ("falling", "rising")
    assert [tensor.name for tensor in report.spec.inputs] == ["x", "lengths"]
    assert [tensor.shape for tensor in report.spec.outputs] == [("batch", 2)]
    assert report.spec.inputs[0].mean
    loaded = load_run(run)
    found = run_file(open_file(report.path), *loaded.example.values())
    with torch.no_grad():
        assert_close(found["probabilities"], loaded.module(**loaded.example))


def test_a_streamed_run_answers_each_step_as_the_whole_does(run, tmp_path):
    whole = rnnport.export(run, path=tmp_path / "whole.onnx", verify=False)
    report = rnnport.export(run, path=tmp_path / "stream.onnx", stream=True)
    assert report.parity.ok
    assert report.spec.streaming
    assert report.spec.outputs[0].shape == ("batch", "time", 2)
    x = load_run(run).example["x"].numpy()
    states = {
        state.input: np.zeros((len(x), *state.shape[1:]), np.float32)
        for state in report.spec.states
    }
    session = open_file(report.path)
    for t in range(x.shape[1]):
        lengths = np.ones(len(x), np.int64)
        found = run_file(session, x=x[:, t : t + 1], lengths=lengths, **states)
        states = {state.input: found[state.output] for state in report.spec.states}
    full = np.full(len(x), x.shape[1])
    expected = run_file(open_file(whole.path), x=x, lengths=full)["probabilities"]
    assert_close(found["probabilities"][:, -1], expected)


def test_the_command_prints_a_summary(run, tmp_path):
    result = command(run, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 0, result.output
    assert "x: float32[batch, time, 2]" in result.stdout
    assert "2 LSTM" in result.stdout
    assert "cases agree" in result.stdout
    again = command(run, "-o", tmp_path / "m.onnx")
    assert again.exit_code == 2
    assert "--overwrite replaces it" in again.stderr
    assert "Traceback" not in again.stderr


def test_the_command_prints_json(run, tmp_path):
    result = command(run, "-o", tmp_path / "m.onnx", "--json", "--no-verify", "--stream")
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert document["parity"] is None
    assert [state["input"] for state in document["states"]] == [
        "state.recurrent.h",
        "state.recurrent.c",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no run folder nowhere"),
        (["RUN", "-o", "m.onnx", "--opset", "17"], "opset 17 is below 18"),
        (["RUN", "-o", "nowhere/m.onnx"], "nowhere does not exist"),
    ],
)
def test_the_command_refuses_in_one_message(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = command(*[run if each == "RUN" else each for each in arguments])
    assert result.exit_code in (2, 3)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bidirectional_run_cannot_stream(tmp_path):
    data = write_sequences(tmp_path / "x.npz")
    document = classify_document(data, epochs=1)
    document["model"] |= {"bidirectional": True, "layers": 1, "dropout": 0.0}
    train(build(document, "x"), tmp_path / "run")
    result = command(tmp_path / "run", "--stream")
    assert result.exit_code == 2
    assert "the bidirectional LSTM of 'recurrent' cannot stream" in result.stderr
    assert not (tmp_path / "run" / "model.stream.onnx").exists()


def test_a_module_needs_an_example_and_a_place(tmp_path):
    module = nn.GRU(3, 4)
    with pytest.raises(RequestError, match="needs example arguments"):
        rnnport.export(module, path=tmp_path / "m.onnx")
    with pytest.raises(RequestError, match="needs a file to go to"):
        rnnport.export(module, torch.zeros(5, 2, 3))


def test_a_run_brings_its_own_example(run):
    with pytest.raises(RequestError, match="a run folder brings its own args"):
        rnnport.export(run, torch.zeros(1))


WITHOUT = """
import sys
sys.modules["{package}"] = None
import rnnport
try:
    rnnport.export("run")
except rnnport.RnnportError as error:
    print(error.exit_code, error)
"""


@pytest.mark.parametrize("package", ["torch", "onnxscript"])
def test_a_missing_package_is_named(package):
    script = WITHOUT.format(package=package)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith(f"3 exporting needs the package '{package}'")
    assert "rnnport[train]" in done.stdout
    assert MissingExtraError.exit_code == 3
