"""Recipes are checked at the edge, and every message names the option."""

import tomllib
from pathlib import Path

import pytest
import tomli_w

from rnnport.errors import RecipeError, RequestError
from rnnport.training.reading import find, override, read, resolve
from rnnport.training.recipe import build

ROOT = Path(__file__).parent.parent.parent


def document(**sections):
    whole = {"data": {"source": "digits"}}
    for name, values in sections.items():
        whole[name] = {**whole.get(name, {}), **values}
    return whole


def forecast(**sections):
    sections.setdefault("task", {"kind": "forecast", "lookback": 8, "horizon": 2})
    return document(**sections)


def test_a_recipe_is_the_same_after_toml():
    recipe = build(forecast(model={"cell": "rnn", "nonlinearity": "relu"}), "mine")
    assert build(tomllib.loads(tomli_w.dumps(recipe.to_dict())), "other") == recipe
    assert recipe.name == "mine"


@pytest.mark.parametrize("path", sorted(ROOT.glob("models/*/recipe.toml")), ids=str)
def test_every_recipe_of_the_project_is_valid(path):
    assert build(read(path), path.parent.name).train.seed == 0


def test_mnist_lstm_is_what_its_card_says():
    recipe = build(read(ROOT / "models/mnist-lstm/recipe.toml"), "mnist-lstm")
    assert (recipe.model.cell, recipe.model.layers, recipe.model.hidden) == ("lstm", 3, 50)
    assert (recipe.model.dropout, recipe.data.scaling) == (0.2, "range")
    train = recipe.train
    assert (train.optimizer, train.learning_rate) == ("adam", 0.001)
    assert (train.batch_size, train.epochs, train.clip) == (128, 10, 0.0)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"hiden": 8}}, r"\[model\] has the unknown key 'hiden'; did you mean 'hidden'"),
        ({"modle": {}}, "the recipe has the unknown key 'modle'; did you mean 'model'"),
        ({"model": {"cell": "lsmt"}}, "model.cell is 'lsmt'; did you mean 'lstm'"),
        ({"model": {"hidden": "many"}}, "model.hidden is 'many'; it is a whole number"),
        ({"model": {"hidden": True}}, "model.hidden is True; it is a whole number"),
        ({"model": {"hidden": 0}}, "model.hidden is 0; .* at least 1"),
        ({"model": {"dropout": 1.0}}, "model.dropout is 1.0; .* at least 0 and below 1"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate is nan; .* finite"),
        ({"train": {"optimizer": "adamx"}}, "train.optimizer is 'adamx'; did you mean 'adam'"),
        ({"task": {"targets": [1.5]}}, r"task.targets is \[1.5\]; it is a list of texts"),
        ({"data": {"source": ""}}, "data.source is not set; .*--data"),
        ({"model": {"nonlinearity": "relu"}}, "model.nonlinearity 'relu' is for model.cell 'rnn'"),
        ({"task": {"horizon": 3}}, "task.horizon is for task.kind 'forecast'"),
        ({"task": {"kind": "forecast", "horizon": 3}}, "task.lookback is not set; .*--lookback N"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(sections, message):
    with pytest.raises(RecipeError, match=message):
        build(document(**sections), "x")


def test_a_section_that_is_no_section_is_refused():
    with pytest.raises(RecipeError, match=r"\[model\] is 3"):
        build({"model": 3, "data": {"source": "digits"}}, "x")


def test_a_target_outside_the_columns_is_refused_with_the_nearest():
    task = {"kind": "forecast", "lookback": 8, "horizon": 2, "targets": ["prize"]}
    with pytest.raises(RecipeError, match=r"'prize'.*did you mean 'price'"):
        build(forecast(task=task, data={"columns": ["price", "load"]}), "x")


def test_set_takes_toml_values_and_bare_words():
    settings = ["model.hidden=128", "model.cell=gru", "train.clip=1", 'task.targets=["a", "b"]']
    changed = override({"model": {"hidden": 2}}, settings)
    assert changed["model"] == {"hidden": 128, "cell": "gru"}
    assert changed["train"]["clip"] == 1
    assert changed["task"]["targets"] == ["a", "b"]


@pytest.mark.parametrize("setting", ["hidden=3", "model.hidden", "model.=3", "=3"])
def test_set_refuses_another_form(setting):
    with pytest.raises(RecipeError, match=r"section\.key=value"):
        override({}, [setting])


def test_set_names_the_nearest_section():
    with pytest.raises(RecipeError, match="'trian' is unknown; did you mean 'train'"):
        override({}, ["trian.epochs=3"])


def test_options_win_over_the_recipe_and_set_over_options(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('[data]\nsource = "digits"\nsha256 = "ab"\n[train]\nseed = 1\nepochs = 2\n')
    asked = resolve(str(tmp_path), data="other.npz", seed=7, settings=["train.epochs=9"])
    assert (asked.data.source, asked.train.seed, asked.train.epochs) == ("other.npz", 7, 9)
    assert asked.data.sha256 == ""  # other data has another sum
    assert asked.name == tmp_path.name


def test_data_alone_gets_defaults():
    asked = resolve(None, data="my.csv", task="forecast", targets=["price"], horizon=3)
    assert (asked.name, asked.task.horizon, asked.task.targets) == ("my", 3, ("price",))
    assert asked.task.lookback is not None
    assert resolve(None, data="x.npz").task.kind == "classify"


def test_neither_recipe_nor_data_is_refused():
    with pytest.raises(RequestError, match="--data"):
        resolve(None)
    with pytest.raises(RequestError, match="--task"):
        resolve(None, data="digits")
    with pytest.raises(RequestError, match="did you mean 'forecast'"):
        resolve(None, data="my.csv", task="forcast")


def test_a_recipe_is_found_as_file_folder_or_name(monkeypatch):
    monkeypatch.chdir(ROOT)
    path = Path("models/digits-lstm/recipe.toml")
    assert {find(word) for word in ("digits-lstm", "models/digits-lstm", str(path))} == {path}
    with pytest.raises(RequestError, match=r"no recipe 'digits-lsmt'.*did you mean 'digits-lstm'"):
        find("digits-lsmt")


def test_a_recipe_that_is_not_toml_is_refused(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[model\nhidden=")
    with pytest.raises(RecipeError, match=r"broken\.toml is not TOML"):
        read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"broken\.toml is not TOML"):
        read(path)


def test_a_data_file_beside_the_recipe_is_found(tmp_path):
    (tmp_path / "my.csv").write_text("a\n1\n")
    (tmp_path / "recipe.toml").write_text('[data]\nsource = "my.csv"\n')
    assert read(tmp_path / "recipe.toml")["data"]["source"] == str(tmp_path / "my.csv")


def test_a_whole_number_is_taken_where_a_text_belongs():
    data = {"source": "my.csv", "time_column": 2016, "columns": [2017, "b"]}
    task = {"kind": "forecast", "lookback": 4, "horizon": 2, "targets": 2017}
    recipe = build({"task": task, "data": data, "train": {"precision": 32}}, "r")
    assert recipe.train.precision == "32"
    assert recipe.data.time_column == "2016"
    assert recipe.data.columns == ("2017", "b")
    assert recipe.task.targets == ("2017",)
