"""Feeds for a model of which only the graph is known: seeded, small, of sizes that fit together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rnnport.errors import UnsupportedModelError
from rnnport.graph.axes import BATCH, TIME, Axes, axes_of
from rnnport.graph.scopes import Reading
from rnnport.graph.states import length_input
from rnnport.spec import Dim

LARGEST_INPUT = 1 << 24  # elements; a declared shape is not to be believed


@dataclass(frozen=True)
class Sizes:
    """The sizes of the symbolic axes of one run."""

    batch: int = 2
    time: int = 5
    other: int = 4


def feeds(reading: Reading, sizes: Sizes, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values for every graph input.

    Floats are normal, lengths lie between 1 and the time, other whole numbers are 0 or 1.

    Raises:
        UnsupportedModelError: an input without a shape or type, or one of an absurd size.
    """
    random = np.random.default_rng(seed)
    axes, main = axes_of(reading), reading.main
    lengths = length_input(reading)
    made: dict[str, np.ndarray] = {}
    steps = _steps(reading, axes, sizes)
    for name in main.input_names:
        shape = _shape(reading, axes, name, sizes)
        dtype = main.dtype(name)
        try:
            kind: str = np.dtype(dtype).kind
        except TypeError:
            kind = ""
        if name == lengths:
            made[name] = random.integers(1, steps + 1, shape).astype(dtype)
        elif kind == "f":
            made[name] = random.standard_normal(shape).astype(dtype)
        elif kind in ("i", "u", "b"):
            made[name] = random.integers(0, 2, shape).astype(dtype)
        else:
            raise UnsupportedModelError(
                f"the input '{name}' has the type '{dtype or 'unknown'}': no values are made for it"
            )
    return made


def _shape(reading: Reading, axes: Axes, name: str, sizes: Sizes) -> tuple[int, ...]:
    declared = reading.main.shape(name)
    if declared is None:
        raise UnsupportedModelError(f"the input '{name}' declares no shape")
    shape = tuple(
        _size(dim, axes.of(reading.main, name, axis), sizes) for axis, dim in enumerate(declared)
    )
    if math.prod(shape) > LARGEST_INPUT:
        raise UnsupportedModelError(f"the input '{name}' declares {math.prod(shape):.3g} elements")
    return shape


def _size(dim: Dim, meaning: str, sizes: Sizes) -> int:
    if isinstance(dim, int):
        return dim
    text = dim.lower()
    if meaning == BATCH or "batch" in text or text == "n":
        return sizes.batch
    if meaning == TIME or any(word in text for word in ("time", "seq", "len", "step")):
        return sizes.time
    return sizes.other


def _steps(reading: Reading, axes: Axes, sizes: Sizes) -> int:
    """The time that the data inputs will have."""
    for name in reading.main.input_names:
        for axis, dim in enumerate(reading.main.shape(name) or ()):
            if axes.of(reading.main, name, axis) == TIME:
                return _size(dim, TIME, sizes)
    return 1
