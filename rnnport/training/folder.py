"""A run's folder: what its files are called, who may write there, reading and writing them."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnport.data.builtin import CLASSIFY, FORECAST
from rnnport.errors import (
    MissingExtraError,
    OutputExistsError,
    RecipeError,
    RequestError,
    WriteError,
)
from rnnport.files import replacing
from rnnport.training.recipe import Recipe, build

MODEL = "model.safetensors"
RECIPE = "recipe.toml"
METRICS = "metrics.json"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.ckpt"
LOSS_PLOT = "loss.png"
ANSWER_PLOTS = {"classify": "confusion.png", "forecast": "forecast.png"}
EXPORTED = ("model.onnx", "model.stream.onnx")  # where rnnport export writes without -o
FILES = (MODEL, RECIPE, METRICS, HISTORY, CHECKPOINT, LOSS_PLOT, *ANSWER_PLOTS.values())


def resume_command(folder: Path) -> str:
    """The command that goes on with a run."""
    return f"rnnport train --resume -o {folder}"


def refuse_used(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder before any work is done.

    Raises:
        OutputExistsError: there is something in it, and it is neither resumed nor overwritten.
        RequestError: there is no run in it to resume, or both are asked for.
        WriteError: it is a file.
    """
    if resume and overwrite:
        raise RequestError("--resume goes on with a run and --overwrite starts anew: give one")
    if folder.exists() and not folder.is_dir():
        raise WriteError(f"{folder} is a file; -o names the folder of the run")
    if resume:
        if not (folder / RECIPE).is_file():
            raise RequestError(f"there is no run to resume in {folder}: it has no {RECIPE}")
        return
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise OutputExistsError(
            f"{folder} has files already; --resume goes on with its run, --overwrite replaces it, "
            "-o names another folder"
        )


def prepare(folder: Path, recipe: Recipe) -> None:
    """Make the folder, remove a former run's own files (no others), write the recipe.

    The models exported into it go too: beside the new weights they would pass for theirs.

    Raises:
        WriteError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        former = (folder / RECIPE).is_file()  # without it, a model there is not a run's
        for name in (*FILES, *(EXPORTED if former else ())):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{folder} cannot be written: {error.strerror or error}") from error
    write_recipe(folder, recipe)


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the resolved recipe."""
    try:
        import tomli_w
    except ImportError as error:
        raise MissingExtraError("tomli-w", "train", "writing the recipe of a run") from error
    with replacing(folder / RECIPE, overwrite=True) as temporary:
        temporary.write_text(tomli_w.dumps(recipe.to_dict()), encoding="utf-8")


def read_recipe(folder: Path) -> Recipe:
    """The resolved recipe of a run.

    Raises:
        RequestError: the folder is not a run's.
        RecipeError: its recipe is damaged.
    """
    path = folder / RECIPE
    if not folder.is_dir():
        raise RequestError(f"there is no run folder {folder}; rnnport train -o {folder} makes one")
    try:
        return build(tomllib.loads(path.read_text(encoding="utf-8")), folder.name)
    except FileNotFoundError as error:
        raise RequestError(
            f"{folder} is not the folder of a run: it has no {RECIPE}; rnnport train makes one"
        ) from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} is damaged: {error}") from error


def refuse_other_recipe(folder: Path, asked: Recipe) -> None:
    """Refuse to resume with another recipe; only more epochs may be asked for.

    Raises:
        RecipeError: names the first field that differs.
    """
    there = read_recipe(folder)
    wanted, known = asked.to_dict(), there.to_dict()
    for section, values in known.items():
        if section == "name":
            continue
        for key in {**values, **wanted[section]}:
            old, new = values.get(key), wanted[section].get(key)
            if f"{section}.{key}" == "train.epochs" and new >= old:
                continue
            if old != new:
                raise RecipeError(
                    f"the run in {folder} has {section}.{key} {old!r}, and {new!r} is asked for: "
                    "--resume needs the same recipe (only train.epochs may grow); "
                    "-o names another folder, --overwrite starts anew"
                )


def write_history(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write one row an epoch; the whole file each time, so that no row is ever there twice."""
    with (
        replacing(folder / HISTORY, overwrite=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(history[0]), lineterminator="\n")
        writer.writeheader()
        for row in history:
            writer.writerow({**row, "epoch": int(row["epoch"])})


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write the metrics as indented JSON."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(folder / METRICS, overwrite=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def with_data(recipe: Recipe, sha256: str) -> Recipe:
    """The recipe with everything resolved that the data decides: its place and its checksum."""
    source = recipe.data.source
    if source not in CLASSIFY and source not in FORECAST:
        source = str(Path(source).resolve())
    return replace(recipe, data=replace(recipe.data, source=source, sha256=sha256))
