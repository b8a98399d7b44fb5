"""From what a person typed to a recipe: the TOML file, the defaults where there is none, --set."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from rnnport.errors import RecipeError, RequestError
from rnnport.training.recipe import SECTIONS, Recipe, build, nearest

RECIPE_FILE = "recipe.toml"
MODELS = Path("models")
TASK_OF = {".npz": "classify", ".ts": "classify", ".csv": "forecast", ".parquet": "forecast"}

# What a person with a file of their own starts from.
DEFAULTS: dict[str, dict[str, Any]] = {
    "classify": {
        "task": {"kind": "classify"},
        "model": {"cell": "lstm", "hidden": 64, "layers": 1, "dropout": 0.1},
        "train": {
            "epochs": 60,
            "batch_size": 32,
            "learning_rate": 0.003,
            "clip": 1.0,
            "threads": 1,
        },
    },
    "forecast": {
        "task": {"kind": "forecast", "lookback": 48, "horizon": 12},
        "model": {"cell": "lstm", "hidden": 64, "layers": 1, "dropout": 0.1},
        "train": {
            "epochs": 60,
            "patience": 8,
            "batch_size": 32,
            "learning_rate": 0.003,
            "clip": 1.0,
            "threads": 1,
        },
    },
}


def find(recipe: str) -> Path:
    """The file of a recipe: itself, the ``recipe.toml`` of a folder, or a name under ``models/``.

    Raises:
        RequestError: there is no such recipe.
    """
    for path in (Path(recipe), MODELS / recipe):
        if path.is_file():
            return path
        if (path / RECIPE_FILE).is_file():
            return path / RECIPE_FILE
    named = [path.parent.name for path in MODELS.glob(f"*/{RECIPE_FILE}")]
    hint = nearest(recipe, named) if named else f"no folder '{MODELS}' with recipes is here"
    raise RequestError(f"there is no recipe '{recipe}', neither a file nor a folder; {hint}")


def read(path: Path) -> dict[str, Any]:
    """The document of a recipe file; a data file named relative to the recipe is found there.

    Raises:
        RecipeError: the file is not TOML.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}") from error
    data = document.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    if isinstance(source, str) and source and (path.parent / source).is_file():
        document["data"] = {**document["data"], "source": str(path.parent / source)}
    return document


def default_document(data: str, task: str | None) -> dict[str, Any]:
    """The document for data without a recipe; the task may follow from the kind of file.

    Raises:
        RequestError: the task is unknown, or does not follow.
    """
    kind = task or TASK_OF.get(Path(data).suffix.lower())
    if kind is None:
        raise RequestError(f"what to learn from {data} is not clear: give --task or a recipe")
    if kind not in DEFAULTS:
        raise RequestError(f"--task {kind} is unknown; {nearest(kind, DEFAULTS)}")
    return deepcopy(DEFAULTS[kind])


def override(document: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The document with every ``section.key=value`` applied; a value that is not TOML is a text.

    Raises:
        RecipeError: a setting has not that form, or names an unknown section.
    """
    changed = deepcopy(document)
    for setting in settings:
        option, equals, text = setting.partition("=")
        section, dot, key = option.strip().partition(".")
        if option.strip() == "name" and equals:
            changed["name"] = text.strip()
            continue
        if not (equals and dot and key):
            raise RecipeError(f"--set {setting} has not the form section.key=value")
        if section not in SECTIONS:
            raise RecipeError(
                f"--set {setting}: the section '{section}' is unknown; {nearest(section, SECTIONS)}"
            )
        values = changed.setdefault(section, {})
        if not isinstance(values, dict):
            raise RecipeError(f"[{section}] is {values!r}; it is a section of keys and values")
        values[key] = _value(text.strip())
    return changed


def _value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if len(document) == 1 else text


def resolve(
    recipe: str | None,
    *,
    data: str | None = None,
    task: str | None = None,
    targets: Sequence[str] = (),
    lookback: int | None = None,
    horizon: int | None = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
) -> Recipe:
    """The recipe of a request: the file or the defaults, then the options, then ``--set``.

    Raises:
        RequestError: there is neither a recipe nor data, or the recipe does not exist.
        RecipeError: the recipe or a setting is wrong.
    """
    if recipe is not None:
        path = find(recipe)
        document = read(path)
        name = path.parent.name if path.name == RECIPE_FILE else path.stem
    elif data is not None:
        document = default_document(data, task)
        name = Path(data).stem
    else:
        raise RequestError("give a recipe (a TOML file or a folder), or --data and --task")
    options: dict[str, Any] = {
        "task.kind": task,
        "task.targets": list(targets) or None,
        "task.lookback": lookback,
        "task.horizon": horizon,
        "data.source": data,
        "data.sha256": None if data is None else "",  # other data, another sum
        "train.seed": seed,
    }
    for option, value in options.items():
        if value is not None:
            section, _, key = option.partition(".")
            _merge(document, section, key, value)
    return build(override(document, settings), name or "model")


def _merge(document: dict[str, Any], section: str, key: str, value: Any) -> None:
    values = document.setdefault(section, {})
    if not isinstance(values, dict):
        raise RecipeError(f"[{section}] is {values!r}; it is a section of keys and values")
    values[key] = value
