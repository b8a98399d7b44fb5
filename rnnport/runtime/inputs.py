"""Checking what a caller feeds against what the model file promises, before an engine sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from rnnport.errors import DataError
from rnnport.runtime.engine import Array, Arrays
from rnnport.spec import ModelSpec, StateSpec, TensorSpec

BATCH = "batch"  # the symbolic axis of a state's rows


def named(feeds: Arrays, tensors: Mapping[str, TensorSpec]) -> None:
    """Refuse a feed that no graph input has the name of.

    Raises:
        DataError: a name is unknown.
    """
    for name in feeds:
        if name not in tensors:
            near = get_close_matches(name, tensors, 1)
            hint = f"; nearest is '{near[0]}'" if near else ""
            raise DataError(f"the model has no input '{name}'; it has {', '.join(tensors)}{hint}")


def check_feeds(spec: ModelSpec, feeds: Arrays) -> None:
    """Refuse feeds that do not fit, for an engine whose framework takes anything.

    Raises:
        DataError: says which input is missing or unknown, or has another dtype, rank or size than
            the file promises; axes of one symbolic name have one size.
    """
    tensors = {tensor.name: tensor for tensor in spec.inputs}
    named(feeds, tensors)
    symbols: dict[str, int] = {}
    for tensor in spec.inputs:
        if tensor.name not in feeds:
            raise DataError(f"the input '{tensor.name}' is missing")
        array = exact(feeds[tensor.name], tensor)
        shaped(array, tensor)
        for size, axis in zip(array.shape, tensor.shape, strict=True):
            known = symbols.setdefault(axis, size) if isinstance(axis, str) else size
            if size != known:
                raise DataError(f"{_wrong_shape(array, tensor)} with {axis} {known}, as before it")


def cast(values: Array, tensor: TensorSpec) -> Array:
    """An array in the input's dtype.

    Numbers are cast as NumPy's rule "same_kind" allows (integer to float, float64 to float32; never
    float to integer); whole numbers must fit the narrower type.

    Raises:
        DataError: the array holds something else than numbers, or they do not fit.
    """
    array = _array(values, f"the input '{tensor.name}'")
    if array.dtype == tensor.dtype:
        return array
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        raise DataError(_wrong_dtype(array, tensor))
    with np.errstate(over="ignore"):
        narrow = array.astype(tensor.dtype)
    if narrow.dtype.kind in "iu" and not np.array_equal(narrow, array):
        raise DataError(f"the input '{tensor.name}' holds numbers that {tensor.dtype} cannot hold")
    return narrow


def exact(values: Array, tensor: TensorSpec) -> Array:
    """An array that has the input's dtype already.

    Raises:
        DataError: it has another one.
    """
    array = _array(values, f"the input '{tensor.name}'")
    if array.dtype != tensor.dtype:
        raise DataError(f"{_wrong_dtype(array, tensor)}: .astype('{tensor.dtype}') converts it")
    return array


def _array(values: Array, what: str) -> Array:
    try:
        return np.asarray(values)
    # lists of unequal lengths; what another framework does not hand to NumPy as it is
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{what}: NumPy makes no array of it: {error}") from error


def _wrong_dtype(array: Array, tensor: TensorSpec) -> str:
    return f"the input '{tensor.name}' has dtype {array.dtype}; expected {tensor.dtype}"


def shaped(array: Array, tensor: TensorSpec) -> None:
    """Refuse a rank or a fixed axis other than the file's.

    Raises:
        DataError: the shape does not fit.
    """
    fits = array.ndim == len(tensor.shape) and all(
        size == axis or isinstance(axis, str)
        for size, axis in zip(array.shape, tensor.shape, strict=True)
    )
    if not fits:
        raise DataError(_wrong_shape(array, tensor))


def _wrong_shape(array: Array, tensor: TensorSpec) -> str:
    return (
        f"the input '{tensor.name}' has shape {list(array.shape)}; "
        f"expected [{', '.join(map(str, tensor.shape))}]"
    )


def batch_of(arrays: Arrays, spec: ModelSpec, tensors: Sequence[TensorSpec]) -> int:
    """The number of rows, which all inputs that have a batch axis agree on.

    Raises:
        DataError: they do not agree, or there is no row.
    """
    sizes = {
        tensor.name: arrays[tensor.name].shape[tensor.batch_axis]
        for tensor in tensors
        if tensor.batch_axis is not None
    }
    if not sizes:
        return spec.fixed_batch() or 1
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"'{name}' {size}" for name, size in sizes.items())
        raise DataError(f"the inputs differ in their batch: {found}")
    (batch,) = set(sizes.values())
    if batch == 0:
        raise DataError(f"the input '{next(iter(sizes))}' holds no sequence: its batch is 0")
    return int(batch)


def time_of(arrays: Arrays, spec: ModelSpec, tensors: Sequence[TensorSpec]) -> int | None:
    """The number of time steps of the first input that has a time axis.

    Raises:
        DataError: the file does not accept that many.
    """
    steps = None
    for tensor in tensors:
        if tensor.time_axis is None:
            continue
        found = int(arrays[tensor.name].shape[tensor.time_axis])
        if not spec.time.accepts(found) or found == 0:
            raise DataError(
                f"the input '{tensor.name}' has {found} time steps; the model takes {_times(spec)}"
            )
        steps = found if steps is None else steps
    return steps


def _times(spec: ModelSpec) -> str:
    time = spec.time
    if time.max == time.min:
        return f"exactly {time.min}"
    bounds = f"{time.min} or more" if time.max is None else f"{time.min} to {time.max}"
    return bounds + (f", in multiples of {time.multiple}" if time.multiple > 1 else "")


def refuse_batch(spec: ModelSpec, batch: int) -> None:
    """Refuse another number of rows than the one that the file fixes, if it fixes one.

    Raises:
        DataError: says which batch the file takes.
    """
    fixed = spec.fixed_batch()
    if fixed not in (None, batch):
        raise DataError(
            f"the model file takes batch {fixed} only, as it was exported; the batch here is "
            f"{batch}: 'rnnport check --fix' may free it"
        )


def lengths_of(
    values: Array, batch: int, time: int, *, least: int = 1, dtype: str = "int64"
) -> Array:
    """The true length of each row, ``[batch]``.

    Raises:
        DataError: not one whole number for each row, or one that is outside ``least`` … ``time``.
    """
    lengths = _array(values, "lengths")
    if lengths.dtype.kind not in "iu":
        raise DataError(f"lengths have dtype {lengths.dtype}; expected whole numbers")
    if lengths.shape != (batch,):
        raise DataError(
            f"lengths have shape {list(lengths.shape)}; expected one for each row: [{batch}]"
        )
    wrong = np.flatnonzero((lengths < least) | (lengths > time))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(
            f"row {row} has length {lengths[row]}; expected {least} to {time}, the padded time"
        )
    return lengths.astype(dtype)


def initial_state(state: StateSpec, batch: int) -> Array:
    """A state at the beginning, of ``state.shape``; a new array.

    Raises:
        DataError: the state has an axis of no known size.
    """
    sizes = tuple(batch if axis == BATCH else axis for axis in state.shape)
    shape = tuple(size for size in sizes if isinstance(size, int))
    if len(shape) < len(sizes):
        raise DataError(
            f"the state '{state.input}' has the shape [{', '.join(map(str, state.shape))}], whose "
            "sizes the file does not say: session.run takes states by name"
        )
    if not isinstance(state.initial, list):
        return np.full(shape, state.initial, state.dtype)
    one = np.array(state.initial, state.dtype)
    if BATCH in state.shape:
        one = np.expand_dims(one, state.shape.index(BATCH))
    return np.broadcast_to(one, shape).copy()


def full_lengths(batch: int, time: int, dtype: str = "int64") -> Array:
    """The lengths of rows that have no padding, ``[batch]``."""
    return np.full(batch, time, dtype)
