"""Sequences of different lengths from .ts files to a model and back, by the commands alone."""

import csv
import io
import json

import numpy as np
import pytest
from training_data import write_ts
from typer.testing import CliRunner

import rnnport
from rnnport.cli.main import app
from rnnport.data.load import load_classify
from rnnport.data.metrics import classification

pytestmark = pytest.mark.slow  # one training and two exports serve all of it
SETTINGS = ("model.cell=gru", "model.hidden=8", "train.epochs=8", "train.learning_rate=0.02")


def run(*arguments, code=0):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert "Traceback" not in done.output
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A pair of files, and the two model files of a run trained on it."""
    folder = tmp_path_factory.mktemp("ragged")
    write_ts(folder / "Slopes_TRAIN.ts", n=60)
    write_ts(folder / "Slopes_TEST.ts", n=23, seed=4)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    data = ["--data", folder / "Slopes_TRAIN.ts", "--task", "classify"]
    run("train", *data, *settings, "-o", folder / "run")
    run("export", folder / "run", "-o", folder / "whole.onnx")
    run("export", folder / "run", "--stream", "-o", folder / "stream.onnx")
    return folder


def test_the_exported_file_takes_lengths(trained):
    spec = rnnport.load(trained / "whole.onnx", device="cpu").spec
    assert spec.lengths == "lengths"
    assert spec.classes == ("falling", "rising")
    assert not spec.streaming


@pytest.mark.parametrize("file", ["whole.onnx", "stream.onnx"])
def test_the_file_is_proved_against_its_run(trained, file):
    report = json.loads(
        run("verify", trained / file, "--against", trained / "run", "--json").stdout
    )
    assert report["reports"]
    for each in report["reports"]:
        assert each["ok"]
        assert each["elements"] > 0


@pytest.mark.parametrize("file", ["whole.onnx", "stream.onnx"])
def test_the_test_file_is_measured_as_each_sequence_alone(trained, file):
    """Without a padded step in sight: each sequence is cut to its own length."""
    test = load_classify(str(trained / "Slopes_TEST.ts")).test
    session = rnnport.load(trained / file, device="cpu")
    alone = [session(x[None, :n]) for x, n in zip(test.x, test.lengths, strict=True)]
    last = np.array([answer[0, -1] if session.spec.streaming else answer[0] for answer in alone])
    expected = classification(test.y, last, session.spec.classes)
    assert expected["accuracy"] > 0.9  # it has learned something
    words = ["evaluate", trained / file, "--json", "--data"]
    for more in (
        [trained / "Slopes_TEST.ts", "--split", "all"],
        [trained / "Slopes_TEST.ts", "--batch-size", 5],
        [trained / "Slopes_TRAIN.ts"],
    ):
        assert json.loads(run(*words, *more).stdout)["metrics"] == expected


def test_answers_follow_the_rows_of_the_file(trained):
    text = run("infer", trained / "whole.onnx", "--input", trained / "Slopes_TEST.ts").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    test = load_classify(str(trained / "Slopes_TEST.ts")).test
    session = rnnport.load(trained / "whole.onnx", device="cpu")
    for x, length, row in zip(test.x, test.lengths, rows, strict=True):
        (scores,) = session(x[None, :length])
        assert row["label"] == session.spec.classes[scores.argmax()]
        assert float(row["probability"]) == pytest.approx(scores.max(), abs=1e-6)


def test_what_cannot_be_answered_is_refused_with_its_line(trained, tmp_path):
    text = (trained / "Slopes_TEST.ts").read_text().splitlines()
    text[8] = "?" + text[8]
    (tmp_path / "x.ts").write_text("\n".join(text))
    done = run("infer", trained / "whole.onnx", "--input", tmp_path / "x.ts", code=2)
    assert "x.ts, line 9, dimension 1: the value of step 0 is '?" in done.stderr


def test_a_test_file_is_not_trained_on(trained, tmp_path):
    data = ["--data", trained / "Slopes_TEST.ts", "--task", "classify", "-o", tmp_path / "out"]
    done = run("train", *data, code=2)
    assert "Slopes_TEST.ts has no rows to train on" in done.stderr
    assert not (tmp_path / "out").exists()
