"""Time steps written as lines of text: JSON arrays, JSON objects by column name, or CSV rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from rnnport.data.types import Array
from rnnport.errors import DataError
from rnnport.pipeline.layout import step_shape
from rnnport.spec import ModelSpec

_SHOWN = 60  # characters of a bad line that a message repeats


class StepReader:
    """Reads one time step a line.

    A line is a JSON array (``[0.1, 2]``; a number alone for one feature), a JSON object with the
    columns that the model was trained on (``{"price": 3}``; others are left out), or a CSV row. A
    first CSV row without any number is a header: its columns are matched by name where the model
    knows names. Empty lines are skipped.
    """

    def __init__(self, spec: ModelSpec) -> None:
        (tensor,) = spec.data_inputs()
        self._shape = step_shape(tensor)
        self._dtype = np.dtype(tensor.dtype)
        self._columns = spec.series.columns if spec.series is not None else ()
        self._header: tuple[str, ...] = ()

    def steps(self, lines: Iterable[str]) -> Iterator[Array]:
        """Each line's step, in the shape of one step of the model's input.

        Raises:
            DataError: a line does not fit; its number is named, counted from 1.
        """
        first = True
        for number, line in enumerate(lines, start=1):
            text = line.strip().removeprefix("\ufeff")
            if not text:
                continue
            try:
                if not (first and self._takes_header(text)):
                    yield self._step(text)
            except _BadLineError as error:
                shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
                raise DataError(f"line {number}: {error}; found: {shown}") from error
            first = False

    def _takes_header(self, text: str) -> bool:
        if text[0] in "[{":
            return False
        cells = _cells(text)
        if any(_is_number(cell) for cell in cells):
            return False
        for name in self._columns:
            _refuse_missing(name, cells)
        self._header = tuple(cells)
        return True

    def _step(self, text: str) -> Array:
        values = self._from_json(text) if text[0] in "[{" else self._from_row(_cells(text))
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise _BadLineError("its rows differ in length") from error
        if array.dtype.kind not in "iuf":
            raise _BadLineError("it holds something else than numbers")
        fixed = [axis for axis in self._shape if isinstance(axis, int)]
        if array.ndim < 2 and len(fixed) == len(self._shape) and array.size == np.prod(fixed):
            array = array.reshape(fixed)  # a flat row, or a number alone
        if not self._fits(array):
            found, expected = _sizes(array.shape), _sizes(self._shape)
            names = f" ({', '.join(self._columns)})" if self._columns else ""
            raise _BadLineError(f"it has {found} numbers, expected {expected}{names}")
        return self._as_dtype(array)

    def _fits(self, array: Array) -> bool:
        return array.ndim == len(self._shape) and all(
            isinstance(axis, str) or axis == size
            for axis, size in zip(self._shape, array.shape, strict=True)
        )

    def _as_dtype(self, array: Array) -> Array:
        if not np.isfinite(array).all():
            raise _BadLineError("it holds a value that is not a finite number")
        with np.errstate(over="ignore"):
            step = array.astype(self._dtype)
        if self._dtype.kind in "iu" and not np.array_equal(step, array):
            raise _BadLineError(f"the model takes whole numbers ({self._dtype})")
        if not np.isfinite(step).all():
            raise _BadLineError(f"it holds a number too large for {self._dtype}")
        return step

    def _from_json(self, text: str) -> Any:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _BadLineError(f"it is not JSON ({error})") from error
        if not isinstance(values, dict):
            return values
        if not self._columns:
            raise _BadLineError("the model knows no column names; write a JSON array or a CSV row")
        for name in self._columns:
            _refuse_missing(name, list(values))
        return [values[name] for name in self._columns]

    def _from_row(self, cells: Sequence[str]) -> list[float]:
        if self._header and len(cells) != len(self._header):
            raise _BadLineError(f"it has {len(cells)} cells, its header {len(self._header)}")
        if self._header and self._columns:
            cells = [cells[self._header.index(name)] for name in self._columns]
        wrong = next((cell for cell in cells if not _is_number(cell)), None)
        if wrong is not None:
            what = f"'{wrong}' is not a number" if wrong else "a cell is empty"
            raise _BadLineError(what)
        return [float(cell) for cell in cells]


class _BadLineError(Exception):
    """A line is no time step; the reader adds its number."""


def _sizes(shape: Sequence[int | str]) -> str:
    return " × ".join(map(str, shape)) or "1"


def _cells(text: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text]))]
    except csv.Error as error:
        raise _BadLineError(f"it is no CSV row ({error})") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_missing(name: str, found: Sequence[str]) -> None:
    if name not in found:
        near = get_close_matches(name, found, 1)
        hint = f"; nearest is '{near[0]}'" if near else ""
        raise _BadLineError(f"there is no column '{name}'{hint}")
