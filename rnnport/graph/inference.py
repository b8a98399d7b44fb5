"""What a file without rnnport's metadata takes and gives, guessed from its graph."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rnnport.graph.axes import BATCH, TIME, Axes
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
    axes, main = Axes(reading), reading.main
    spec = ModelSpec(
        inputs=tuple(_tensor(main, axes, name) for name in main.input_names),
        outputs=tuple(_tensor(main, axes, name) for name in main.output_names),
        lengths=_lengths(reading),
    )
    found = recognise(reading)
    unclear = tuple(entry for entry, _ in found.unclear)
    return Guess(spec, tuple(found.pairs), unclear, tuple(found.lost))


def _lengths(reading: Reading) -> str | None:
    name = length_input(reading)
    if name is None or name not in reading.main.input_names:
        return None
    fits = reading.main.dtype(name) == "int64" and len(reading.main.shape(name) or ()) == 1
    return name if fits else None


def _tensor(scope: Scope, axes: Axes, name: str) -> TensorSpec:
    shape = scope.shape(name) or ()
    batch, time = axes.find(scope, name, BATCH), axes.find(scope, name, TIME)
    if batch is None:
        batch = _by_name(shape, NAMED_BATCH)
    if time is None:
        time = _by_name(shape, NAMED_TIME)
    meanings = {batch: BATCH, time: TIME}
    return TensorSpec(
        name=name,
        dtype=scope.dtype(name) or "unknown",
        shape=tuple(
            size if isinstance(size, int) else meanings.get(axis) or size or f"{name}.{axis}"
            for axis, size in enumerate(shape)
        ),
        batch_axis=batch,
        time_axis=time,
    )


def _by_name(shape: tuple[Dim, ...], words: tuple[str, ...]) -> int | None:
    for axis, size in enumerate(shape):
        if isinstance(size, str) and size and _means(size.lower(), words):
            return axis
    return None


def _means(symbol: str, words: tuple[str, ...]) -> bool:
    return any(symbol == word or (len(word) > 2 and word in symbol) for word in words)
