"""What a model answered: an array, and the same as the columns of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rnnport.data.types import Array
from rnnport.spec import ModelSpec

Progress = Callable[[int, int | None], None]  # done, of how many (None: unknown)


@dataclass(frozen=True)
class Answers:
    """Answers of a model: ``values`` as it gave them, ``columns`` as a table."""

    values: Array
    columns: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def classified(probabilities: Array, classes: tuple[str, ...]) -> Answers:
    """Probabilities ``[n, classes]`` as a table: label, its probability, and that of each class."""
    names = class_names(classes, probabilities.shape[-1])
    best = probabilities.argmax(axis=-1)
    columns = {
        "label": np.array([names[index] for index in best], dtype=object),
        "probability": probabilities[np.arange(len(best)), best],
        **{f"probability.{name}": probabilities[:, i] for i, name in enumerate(names)},
    }
    return Answers(probabilities, columns)


def class_names(classes: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The names of the classes, or their numbers where the file names none."""
    return classes if len(classes) == count else tuple(str(index) for index in range(count))


def forecast_ahead(forecast: Array, targets: tuple[str, ...], time: tuple[str, Array]) -> Answers:
    """One forecast ``[horizon, targets]`` as a table with the name and values of its time."""
    name, times = time
    columns = {name: times, **{target: forecast[:, i] for i, target in enumerate(targets)}}
    return Answers(forecast, columns)


def tabulated(values: Array, spec: ModelSpec) -> Answers:
    """Any answer as a table: its last axis as columns, the others counted in columns before."""
    answer = spec.answers()[0]
    if values.ndim < 2:
        values = values.reshape(-1, 1)
    *leading, width = values.shape
    known = {
        "sequence": answer.batch_axis is not None,
        "step": answer.time_axis is not None and spec.task is None,
        "ahead": spec.series is not None,
    }
    counted = [name for name, there in known.items() if there]
    counted += [f"axis{i}" for i in range(len(counted), len(leading))]
    indices = np.indices(tuple(leading)).reshape(len(leading), -1)
    names = spec.series.targets if spec.series is not None else ()
    if len(names) != width:
        names = tuple(f"{answer.name}.{i}" for i in range(width))
    flat = values.reshape(-1, width)
    columns = {counted[axis]: indices[axis] for axis in range(len(leading))}
    if "ahead" in columns:
        columns["ahead"] = columns["ahead"] + 1  # the first step of a forecast is one step ahead
    return Answers(values, columns | {name: flat[:, i] for i, name in enumerate(names)})


def at_the_end(answer: Array, spec: ModelSpec, lengths: Array | None = None) -> Array:
    """Of answers ``[n, time, …]`` to whole sequences those to the last step of each.

    A file without a task keeps all its steps: only its author knows what they mean.
    """
    if spec.task is None or spec.answers()[0].time_axis is None:
        return answer
    last = -1 if lengths is None else lengths - 1
    return np.asarray(answer[np.arange(len(answer)), last])


def as_task(values: Array, spec: ModelSpec) -> Answers:
    """Answers ``[n, …]`` as the model's task reads them."""
    if spec.task == "classify":
        return classified(values, spec.classes)
    return tabulated(values, spec)
