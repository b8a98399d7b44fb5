"""``rnnport train``: what goes where, exit codes, and nothing left behind by a wrong request."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from training_data import write_sequences, write_series
from typer.testing import CliRunner

from rnnport.cli.main import app


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    done = CliRunner().invoke(app, ["train", *map(str, arguments)])
    assert "Traceback" not in done.output
    return done


def refused(code, *arguments):
    """The message of a refusal, which leaves no folder."""
    done = run(*arguments, "-o", "out")
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert not Path("out").exists()
    return done.stderr


def test_a_table_of_ones_own_is_forecast_without_a_recipe(tmp_path):
    write_series(tmp_path / "my.csv")
    words = ["--data", "my.csv", "--task", "forecast", "--target", "price", "--lookback", 12]
    done = run(*words, "--horizon", 3, "--set", "train.epochs=1", "--seed", 4)
    assert done.exit_code == 0, done.output
    assert "mase" in done.stdout
    assert "runs/my" in done.stdout
    assert "epoch 1/1  train loss" in done.stderr
    assert "left" in done.stderr
    recipe = (tmp_path / "runs/my/recipe.toml").read_text()
    for line in ("seed = 4", "horizon = 3", "lookback = 12", f'source = "{tmp_path}/my.csv"'):
        assert line in recipe


def test_json_is_one_document_and_all_of_stdout(tmp_path):
    write_sequences(tmp_path / "x.npz")
    done = run("--data", "x.npz", "--set", "train.epochs=1", "--json", "-o", "out")
    metrics = json.loads(done.stdout)
    assert metrics["schema_version"] == 1
    assert metrics == json.loads((tmp_path / "out/metrics.json").read_text())


def test_resume_needs_the_folder_alone(tmp_path):
    write_sequences(tmp_path / "x.npz")
    assert run("--data", "x.npz", "--set", "train.epochs=1", "-o", "out").exit_code == 0
    done = run("--resume", "-o", "out", "--set", "train.epochs=2")
    assert done.exit_code == 0, done.output
    assert "epoch 2/2" in done.stderr
    assert "epoch 1/2" not in done.stderr
    assert "of 2 kept" in done.stdout


def test_an_unknown_key_is_named_with_the_nearest():
    message = refused(2, "--data", "digits", "--task", "classify", "--set", "model.hiden=9")
    assert "'hiden'; did you mean 'hidden'?" in message


def test_a_recipe_that_is_not_there_is_refused():
    assert "no recipe 'nonsense'" in refused(2, "nonsense")


def test_nothing_at_all_is_refused():
    assert "--data" in refused(2)


def test_a_target_that_is_not_there_is_refused(tmp_path):
    write_series(tmp_path / "my.csv")
    message = refused(2, "--data", "my.csv", "--target", "prise")
    assert "'prise' is not a column of my.csv; did you mean 'price'?" in message


def test_a_missing_file_is_refused():
    assert "none.csv does not exist" in refused(2, "--data", "none.csv")


def test_text_in_a_column_of_numbers_is_refused(tmp_path):
    path = write_series(tmp_path / "my.csv")
    path.write_text(path.read_text().replace("\n2024-01-03 05:00:00,", "\n2024-01-03 05:00:00,x"))
    assert "price" in refused(2, "--data", "my.csv", "--target", "price")


def test_too_few_rows_are_refused(tmp_path):
    write_series(tmp_path / "my.csv", rows=30)
    message = refused(2, "--data", "my.csv", "--lookback", 40, "--horizon", 2)
    assert "lookback 40 + horizon 2 = 42 rows" in message


def test_one_class_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 3, 1), np.float32), y=np.zeros(20, np.int64))
    assert "one class" in refused(2, "--data", "x.npz")


def test_a_length_longer_than_the_padding_is_refused(tmp_path):
    arrays = {"x": np.zeros((4, 3, 1), np.float32), "y": np.array([0, 1, 0, 1])}
    np.savez(tmp_path / "x.npz", **arrays, lengths=np.array([1, 2, 3, 4]))
    assert "length of sequence 3 is 4" in refused(2, "--data", "x.npz")


def test_a_device_that_does_not_exist_is_refused(tmp_path):
    write_sequences(tmp_path / "x.npz")
    assert "--device tpu" in refused(2, "--data", "x.npz", "--device", "tpu")


def test_a_folder_in_use_is_refused_and_untouched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    done = run("--data", "x.npz", "-o", "out")
    assert done.exit_code == 2
    assert "--resume" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_nothing_to_resume_is_refused():
    assert "there is no run to resume in out" in refused(2, "--resume")
    assert "--resume needs the folder of the run" in run("--resume").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of a file")
def test_a_full_disk_is_exit_3_and_leaves_the_old_checkpoint(tmp_path):
    import resource

    write_sequences(tmp_path / "x.npz")
    words = ["--data", "x.npz", "-o", "out"]
    assert run(*words, "--set", "train.epochs=1").exit_code == 0
    before = (tmp_path / "out/checkpoint.ckpt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # bytes
    try:
        done = run(*words, "--resume", "--set", "train.epochs=2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.exit_code == 3
    assert "checkpoint.ckpt could not be written" in done.stderr
    assert (tmp_path / "out/checkpoint.ckpt").read_bytes() == before
    assert not list((tmp_path / "out").glob(".*"))
