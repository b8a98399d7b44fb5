"""What a file without rnnport's metadata takes and gives, guessed from its graph."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from rnnport.graph.axes import BATCH, TIME, Axes, axes_of
from rnnport.graph.reading import open_reading
from rnnport.graph.scopes import Reading, Scope
from rnnport.graph.states import Pair, length_input, recognise
from rnnport.spec import Dim, ModelSpec, TensorSpec

NAMED_BATCH = ("batch", "n", "b", "bs")
NAMED_TIME = ("time", "seq", "sequence", "frames", "t", "length", "steps")


@dataclass(frozen=True)
class Guess:
    """A spec without states, and the inputs and outputs that look like one state each.

    ``unclear`` are inputs that look like states with several outputs that may be their successor;
    ``lost`` those that no output carries on.
    """

    spec: ModelSpec
    pairs: tuple[Pair, ...]
    unclear: tuple[str, ...]
    lost: tuple[str, ...]


def infer_spec(path: str | os.PathLike[str]) -> ModelSpec:
    """What the file's graph takes and gives; a state stays an input and an output like any other.

    Raises:
        RequestError: there is no file of that name.
        ModelFileError: the file is not an ONNX model, or makes no sense.
    """
    return guess(open_reading(path)).spec


def guess(reading: Reading) -> Guess:
    """Axes by the recurrent nodes that they reach, else by their names; states by their ways."""
    inputs, outputs = tensor_specs(reading)
    spec = ModelSpec(inputs, outputs, lengths=row_lengths(reading))
    found = recognise(reading)
    unclear = tuple(entry for entry, _ in found.unclear)
    return Guess(spec, tuple(found.pairs), unclear, tuple(found.lost))


def tensor_specs(reading: Reading) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The graph's inputs and outputs with their batch and time axes.

    A symbolic batch is called so whatever its author called it; the time as well, where all inputs
    have one and the same.
    """
    axes, main = axes_of(reading), reading.main
    inputs = tuple(_tensor(main, axes, name) for name in main.input_names)
    outputs = tuple(_tensor(main, axes, name) for name in main.output_names)
    times = {t.shape[t.time_axis] for t in inputs if t.time_axis is not None}
    if len(times) != 1 or not isinstance(time := times.pop(), str):
        return inputs, outputs
    renamed = tuple(tuple(_renamed(t, time) for t in each) for each in (inputs, outputs))
    return renamed[0], renamed[1]


def row_lengths(reading: Reading) -> str | None:
    """The graph input ``[batch]`` that gives each row's true length."""
    name = length_input(reading)
    return name if name is not None and holds_lengths(reading, name) else None


def holds_lengths(reading: Reading, name: str) -> bool:
    """Whether a graph input has the form of lengths: whole numbers, one for each row."""
    main = reading.main
    shaped = len(main.shape(name) or ()) == 1 and main.dtype(name) in ("int64", "int32")
    return name in main.input_names and shaped


def _tensor(scope: Scope, axes: Axes, name: str) -> TensorSpec:
    declared = scope.shape(name) or ()
    batch, time = axes.find(scope, name, BATCH), axes.find(scope, name, TIME)
    if batch is None:
        batch = _by_name(declared, NAMED_BATCH)
    if time is None:
        time = _by_name(declared, NAMED_TIME)
    shape: list[Dim] = []
    for axis, dim in enumerate(declared):
        own = dim if dim != "" else f"{name}.{axis}"  # an axis that the author left unnamed
        shape.append(BATCH if axis == batch and isinstance(own, str) else own)
    return TensorSpec(name, scope.dtype(name) or "unknown", tuple(shape), batch, time)


def _renamed(tensor: TensorSpec, time: str) -> TensorSpec:
    return replace(tensor, shape=tuple(TIME if size == time else size for size in tensor.shape))


def _by_name(shape: tuple[Dim, ...], words: tuple[str, ...]) -> int | None:
    for axis, size in enumerate(shape):
        if isinstance(size, str) and size and _means(size.lower(), words):
            return axis
    return None


def _means(symbol: str, words: tuple[str, ...]) -> bool:
    return any(symbol == word or (len(word) > 2 and word in symbol) for word in words)
