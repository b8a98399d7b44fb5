"""A model file's metrics on one part of a data set, from ONNX Runtime, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnport.data.load import load_classify, load_forecast
from rnnport.data.metrics import (
    classification_metrics,
    confusion_counts,
    forecast_metrics,
    forecast_sums,
)
from rnnport.data.types import PARTS, Array, ClassifyData, ForecastData, Sequences, joined
from rnnport.data.windows import gather, window_starts
from rnnport.errors import DataError, RequestError
from rnnport.pipeline.layout import answer_rows
from rnnport.runtime.session import Session, load
from rnnport.spec import ModelSpec

SCHEMA_VERSION = 1
Note = Callable[[str], None]
SPLITS = (*PARTS, "all")
Progress = Callable[[int, int], None]  # rows done, rows in all
Observe = Callable[[Array], None]


@dataclass(frozen=True)
class Evaluation:
    """The metrics, with what they were measured on."""

    model: str
    data: str
    sha256: str  # of the data
    split: str
    task: str
    device: str
    metrics: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what a reader should know; nothing that makes the figures wrong

    def document(self) -> dict[str, Any]:
        """The JSON document of ``rnnport evaluate --json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "data": self.data,
            "sha256": self.sha256,
            "split": self.split,
            "task": self.task,
            "device": self.device,
            "metrics": dict(self.metrics),
            "classes": list(self.classes),
            "notes": list(self.notes),
        }


def evaluate(
    model: str | Path,
    data: str,
    *,
    split: str = "test",
    device: str = "auto",
    batch_size: int = 256,
    note: Note | None = None,
    progress: Progress | None = None,
    observe: Observe | None = None,
) -> Evaluation:
    """Measure a model file on a part of a data set, split as it was for training.

    Args:
        model: the ``.onnx`` file; its spec says the task, and the columns or classes.
        data: a built-in set's name, or the path of a CSV, Parquet, ``.npz`` or ``.ts``
            file.
        split: ``train``, ``validation``, ``test``, or ``all`` for data that is not split.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: sequences or windows in one call; the metrics do not depend on it.
        note: told which device was taken and why, and what a reader of the figures should know.
        progress: told how many sequences or windows are done, of how many.
        observe: given the answers ``[n, …]`` of each batch, in the data's order.

    Raises:
        RequestError: an option is wrong.
        DataError: the file has no task, or the data does not fit the model.
        UnavailableError: the file, the data set or the device cannot be had.
    """
    if split not in SPLITS:
        raise RequestError(f"there is no split '{split}'; there are {', '.join(SPLITS)}")
    if batch_size < 1:
        raise RequestError(f"--batch-size is {batch_size}; it is at least 1")
    session = load(str(model), device=device)
    tell = note or (lambda text: None)
    tell(f"running on {session.device}: {session.placement.reason}")
    spec = session.spec
    if spec.task not in _MEASURES:
        raise DataError(
            f"{model} names no task with metrics (its task is {spec.task}); files exported from a "
            f"run of rnnport train do: {', '.join(_MEASURES)}. 'rnnport infer' gives the answers "
            "of any file"
        )
    watch = _Watch(progress or (lambda done, of: None), observe or (lambda answers: None))
    found, metrics = _MEASURES[spec.task](session, data, split, batch_size, watch)
    notes = _notes(spec, found)
    for text in notes:
        tell(text)
    return Evaluation(
        model=str(model),
        data=found.name,
        sha256=found.sha256,
        split=split,
        task=spec.task,
        device=session.device,
        metrics=metrics,
        classes=spec.classes,
        notes=notes,
    )


@dataclass(frozen=True)
class _Watch:
    progress: Progress
    observe: Observe


def _classify(
    session: Session, source: str, split: str, batch_size: int, watch: _Watch
) -> tuple[ClassifyData, dict[str, Any]]:
    spec = session.spec
    data = load_classify(source, validation=_validation_share(spec))
    part = joined(data.train, data.validation, data.test) if split == "all" else data.part(split)
    if len(part) == 0:
        raise DataError(
            f"{data.name} has no rows in its {split} part, as it was split for this model; "
            "--split test has some"
        )
    y = _labels(part, data, spec)
    _check_sequences(part, data.name, spec)
    confusion = np.zeros((len(spec.classes), len(spec.classes)), dtype=np.int64)
    for start in range(0, len(part), batch_size):
        rows = part.take(slice(start, start + batch_size))
        scores = answer_rows(session, rows.x, rows.lengths)
        confusion += confusion_counts(y[start : start + batch_size], scores, spec.classes)
        watch.observe(scores)
        watch.progress(start + len(rows), len(part))
    return data, classification_metrics(confusion)


def _forecast(
    session: Session, source: str, split: str, batch_size: int, watch: _Watch
) -> tuple[ForecastData, dict[str, Any]]:
    series = session.spec.series
    if series is None:
        raise DataError("the model forecasts, but its spec does not say which columns")
    data = load_forecast(source, time_column=series.time_column, columns=series.columns)
    values = data.series.values
    targets = [series.columns.index(target) for target in series.targets]
    rows = range(len(values)) if split == "all" else data.part(split)
    starts = window_starts(rows, series.lookback, series.horizon)
    sums = []
    for first in range(0, len(starts), batch_size):
        batch = starts[first : first + batch_size]
        x, y = gather(values, batch, series.lookback, series.horizon)
        forecast = answer_rows(session, x.astype(np.float32))
        sums.append(forecast_sums(y[:, :, targets], forecast))
        watch.observe(forecast)
        watch.progress(first + len(batch), len(starts))
    return data, forecast_metrics(sum(sums[1:], start=sums[0]), series)


_MEASURES: dict[str, Callable[..., tuple[ClassifyData | ForecastData, dict[str, Any]]]] = {
    "classify": _classify,
    "forecast": _forecast,
}


def _labels(part: Sequences, data: ClassifyData, spec: ModelSpec) -> Array:
    """The labels as the model numbers its classes, matched by their names."""
    if part.y is None:
        raise DataError(f"{data.name} has no labels to measure answers against")
    unknown = [name for name in data.classes if name not in spec.classes]
    if unknown:
        raise DataError(
            f"{data.name} has the class '{unknown[0]}', which the model does not know; it knows "
            f"{', '.join(spec.classes) or 'none by name'}"
        )
    order = np.array([spec.classes.index(name) for name in data.classes], dtype=np.int64)
    labels: Array = order[part.y]
    return labels


def _check_sequences(part: Sequences, name: str, spec: ModelSpec) -> None:
    width = spec.data_inputs()[0].shape[-1]
    if isinstance(width, int) and part.x.shape[-1] != width:
        raise DataError(
            f"{name} has {part.x.shape[-1]} features a step; the model was trained on {width}"
        )
    padded = part.lengths is not None and bool((part.lengths < part.x.shape[1]).any())
    if padded and spec.lengths is None and not spec.streaming:
        raise DataError(
            f"{name} has sequences of different lengths, and the model takes no lengths: it would "
            "read the padding; train it on data with lengths"
        )


def _validation_share(spec: ModelSpec) -> float | None:
    """The share that the model's training held out; None where it does not say."""
    recipe = spec.provenance.get("recipe")
    section = recipe.get("data") if isinstance(recipe, Mapping) else None
    share = section.get("validation") if isinstance(section, Mapping) else None
    return share if isinstance(share, float) else None


def _notes(spec: ModelSpec, data: ClassifyData | ForecastData) -> tuple[str, ...]:
    trained = spec.provenance.get("data")
    known = trained.get("sha256") if isinstance(trained, Mapping) else None
    if known is None or known == data.sha256:
        return ()
    return (
        f"this is not the data that the model was trained on (sha256 {data.sha256[:12]}…, not "
        f"{str(known)[:12]}…); if all of it is new to the model, --split all measures all of it",
    )
