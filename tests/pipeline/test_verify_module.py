"""Verifying a file against the module that it was exported from, whatever that keeps or takes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from typer.testing import CliRunner

import rnnport
from rnnport.cli.main import app
from rnnport.errors import RequestError
from rnnport.spec import METADATA_KEY

SOURCE = '''
import rnnport
import torch
from torch import nn


class Keeping(nn.Module):
    """Keeps its state in an attribute."""

    def __init__(self, hidden=8):
        super().__init__()
        self.rnn = nn.GRU(4, hidden, batch_first=True)
        self.state = None

    def forward(self, x):
        y, self.state = self.rnn(x, self.state)
        return y


class Cells(nn.Module):
    """Runs a cell over time, backwards over each row's own length too."""

    def __init__(self):
        super().__init__()
        self.loop = rnnport.Recurrent(nn.LSTMCell(4, 8))

    def forward(self, x, lengths):
        there, _ = self.loop(x, lengths=lengths)
        back, _ = self.loop(x, lengths=lengths, reverse=True)
        return there + back


class Policy(nn.Module):
    """A step that takes and gives its states."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(4, 8)

    def forward(self, observation, state):
        h, c = self.cell(observation, state)
        return h * 2, (h, c)
'''
SCOPE = {}
exec(SOURCE, SCOPE)
KEEPS = ["--input", "x=float32[batch,time,4]", "--stream"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A source file with its weights, and the streaming file that the command makes of them."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "models.py").write_text(SOURCE)
    torch.manual_seed(0)
    torch.save(SCOPE["Keeping"](hidden=6).state_dict(), folder / "w.pt")
    made = command("export", folder, "-o", str(folder / "m.onnx"), *KEEPS)
    assert made.exit_code == 0, made.stderr
    return folder


def command(name, folder, *arguments, factory="Keeping", weights=True):
    source = f"{folder / 'models.py'}:{factory}"
    given = ["--set", "hidden=6", "--weights", str(folder / "w.pt")] if weights else []
    before = [source] if name == "export" else [str(folder / "m.onnx"), "--against", source]
    return CliRunner().invoke(app, [name, *before, *given, *arguments])


def damaged(path, change):
    model = onnx.load(path)
    change(model)
    other = path.with_name("damaged.onnx")
    onnx.save(model, other)
    return other


def test_a_file_equals_the_factory_with_its_weights_on_two_engines(folder):
    done = command("verify", folder, "--engine", "ort-cpu", "--engine", "reference")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "ort-cpu against torch" in done.stdout
    assert "reference against torch" in done.stdout
    assert "in chunks" in done.stdout


def test_other_weights_are_another_model(folder):
    done = command("verify", folder, "--set", "hidden=6", weights=False)
    assert done.exit_code == 1
    assert "FAILED" in done.stdout


def test_a_module_of_another_size_is_refused_by_its_states(folder):
    done = command("verify", folder, weights=False)
    assert done.exit_code == 2
    assert "its states are {'state.rnn.h': ['batch', 1, 6]}, there they are" in done.stderr


def test_a_factory_needs_no_options_of_a_file(folder):
    path = str(folder / "m.onnx")
    done = CliRunner().invoke(app, ["verify", path, "--against", path, "--set", "hidden=6"])
    assert done.exit_code == 2
    assert "settings: only for verifying against file.py:factory" in done.stderr


def test_a_kept_state_that_the_file_forgets_is_found(folder):
    module = SCOPE["Keeping"](hidden=6)
    module.load_state_dict(torch.load(folder / "w.pt"))
    assert rnnport.verify(folder / "m.onnx", module).ok

    def forget(model):
        for node in model.graph.node:
            node.input[:] = ["" if i == "state.rnn.h" else i for i in node.input]
        zero = numpy_helper.from_array(np.zeros((1, 1, 6), np.float32), "zero")
        model.graph.initializer.append(zero)
        for node in model.graph.node:
            if node.op_type == "Transpose" and node.input[0] == "":
                node.input[0] = "zero"

    outcome = rnnport.verify(damaged(folder / "m.onnx", forget), module)
    assert not outcome.ok


def test_a_first_state_that_the_file_describes_wrongly_is_found(folder):
    module = SCOPE["Keeping"](hidden=6)
    module.load_state_dict(torch.load(folder / "w.pt"))

    def describe(model):
        entry = next(each for each in model.metadata_props if each.key == METADATA_KEY)
        entry.value = entry.value.replace('"initial": 0.0', '"initial": 0.5')

    outcome = rnnport.verify(damaged(folder / "m.onnx", describe), module)
    assert not outcome.ok
    assert "initial 'state.rnn.h'" in str(outcome)


def test_cells_over_time_are_verified_in_both_directions(tmp_path):
    module, path = SCOPE["Cells"](), tmp_path / "m.onnx"
    rnnport.export(module, (torch.randn(3, 6, 4), torch.tensor([6, 2, 4])), path, verify=False)
    assert rnnport.verify(path, module).ok
    assert not rnnport.verify(path, SCOPE["Cells"]()).ok


def test_nested_arguments_come_as_an_example(tmp_path):
    module, path = SCOPE["Policy"](), tmp_path / "m.onnx"
    example = (torch.randn(3, 4), (torch.randn(3, 8), torch.randn(3, 8)))
    pairs = {"state_0": "output_1_0", "state_1": "output_1_1"}
    rnnport.export(module, example, path, states=pairs, verify=False)
    assert rnnport.verify(path, module, example).ok
    with pytest.raises(RequestError, match=r"give another, verify\(path, module, args\)"):
        rnnport.verify(path, module)


def test_a_file_without_a_description_is_verified_against_its_module(tmp_path):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(4, 8, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    module, path = Head(), tmp_path / "m.onnx"
    rnnport.export(module, torch.randn(3, 6, 4), path, verify=False)
    bare = damaged(path, lambda model: model.ClearField("metadata_props"))
    outcome = rnnport.verify(bare, module)
    assert outcome.ok
    assert "without rnnport's metadata" in outcome.reports[0].notes[0]
