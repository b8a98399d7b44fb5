"""Loading a run: what export gets, and clear words for a folder that is damaged or unfinished."""

import pytest
import torch
from training_data import classify_document, write_sequences

from rnnport.errors import ModelFileError, RecipeError, RequestError
from rnnport.training.recipe import build
from rnnport.training.run import load_run
from rnnport.training.train import train


@pytest.fixture
def run(tmp_path):
    path = write_sequences(tmp_path / "x.npz", variable=True)
    folder = tmp_path / "run"
    train(build(classify_document(path, epochs=1), "x"), folder)
    return folder


def test_a_run_gives_module_streaming_form_and_example(run):
    loaded = load_run(run)
    assert set(loaded.example) == {"x", "lengths"}
    assert loaded.example["x"].shape == (3, 9, 2)
    assert loaded.example["lengths"].tolist() == [9, 8, 7]
    assert not loaded.module.training
    assert not loaded.streaming.training
    whole, steps = loaded.module(**loaded.example), loaded.streaming(**loaded.example)
    assert steps.shape == (3, 9, 2)
    for row, length in enumerate(loaded.example["lengths"].tolist()):
        torch.testing.assert_close(steps[row, length - 1], whole[row])
    assert loaded.spec.time.min == 1


def test_an_unfinished_run_says_how_to_go_on(run):
    (run / "model.safetensors").unlink()
    with pytest.raises(RequestError, match=r"stopped before its end.*--resume -o"):
        load_run(run)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"has no recipe\.toml"):
        load_run(tmp_path)
    with pytest.raises(RequestError, match="there is no run folder"):
        load_run(tmp_path / "nowhere")


def test_truncated_weights_are_named(run):
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"model\.safetensors is truncated or damaged"):
        load_run(run)


def test_weights_of_another_recipe_are_refused(run):
    path = run / "recipe.toml"
    path.write_text(path.read_text().replace("hidden = 8", "hidden = 9"))
    with pytest.raises(ModelFileError, match="not hold the weights of the recipe"):
        load_run(run)


def test_a_damaged_recipe_is_named(run):
    (run / "recipe.toml").write_text("[model\n")
    with pytest.raises(RecipeError, match=r"recipe\.toml is damaged"):
        load_run(run)
