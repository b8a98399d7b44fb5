"""Sequences with rows and time in front, put into a model's own axes, and its answers back."""

from __future__ import annotations

import numpy as np

from rnnport.data.types import Array
from rnnport.pipeline.answers import at_the_end
from rnnport.runtime.session import Session
from rnnport.spec import Dim, ModelSpec, TensorSpec


def answer_rows(session: Session, x: Array, lengths: Array | None = None) -> Array:
    """The answer ``[n, …]`` to whole sequences ``x [n, time, …]``, whatever the model's own axes.

    Of a file with a task that answers every step it is the answer to the last step of each row,
    which ``lengths`` may tell also where the model itself takes none.

    Raises:
        DataError: the sequences do not fit the model.
    """
    spec = session.spec
    tensor, answer = spec.data_inputs()[0], spec.answers()[0]
    given = session(of_model(x, tensor), lengths if spec.lengths is not None else None)
    values = given[answer.name] if isinstance(given, dict) else given
    return at_the_end(rows_first(values, answer), spec, lengths)


def of_model(x: Array, tensor: TensorSpec) -> Array:
    """``[n, time, …]`` in the axes of a model's input; as it is where the file names none.

    An input without a batch axis takes one sequence: ``n`` is 1 and goes.
    """
    batch, time = tensor.batch_axis, tensor.time_axis
    if batch is None:
        return x if time is None else np.moveaxis(x[0], 0, time)
    return np.moveaxis(x, 0, batch) if time is None else np.moveaxis(x, (0, 1), (batch, time))


def rows_first(answer: Array, tensor: TensorSpec) -> Array:
    """An answer as ``[n, time, …]``, ``[n, …]`` where it has no time; the way back."""
    batch, time = tensor.batch_axis, tensor.time_axis
    if batch is None:
        return answer if time is None else np.moveaxis(answer, time, 0)[None]
    if time is None:
        return np.moveaxis(answer, batch, 0)
    return np.moveaxis(answer, (batch, time), (0, 1))


def step_shape(tensor: TensorSpec) -> tuple[Dim, ...]:
    """The axes of one step of one sequence."""
    taken = {tensor.batch_axis, tensor.time_axis}
    return tuple(size for axis, size in enumerate(tensor.shape) if axis not in taken)


def rows_at_once(spec: ModelSpec, rows: int, most: int) -> int:
    """How many of ``rows`` sequences go into one call: ``most``, or what the file fixes.

    All of them where the file does not say which axis they are.
    """
    (tensor,) = spec.data_inputs()
    if tensor.batch_axis is None:
        return rows if tensor.time_axis is None else 1
    return spec.fixed_batch() or (most if spec.answers()[0].batch_axis is not None else rows)
