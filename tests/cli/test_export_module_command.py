"""rnnport export file.py:factory: a stranger's module from the command line."""

import json

import pytest
import torch
from exported_modules import assert_close, open_file, run_file, tensors
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from rnnport.cli.main import app
from rnnport.porting.factory_name import factory_name
from rnnport.porting.input_spec import make_example, read_inputs
from rnnport.porting.loading import make_module

SOURCE = """
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from sizes import FEATURES


class Tagger(nn.Module):
    def __init__(self, hidden=16, kind="GRU"):
        super().__init__()
        self.rnn = getattr(nn, kind)(FEATURES, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


class Classifier(Tagger):
    def forward(self, ids, lengths):
        x = nn.functional.one_hot(ids, FEATURES).float()
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        return self.head(self.rnn(packed)[1][-1])


class Deciding(Tagger):
    def forward(self, x):
        y = super().forward(x)
        return y if y.sum() > 0 else -y


class Exponential(Tagger):
    def forward(self, x):
        return torch.linalg.matrix_exp(super().forward(x)[:, :3, :3])


def small(hidden=16):
    return Tagger(hidden)


def broken():
    raise KeyError("vocabulary")


def number():
    return 3


LIMIT = 3
"""
X = "x=float32[batch,time,8]"
runner = CliRunner()


def export(*arguments):
    return runner.invoke(app, ["export", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "their_models.py").write_text(SOURCE)
    (tmp_path / "sizes.py").write_text("FEATURES = 8\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tagger(hidden=16):
    """The module that their factory makes, as weights of one."""
    module = nn.Module()
    module.rnn, module.head = nn.GRU(8, hidden, batch_first=True), nn.Linear(hidden, 3)
    return module


@pytest.mark.parametrize("weights", ["w.pt", "w.safetensors"])
def test_a_class_with_its_weights_becomes_a_file(folder, weights):
    theirs = tagger(12)
    if weights == "w.pt":
        torch.save({"state_dict": theirs.state_dict(), "epoch": 3}, weights)
    else:
        save_file(theirs.state_dict(), weights)
    result = export(
        "their_models.py:Tagger", "--weights", weights, "--input", X, "--set", "hidden=12",
        "--set", "kind=GRU", "-o", "m.onnx", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["nodes"]["GRU"] == 1
    x = tensors(2, 7, 8)
    with torch.no_grad():
        expected = theirs.head(theirs.rnn(x)[0])
    assert_close(run_file(open_file("m.onnx"), x=x)["output"], expected)


def test_a_function_of_a_module_that_python_finds_streams(folder):
    result = export("their_models:small", "--input", X, "--stream", "-o", "m.onnx")
    assert result.exit_code == 0, result.output
    assert "state.rnn.h → next.rnn.h" in result.stdout


def test_lengths_are_drawn_within_the_time_and_numbers_within_their_bound(folder):
    result = export(
        "their_models.py:Classifier", "--input", "ids=int64[batch,time]<8", "--input",
        "lengths=int64[batch]", "-o", "m.onnx", "--no-verify",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    example = make_example(read_inputs(["ids=int64[batch,time]<8", "lengths=int64[batch]"]))
    assert example["ids"].max() == 7
    assert example["lengths"].tolist() == sorted(example["lengths"].tolist(), reverse=True)
    assert example["lengths"][0] == example["ids"].shape[1]
    assert example["lengths"].min() >= 1


def test_symbolic_axes_get_sizes_that_differ_from_each_other_and_from_fixed_ones():
    specs = read_inputs(["x = float32[batch, time, 3]", "y=float32[batch,other,24]", "n=int64[]"])
    example = make_example(specs)
    sizes = {*example["x"].shape, *example["y"].shape}
    assert len(sizes) == 5
    assert example["x"].shape[0] == example["y"].shape[0]
    assert example["n"].shape == ()


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("their_model.py:Tagger", [], "there is no file their_model.py; did you mean their_models"),
        ("their_models.py:Taggr", [], "their_models.py has no 'Taggr'; did you mean Tagger?"),
        ("their_modules:Tagger", [], "there is no module their_modules here"),
        ("their_models.py:broken", [], "broken raised KeyError: 'vocabulary' (rnnport --debug"),
        ("their_models.py:number", [], "number gives int, not a torch.nn.Module"),
        ("their_models.py:LIMIT", [], "LIMIT is int; a factory is a function or a class"),
        ("bad.py:Tagger", [], "importing bad.py raised SyntaxError"),
        ("their_models.py:Tagger", ["--set", "hiden=3"], "unexpected keyword argument 'hiden'"),
        ("their_models.py:Tagger", ["--set", "hidden"], "expected argument=value"),
        ("their_models.py:Tagger", ["--weights", "no.pt"], "there is no weights file no.pt"),
        ("their_models.py:Tagger", ["--weights", "other.pt"], "unexpected: rnn.x; of another sh"),
        ("their_models.py:Tagger", ["--weights", "other.pt"], "missing: head.bias;"),
        ("their_models.py:Tagger", ["--weights", "pickled.pt"], "holds more than weights"),
        ("their_models.py:Tagger", ["--weights", "list.pt"], "holds no state_dict"),
        ("their_models.py:Deciding", [], "forward decides by the values of a tensor at their_mod"),
        ("their_models.py:Exponential", [], "matrix_exp has no translation to ONNX"),
        ("runs/here", [], "bring"),
    ],
)
def test_a_factory_that_does_not_fit(folder, source, options, message):
    (folder / "bad.py").write_text("def Tagger(:\n")
    weights = tagger().state_dict() | {"rnn.x": torch.zeros(1), "head.weight": torch.zeros(3, 4)}
    del weights["head.bias"]
    torch.save(weights, "other.pt")
    torch.save({"module": tagger()}, "pickled.pt")
    torch.save([1], "list.pt")
    (folder / "runs" / "here").mkdir(parents=True)
    result = export(source, "--input", X, *options, "-o", "m.onnx")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert not (folder / "m.onnx").exists()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "--input 'x=float32[batch,time,39]'"),
        (["x:float32[batch,time,8]"], "expected name=dtype[axis,…]"),
        (["x=float32[batch,time,8"], "expected name=dtype[axis,…]"),
        (["x=flaot32[batch,time,8]"], "no dtype 'flaot32'; did you mean float32?"),
        (["x=float32[batch,ti me,8]"], "'ti me' is no axis"),
        (["x=float32[batch,time,0]"], "'0' is no axis"),
        (["x=float32[batch,time,8]<3"], "'<3' bounds whole numbers"),
        ([X, X], "--input x is given twice"),
        (["x=float32[batch,time,9]"], "does not run on its example (x [3, 24, 9])"),
        (["y=float32[batch,time,8]"], "the example does not fit Tagger.forward"),
        (
            ["x=float32[batch,steps,8]"],
            "the axis 'steps' of 'x' is the time of the recurrent layers",
        ),
    ],
)
def test_an_input_that_does_not_fit(folder, inputs, message):
    options = [each for text in inputs for each in ("--input", text)]
    result = export("their_models.py:Tagger", *options, "-o", "m.onnx")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (folder / "m.onnx").exists()


def test_a_module_in_float64_is_exported_as_float32_on_request_alone(folder):
    with (folder / "their_models.py").open("a") as file:
        file.write("\n\ndef precise():\n    return Tagger().double()\n")
    given = ["their_models.py:precise", "--input", "x=float64[batch,time,8]", "-o", "m.onnx"]
    refused = export(*given)
    assert refused.exit_code == 2
    assert "computes in float64" in refused.stderr
    assert "--float32" in refused.stderr
    assert not (folder / "m.onnx").exists()
    torch.save(make_module(factory_name("their_models.py:precise"), ()).state_dict(), "w.pt")
    asked = export(
        "their_models.py:precise", "--input", X, "--weights", "w.pt", "-o", "m.onnx", "--float32"
    )
    assert asked.exit_code == 0, asked.output
    verified = CliRunner().invoke(
        app,
        ["verify", "m.onnx", "--against", "their_models.py:precise", "--weights", "w.pt"],
    )
    assert verified.exit_code == 0, verified.output


def test_a_module_needs_a_file_to_go_to(folder):
    result = export("their_models.py:Tagger", "--input", X)
    assert result.exit_code == 2
    assert "-o model.onnx" in result.stderr


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("models/net.py:make", "models/net.py:make"),
        (r"C:\\models\\net.py:make", r"C:\\models\\net.py:make"),
        ("package.module:Net", "package.module:Net"),
        ("runs/price", None),
        (r"C:\\runs\\price", None),
        ("C:price", None),
        ("runs/a:b", None),
    ],
)
def test_a_path_is_no_factory(source, found):
    name = factory_name(source)
    assert (None if name is None else str(name)) == found
