"""From a recipe to what there is to learn: the parts of the data, their scaling, the spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rnnport.data.load import load_classify, load_forecast
from rnnport.data.statistics import naive_mae, train_statistics
from rnnport.data.types import Array, ForecastData, Sequences
from rnnport.errors import DataError, RecipeError
from rnnport.spec import ModelSpec, SeriesSpec, TensorSpec
from rnnport.training.parts import Part, SequencePart, WindowPart
from rnnport.training.recipe import Recipe, nearest
from rnnport.training.scaling import Scaling, fit_scaling, numbers

PARTS = ("train", "validation", "test")
# The period that a person expects of a series with such steps; others repeat the last value.
SEASONS = {"15m": 96, "30m": 48, "1h": 24, "1d": 7, "1bd": 5, "1w": 52, "1mo": 12, "1q": 4}


@dataclass(frozen=True)
class Problem:
    """Everything that training needs to know of the data."""

    name: str
    sha256: str
    parts: Mapping[str, Part]  # of PARTS, those that have rows
    spec: ModelSpec  # without provenance
    inputs: Scaling
    targets: Scaling | None  # of a forecast
    time: int  # steps of a typical sequence


def pose(recipe: Recipe) -> Problem:
    """Load a recipe's data and fit the scaling on its training part.

    Raises:
        DataError: the data is not the recipe's, or does not fit its task.
        FetchError: a built-in set is nowhere to be found.
        RecipeError: the recipe wants what the data has not.
    """
    problem = POSERS[recipe.task.kind](recipe)
    expected = recipe.data.sha256
    if expected and expected != problem.sha256:
        raise DataError(
            f"{recipe.data.source} is not the data of the recipe: its sha256 is {problem.sha256}, "
            f"data.sha256 is {expected}; give --data to train on other data"
        )
    if recipe.train.patience and "validation" not in problem.parts:
        raise RecipeError(
            f"train.patience is {recipe.train.patience}, and {problem.name} has no validation "
            "part to watch: set data.validation to the share to set aside, such as 0.1"
        )
    return problem


def _classify(recipe: Recipe) -> Problem:
    data = load_classify(recipe.data.source, validation=recipe.data.validation)
    train = data.train
    if len(train) == 0:
        raise DataError(
            f"{data.name} has no rows to train on: by its name it is a test part; give the "
            "training file, which finds its test beside it"
        )
    if len(data.classes) < 2 or train.y is None or len(np.unique(train.y)) < 2:
        raise DataError(
            f"{data.name} has sequences of one class only in its training part; a classifier "
            "needs at least two"
        )
    values = _valid_steps(train)  # [steps, features]
    mean, std = train_statistics(values)
    inputs = [_x_spec(mean, std)]
    if train.lengths is not None:
        inputs.append(TensorSpec("lengths", "int64", ("batch",), batch_axis=0))
    scores = TensorSpec("probabilities", "float32", ("batch", len(data.classes)), batch_axis=0)
    spec = ModelSpec(
        inputs=tuple(inputs),
        outputs=(scores,),
        task="classify",
        lengths=None if train.lengths is None else "lengths",
        classes=data.classes,
    )
    # one range for all features: the pixels of an image share their unit
    scaling = fit_scaling(recipe.data.scaling, values, over=None)
    rows = {name: getattr(data, name) for name in PARTS}
    parts = {name: SequencePart(part) for name, part in rows.items() if len(part)}
    return Problem(
        data.name, data.sha256, parts, spec, scaling, targets=None, time=train.x.shape[1]
    )


def _forecast(recipe: Recipe) -> Problem:
    task = recipe.task
    if task.lookback is None or task.horizon is None:
        raise TypeError("a checked recipe of a forecast has a lookback and a horizon")
    data = load_forecast(
        recipe.data.source,
        time_column=recipe.data.time_column,
        columns=recipe.data.columns or None,
    )
    columns = data.series.columns
    targets = task.targets or columns
    for target in targets:
        if target not in columns:
            raise DataError(
                f"the target '{target}' is not a column of {data.name}; {nearest(target, columns)}"
            )
    picked = [columns.index(target) for target in targets]
    values = data.series.values
    rows = {name: getattr(data, name) for name in PARTS}
    parts = {
        name: WindowPart(values, part, task.lookback, task.horizon, picked)
        for name, part in rows.items()
        if len(part)
    }
    known = values[data.train.start : data.train.stop]
    series = _series_spec(data, known, targets, picked, task.lookback, task.horizon)
    shape = ("batch", task.horizon, len(targets))
    spec = ModelSpec(
        inputs=(_x_spec(*train_statistics(known)),),
        outputs=(TensorSpec("forecast", "float32", shape, batch_axis=0),),
        task="forecast",
        series=series,
    )
    scaling = fit_scaling(recipe.data.scaling, known, over=0)
    return Problem(
        name=data.name,
        sha256=data.sha256,
        parts=parts,
        spec=spec,
        inputs=scaling,
        targets=Scaling(
            tuple(scaling.offset[index] for index in picked),
            tuple(scaling.scale[index] for index in picked),
        ),
        time=task.lookback,
    )


POSERS: dict[str, Callable[[Recipe], Problem]] = {"classify": _classify, "forecast": _forecast}


def _series_spec(
    data: ForecastData,
    known: Array,
    targets: tuple[str, ...],
    picked: list[int],
    lookback: int,
    horizon: int,
) -> SeriesSpec:
    """``known`` is the training part ``[time, columns]``, of which ``picked`` are the targets."""
    season = SEASONS.get(data.series.frequency or "", 1)
    if season >= len(known):
        season = 1
    mean, std = train_statistics(known[:, picked])
    return SeriesSpec(
        columns=data.series.columns,
        targets=targets,
        lookback=lookback,
        horizon=horizon,
        time_column=data.series.time_column,
        frequency=data.series.frequency,
        target_mean=numbers(mean),
        target_std=numbers(std),
        naive_mae=numbers(naive_mae(known[:, picked], season)),
        season=season,
    )


def _x_spec(mean: Array, std: Array) -> TensorSpec:
    return TensorSpec(
        name="x",
        dtype="float32",
        shape=("batch", "time", len(mean)),
        batch_axis=0,
        time_axis=1,
        mean=numbers(mean),
        std=numbers(std),
    )


def _valid_steps(sequences: Sequences) -> Array:
    """The steps of all sequences without their padding, ``[steps, features]``."""
    if sequences.lengths is None:
        return sequences.x.reshape(-1, sequences.x.shape[-1])
    valid = np.arange(sequences.x.shape[1]) < sequences.lengths[:, None]  # [n, time]
    steps: Array = sequences.x[valid]
    return steps
