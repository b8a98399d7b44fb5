"""From a recipe to a finished run folder."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnnport import __version__
from rnnport.errors import MissingExtraError
from rnnport.spec import ModelSpec
from rnnport.training.folder import (
    prepare,
    refuse_other_recipe,
    refuse_used,
    with_data,
    write_history,
    write_metrics,
    write_recipe,
)
from rnnport.training.model import Network
from rnnport.training.objective import OBJECTIVES
from rnnport.training.problem import Problem, pose
from rnnport.training.recipe import Recipe
from rnnport.training.run import provenance, save_model

try:
    import lightning

    from rnnport.training.fit import accelerator, fit
    from rnnport.training.lesson import Lesson
    from rnnport.training.plots import plot_answers, plot_loss
except ImportError as missing:
    raise MissingExtraError.of(missing, "training") from missing

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TrainingReport:
    """Where a run is, and what is in its ``metrics.json``."""

    folder: Path
    metrics: dict[str, Any]


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> TrainingReport:
    """Train a recipe into ``folder``: weights, resolved recipe, metrics, history, plots.

    With ``resume`` it goes on from the last completed epoch; the result is that of a run that
    was never interrupted. Nothing is written before the data has been read and found fit.

    Raises:
        OutputExistsError: the folder has files, and neither ``resume`` nor ``overwrite`` is set.
        RecipeError: the recipe does not fit the data, or not the run to resume.
        DataError: the data does not fit the task.
        CheckFailedError: training diverged.
        DeviceError: the device is not there.
        KeyboardInterrupt: interrupted; the folder can be resumed.
    """
    if _leads():
        refuse_used(folder, resume=resume, overwrite=overwrite)
    accelerator(device)
    problem = pose(recipe)
    recipe = with_data(recipe, problem.sha256)
    if _leads():
        _take(folder, recipe, resume)
    lesson = fit(
        recipe,
        problem,
        folder,
        device=device,
        resume=resume,
        on_epoch=lambda history: write_history(folder, history),
    )
    if not _leads():
        raise SystemExit(0)
    return _finish(recipe, problem, folder, lesson)


def _leads() -> bool:
    """Whether this process is the one that writes.

    With several devices Lightning starts this same command again for each of the others.
    """
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def _take(folder: Path, recipe: Recipe, resume: bool) -> None:
    if resume:
        refuse_other_recipe(folder, recipe)
        write_recipe(folder, recipe)
    else:
        prepare(folder, recipe)


def _finish(recipe: Recipe, problem: Problem, folder: Path, lesson: Lesson) -> TrainingReport:
    """Measure the weights to be kept and write everything that a finished run has."""
    weights, kept = lesson.finished_weights()
    network = lesson.network.cpu().eval()
    network.load_state_dict(weights)
    origin = provenance(recipe.to_dict(), problem.name, problem.sha256, recipe.train.seed)
    spec = replace(problem.spec, provenance=origin)
    metrics = _metrics(recipe, problem, spec, network, lesson, kept)
    write_history(folder, lesson.history)
    plot_loss(folder, lesson.history, kept)
    part = next(name for name in ("test", "validation", "train") if name in problem.parts)
    plot_answers(folder, network, problem.parts[part], spec, metrics[part], part)
    write_metrics(folder, metrics)
    save_model(folder, weights, spec, problem.time)  # last: a run with weights is complete
    return TrainingReport(folder, metrics)


def _metrics(
    recipe: Recipe, problem: Problem, spec: ModelSpec, network: Network, lesson: Lesson, kept: int
) -> dict[str, Any]:
    evaluate = OBJECTIVES[recipe.task.kind].evaluate
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": recipe.name,
        "task": recipe.task.kind,
        "data": problem.name,
        "epochs": len(lesson.history),
        "epoch_kept": kept,
        "seconds": sum(row["seconds"] for row in lesson.history),
        "parameters": sum(weight.numel() for weight in network.parameters()),
        **{name: evaluate(network, part, spec) for name, part in problem.parts.items()},
        "versions": {
            "rnnport": __version__,
            "torch": str(torch.__version__),
            "lightning": lightning.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
