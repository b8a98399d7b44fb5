"""The arrays that a case feeds: realistic inputs, lengths and states, drawn from its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnport.errors import RequestError
from rnnport.parity.cases import Case
from rnnport.runtime.inputs import BATCH, initial_state
from rnnport.spec import ModelSpec, StateSpec, TensorSpec

Array = NDArray[Any]

OTHER_SIZE = 3  # of a symbolic axis that is neither batch nor time


def draw(spec: ModelSpec, case: Case) -> dict[str, Array]:
    """Every graph input by name; what lies past a row's length is as wild as what lies before it.

    Raises:
        RequestError: an input has a dtype that nothing can be drawn for.
    """
    random = np.random.default_rng(case.seed)
    feeds = {each.name: np.asarray(_input(each, case, random)) for each in spec.data_inputs()}
    if spec.lengths is not None:
        lengths = case.lengths or (case.time,) * case.batch
        dtype = next(each.dtype for each in spec.inputs if each.name == spec.lengths)
        feeds[spec.lengths] = np.asarray(lengths, dtype)  # [batch]
    for state in spec.states:
        feeds[state.input] = _state(state, case, random)
    return feeds


def rows(spec: ModelSpec, feeds: Mapping[str, Array], row: int, steps: int) -> dict[str, Array]:
    """The feeds of one row alone, its inputs cut to ``steps``."""
    alone = {}
    for tensor in spec.data_inputs():
        array = take(feeds[tensor.name], tensor.batch_axis, row, row + 1)
        alone[tensor.name] = take(array, tensor.time_axis, 0, steps)
    for state in spec.states:
        alone[state.input] = take(feeds[state.input], spec.batch_axis(state), row, row + 1)
    if spec.lengths is not None:
        alone[spec.lengths] = feeds[spec.lengths][row : row + 1]
    return alone


def piece(spec: ModelSpec, feeds: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    """The time steps ``start`` to ``stop`` of the inputs, with the lengths that are left there."""
    part = {
        tensor.name: take(feeds[tensor.name], tensor.time_axis, start, stop)
        for tensor in spec.data_inputs()
    }
    if spec.lengths is not None:
        part[spec.lengths] = np.clip(feeds[spec.lengths] - start, 0, stop - start)
    return part


def take(array: Array, axis: int | None, start: int, stop: int) -> Array:
    """``array[start:stop]`` along one axis; all of it where there is no such axis."""
    if axis is None:
        return array
    return array[(slice(None),) * axis + (slice(start, stop),)]


def _input(tensor: TensorSpec, case: Case, random: np.random.Generator) -> Array:
    shape = tuple(_size(tensor, axis, case) for axis in range(len(tensor.shape)))
    dtype = _dtype(tensor.dtype, tensor.name)
    if "mask" in tensor.name and {tensor.batch_axis, tensor.time_axis} == {0, 1} == {
        *range(len(shape))
    }:
        return _mask(tensor, case, random).astype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu" and not tensor.mean:
        high = 1 if tensor.high is None else tensor.high
        return random.integers(tensor.low or 0, high + 1, shape).astype(dtype)
    mean = np.asarray(tensor.mean or 0.0)
    std = np.asarray(tensor.std or 1.0)
    values: Array = random.standard_normal(shape) * std + mean
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        top = limits.max if tensor.high is None else tensor.high
        values = np.clip(np.rint(values), limits.min, top)
    return values.astype(dtype)


def _mask(tensor: TensorSpec, case: Case, random: np.random.Generator) -> Array:
    """A padding mask, true where a row has ended if it is named so: no row is empty."""
    lengths = random.integers(1, case.time + 1, (case.batch, 1))
    valid: Array = np.arange(case.time) < lengths
    mask = ~valid if "pad" in tensor.name else valid
    return mask if tensor.batch_axis == 0 else mask.T


def _size(tensor: TensorSpec, axis: int, case: Case) -> int:
    size = tensor.shape[axis]
    if axis == tensor.batch_axis:
        return case.batch
    if axis == tensor.time_axis:
        return case.time
    return OTHER_SIZE if isinstance(size, str) else size


def _state(state: StateSpec, case: Case, random: np.random.Generator) -> Array:
    sizes = (OTHER_SIZE if isinstance(a, str) and a != BATCH else a for a in state.shape)
    zero = initial_state(replace(state, shape=tuple(sizes)), case.batch)
    if case.states == "zero" or zero.dtype.kind != "f":  # a counter or a flag has no random value
        return zero
    return (zero + random.uniform(-1.0, 1.0, zero.shape)).astype(zero.dtype)


def _dtype(name: str, tensor: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise RequestError(
            f"the input '{tensor}' holds {name}; inputs can be drawn for numbers only"
        )
    return dtype
