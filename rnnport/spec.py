"""What a model file promises: the typed form of the JSON in its ``metadata_props["rnnport"]``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from rnnport.errors import ModelFileError, SpecVersionError

FORMAT_VERSION = 1
METADATA_KEY = "rnnport"
FUNCTION_DOMAIN = "rnnport"  # of the ONNX functions that a quantized file calls
TASKS = ("classify", "forecast")

Dim = int | str  # a fixed size, or the name of a symbolic axis such as "batch"


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output; its axes are sizes or the names of symbolic axes.

    ``mean`` and ``std`` are typical raw values per feature (the last axis; one number stands for
    all), ``low`` and ``high`` the range of an integer input, of ids for one: tests and benches draw
    their inputs so.
    """

    name: str
    dtype: str  # NumPy's name: "float32", "int64", …
    shape: tuple[Dim, ...]
    batch_axis: int | None = None
    time_axis: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    high: int | None = None
    low: int | None = None


@dataclass(frozen=True)
class StateSpec:
    """A state: the graph input that takes it and the graph output that gives its successor.

    ``shape`` names its batch axis ``"batch"``: the first in our own files, any in a foreign one,
    none where the file fixes its batch. ``initial`` is one number for every element, or a nested
    list of the shape without that axis.
    """

    input: str
    output: str
    dtype: str
    shape: tuple[Dim, ...]
    initial: float | list[Any] = 0.0


@dataclass(frozen=True)
class TimeSpec:
    """The numbers of time steps that one call accepts."""

    min: int = 1
    multiple: int = 1
    max: int | None = None

    def accepts(self, steps: int) -> bool:
        in_range = self.min <= steps and (self.max is None or steps <= self.max)
        return in_range and steps % self.multiple == 0


@dataclass(frozen=True)
class SeriesSpec:
    """What a forecaster was trained on; columns are matched by name, values are in raw units.

    ``target_mean``, ``target_std`` (fitted on the training part) turn errors into scaled units;
    ``naive_mae`` is the training part's mean absolute error of the seasonal naive forecast with
    period ``season``, the denominator of MASE.
    """

    columns: tuple[str, ...]
    targets: tuple[str, ...]
    lookback: int
    horizon: int
    time_column: str | None = None
    frequency: str | None = None  # "1h", "15m", "1mo", "1bd" (business days), "3i" (integers)
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    naive_mae: tuple[float, ...] = ()
    season: int = 1


@dataclass(frozen=True)
class ModelSpec:
    """Everything that a runtime needs to know of a model file without parsing its graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[StateSpec, ...] = ()
    task: str | None = None
    lengths: str | None = None  # the int64 or int32 input [batch] with each row's true length
    time: TimeSpec = TimeSpec()
    classes: tuple[str, ...] = ()
    series: SeriesSpec | None = None
    quantization: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def streaming(self) -> bool:
        """Whether the file takes and gives its states, so that it can run piece by piece."""
        return bool(self.states)

    def data_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that are neither a state nor the lengths."""
        other = {state.input for state in self.states} | {self.lengths}
        return tuple(tensor for tensor in self.inputs if tensor.name not in other)

    def answers(self) -> tuple[TensorSpec, ...]:
        """The outputs that are not the successor of a state."""
        other = {state.output for state in self.states}
        return tuple(tensor for tensor in self.outputs if tensor.name not in other)

    def batch_axis(self, state: StateSpec) -> int | None:
        """The axis of a state's rows, also where their number is fixed; None where unknown."""
        if "batch" in state.shape:
            return state.shape.index("batch")
        return next((each.batch_axis for each in self.inputs if each.name == state.input), None)

    def fixed_batch(self) -> int | None:
        """The only number of rows that the file takes; None where it takes any."""
        for tensor in self.inputs:
            size = None if tensor.batch_axis is None else tensor.shape[tensor.batch_axis]
            if isinstance(size, int):
                return size
        return None

    def to_json(self) -> str:
        """The JSON text for ``metadata_props["rnnport"]``."""
        document = {"format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(document, ensure_ascii=False, allow_nan=False)


def parse(text: str, where: str = "the model file") -> ModelSpec:
    """Read a spec; unknown keys are ignored.

    Raises:
        SpecVersionError: the text has a newer ``format_version`` than this package knows.
        ModelFileError: the text is not a spec.
    """
    try:
        document = json.loads(text)
        version = document["format_version"]
        if not isinstance(version, int) or isinstance(version, bool):
            raise TypeError(f"format_version is {version!r}, not a whole number")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{where}: the rnnport metadata is not readable: {error}") from error
    if version > FORMAT_VERSION:
        raise SpecVersionError(
            f"{where} was written in format version {version}; this rnnport reads versions up to "
            f"{FORMAT_VERSION}: pip install --upgrade rnnport"
        )
    try:
        return _spec(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{where}: the rnnport metadata is damaged: {error!r}") from error


def _spec(document: Mapping[str, Any]) -> ModelSpec:
    series = document.get("series")
    return ModelSpec(
        inputs=tuple(_tensor(item) for item in document["inputs"]),
        outputs=tuple(_tensor(item) for item in document["outputs"]),
        states=tuple(_state(item) for item in document.get("states", ())),
        task=document.get("task"),
        lengths=document.get("lengths"),
        time=_time(document.get("time") or {}),
        classes=tuple(document.get("classes", ())),
        series=None if series is None else _series(series),
        quantization=_quantization(document.get("quantization")),
        provenance=dict(document.get("provenance", {})),
    )


def _quantization(item: Any) -> Mapping[str, Any] | None:
    if item is None:
        return None
    nodes, drift = item.get("nodes") or [], item.get("drift") or {}
    if not all(isinstance(each, Mapping) for each in (drift, *drift.values(), *nodes)):
        raise TypeError("the account of the quantization is not one")
    return dict(item)


def _tensor(item: Mapping[str, Any]) -> TensorSpec:
    shape = _shape(item["shape"])
    for key in ("batch_axis", "time_axis"):
        axis = item.get(key)
        if axis is not None and not 0 <= axis < len(shape):
            raise ValueError(f"{key} is {axis}, and the shape has {len(shape)} axes")
    return TensorSpec(
        name=item["name"],
        dtype=_dtype(item["dtype"]),
        shape=shape,
        batch_axis=item.get("batch_axis"),
        time_axis=item.get("time_axis"),
        mean=tuple(item.get("mean", ())),
        std=tuple(item.get("std", ())),
        high=item.get("high"),
        low=item.get("low"),
    )


def _state(item: Mapping[str, Any]) -> StateSpec:
    shape, initial = _shape(item["shape"]), item.get("initial", 0.0)
    named = [axis for axis in shape if isinstance(axis, str) and axis != "batch"]
    if named:
        raise ValueError(f"a state has the axis {named[0]!r}; its axes are 'batch' and sizes")
    begins = np.shape(np.array(initial, np.float64))
    if begins not in ((), tuple(axis for axis in shape if axis != "batch")):
        raise ValueError(f"a state begins as an array {list(begins)}, and its shape is {shape}")
    return StateSpec(item["input"], item["output"], _dtype(item["dtype"]), shape, initial)


def _dtype(name: str) -> str:
    if np.dtype(name).kind not in "biuf":
        raise ValueError(f"dtype {name!r} is not one of numbers")
    return name


def _shape(axes: Sequence[Any]) -> tuple[Dim, ...]:
    for axis in axes:
        if not isinstance(axis, int | str) or isinstance(axis, bool):
            raise TypeError(f"axis {axis!r} is neither a size nor a name")
    return tuple(axes)


def _time(item: Mapping[str, Any]) -> TimeSpec:
    least, multiple, most = item.get("min", 1), item.get("multiple", 1), item.get("max")
    if least < 1 or multiple < 1 or (most is not None and most < least):
        raise ValueError(f"the times from {least} to {most} in multiples of {multiple} are none")
    return TimeSpec(least, multiple, most)


def _series(item: Mapping[str, Any]) -> SeriesSpec:
    return SeriesSpec(
        columns=tuple(item["columns"]),
        targets=tuple(item["targets"]),
        lookback=int(item["lookback"]),
        horizon=int(item["horizon"]),
        time_column=item.get("time_column"),
        frequency=item.get("frequency"),
        target_mean=tuple(item.get("target_mean", ())),
        target_std=tuple(item.get("target_std", ())),
        naive_mae=tuple(item.get("naive_mae", ())),
        season=int(item.get("season", 1)),
    )
