"""A run that was interrupted or killed and then resumed ends as one that never was."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import tomli_w
import torch
from training_data import forecast_document, write_series

from rnnport.errors import DataError, RecipeError, RequestError
from rnnport.training.recipe import build
from rnnport.training.run import load_run
from rnnport.training.train import train

EPOCHS = 14
# the child takes Ctrl-C even where this process, and so its children, ignore it (nohup, some CI)
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from rnnport.cli.entry import main
main()
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = write_series(tmp_path_factory.mktemp("data") / "my.csv", rows=1000)
    document = forecast_document(path, epochs=EPOCHS, batch_size=8, patience=9)
    document["model"]["layers"] = 2  # dropout draws between them, too
    return build(document, "waves")


@pytest.fixture(scope="module")
def straight(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight") / "run"
    train(recipe, folder)
    return folder


def rows(folder, without=("seconds",)):
    with (folder / "history.csv").open() as file:
        table = list(csv.DictReader(file))
    return [{name: row[name] for name in row if name not in without} for row in table]


def assert_same_run(folder, straight):
    one, two = load_run(folder).module.state_dict(), load_run(straight).module.state_dict()
    assert set(one) == set(two)
    for name in one:
        assert torch.equal(one[name], two[name]), name
    assert rows(folder) == rows(straight)
    assert load_run(folder).spec == load_run(straight).spec
    assert (folder / "model.safetensors").read_bytes() == (
        straight / "model.safetensors"
    ).read_bytes()


def start(recipe, folder, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(tomli_w.dumps(recipe.to_dict()))
    command = [sys.executable, "-c", PROGRAM, "train", str(path), "-o", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop_after(process, folder, epochs, number):
    """Send a signal once so many epochs are in the checkpoint, and not after the last."""
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.ckpt").exists() or len(rows(folder)) <= epochs:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert len(rows(folder)) < EPOCHS, "too fast: it was through before the signal"
    assert not (folder / "model.safetensors").exists()
    return said


@pytest.mark.slow
def test_killed_and_resumed_is_as_never_killed(recipe, straight, tmp_path):
    folder = tmp_path / "run"
    process = start(recipe, folder, tmp_path)
    stop_after(process, folder, 2, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    train(recipe, folder, resume=True)
    assert_same_run(folder, straight)


@pytest.mark.slow
def test_interrupted_and_resumed_is_as_never_interrupted(recipe, straight, tmp_path):
    folder = tmp_path / "run"
    process = start(recipe, folder, tmp_path)
    said = stop_after(process, folder, 3, signal.SIGINT)
    assert process.returncode == 130
    assert f"rnnport train --resume -o {folder}" in said
    assert "Traceback" not in said
    train(recipe, folder, resume=True)
    assert_same_run(folder, straight)


def test_more_epochs_may_be_asked_for(recipe, straight, tmp_path):
    folder = tmp_path / "run"
    short = replace(recipe, train=replace(recipe.train, epochs=5))
    train(short, folder)
    train(recipe, folder, resume=True)
    assert_same_run(folder, straight)


def test_a_finished_run_resumes_to_itself(recipe, tmp_path):
    folder = tmp_path / "run"
    short = replace(recipe, train=replace(recipe.train, epochs=2))
    train(short, folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*.[cmj]*")}
    train(short, folder, resume=True)
    assert {path.name: path.read_bytes() for path in folder.glob("*.[cmj]*")} == before


def test_a_run_that_patience_ended_is_not_trained_further(recipe, tmp_path):
    folder = tmp_path / "run"
    impatient = replace(recipe, train=replace(recipe.train, learning_rate=1.0, patience=1))
    epochs = train(impatient, folder).metrics["epochs"]
    assert epochs < EPOCHS
    assert train(impatient, folder, resume=True).metrics["epochs"] == epochs


def test_resume_refuses_another_recipe(recipe, tmp_path):
    folder = tmp_path / "run"
    short = replace(recipe, train=replace(recipe.train, epochs=1))
    train(short, folder)
    other = replace(short, model=replace(short.model, hidden=9))
    with pytest.raises(RecipeError, match=r"model\.hidden 8, and 9 is asked for"):
        train(other, folder, resume=True)
    reseeded = replace(short, train=replace(short.train, seed=9))
    with pytest.raises(RecipeError, match=r"train\.seed 0, and 9"):
        train(reseeded, folder, resume=True)


def test_resume_refuses_other_data(recipe, tmp_path):
    folder = tmp_path / "run"
    path = write_series(tmp_path / "my.csv", rows=200)
    short = replace(recipe, train=replace(recipe.train, epochs=1))
    short = replace(short, data=replace(short.data, source=str(path)))
    train(short, folder)
    write_series(path, rows=210)
    with pytest.raises(RecipeError, match=r"data\.sha256"):
        train(short, folder, resume=True)


def test_resume_needs_a_run(recipe, tmp_path):
    with pytest.raises(RequestError, match="no run to resume"):
        train(recipe, tmp_path / "nowhere", resume=True)
    with pytest.raises(RequestError, match="give one"):
        train(recipe, tmp_path, resume=True, overwrite=True)


def test_a_damaged_checkpoint_is_named(recipe, tmp_path):
    folder = tmp_path / "run"
    short = replace(recipe, train=replace(recipe.train, epochs=1))
    train(short, folder)
    path = folder / "checkpoint.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"checkpoint\.ckpt is damaged.*--overwrite"):
        train(recipe, folder, resume=True)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_a_checkpoint_that_is_something_else_is_named(recipe, straight, tmp_path, content):
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    (folder / "model.safetensors").unlink()
    (folder / "checkpoint.ckpt").write_bytes(content)
    with pytest.raises(DataError, match=r"checkpoint\.ckpt is damaged"):
        train(recipe, folder, resume=True)
