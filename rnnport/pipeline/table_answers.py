"""Answers to tables: the rows are time steps, and a forecaster goes on after the last of them."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from rnnport.data.blocks import column_names
from rnnport.data.tables import pieces, read_tail
from rnnport.data.times import continue_times, find_frequency, time_text
from rnnport.data.types import Array, Series
from rnnport.errors import DataError
from rnnport.pipeline.answers import Answers, Progress, as_task, at_the_end, forecast_ahead
from rnnport.pipeline.layout import answer_rows, of_model, rows_first, step_shape
from rnnport.runtime.session import Session
from rnnport.spec import ModelSpec, SeriesSpec, TensorSpec

PIECE = 1024  # rows that go through a stream at a time
RECENT = 1000  # rows whose times show the frequency


def answer_table(session: Session, path: Path, progress: Progress) -> Answers:
    """Answer a table whose rows are the steps of one sequence; columns keep the file's order.

    A streaming file takes a table of any size, piece by piece.

    Raises:
        DataError: the table cannot be read, or its width does not fit the model.
    """
    (tensor,) = session.spec.data_inputs()
    parts = _of_width(pieces(path, rows=_piece(session.spec)), tensor, path)
    if session.spec.streaming:
        values, _, _ = _through_stream(session, parts, progress)
        return as_task(values, session.spec)
    steps = np.concatenate([part.values.astype(tensor.dtype) for part in parts])
    return as_task(answer_rows(session, steps[None]), session.spec)


def _of_width(parts: Iterator[Series], tensor: TensorSpec, path: Path) -> Iterator[Series]:
    step = step_shape(tensor)
    for part in parts:
        if len(step) != 1 or (isinstance(step[0], int) and len(part.columns) != step[0]):
            raise DataError(
                f"{path} has {len(part.columns)} columns of values ({', '.join(part.columns)}); "
                f"the model takes {tensor.name} of shape [{', '.join(map(str, tensor.shape))}]"
            )
        yield part


def continue_table(session: Session, path: Path, progress: Progress) -> Answers:
    """Forecast what comes after a table's last row, with its time column continued.

    A streaming file reads all rows, piece by piece; any other only the last ``lookback``.

    Raises:
        DataError: the table cannot be read, lacks a column, or has too few rows.
    """
    series = session.spec.series
    assert series is not None  # a forecaster's spec has it
    time_column = _matched(series, path)
    if session.spec.streaming:
        parts = pieces(path, series.columns, _piece(session.spec), time_column=time_column)
        answer, rows, recent = _through_stream(session, parts, progress)
        _refuse_too_few(rows, series, path)
    else:
        recent = read_tail(
            path,
            series.columns,
            time_column,
            series.lookback,
            progress=lambda done: progress(done, None),
        )
        _refuse_too_few(len(recent), series, path)
        answer = answer_rows(session, recent.values[None])
    forecast = answer[0]
    return forecast_ahead(forecast, series.targets, _time_ahead(recent, series, len(forecast)))


def _matched(series: SeriesSpec, path: Path) -> str | None:
    """Refuse a table without the model's columns; the time column if the table has that too."""
    names = column_names(path)
    for name in series.columns:
        if name not in names:
            near = get_close_matches(name, names, 1, cutoff=0.5)
            hint = f"; nearest is '{near[0]}'" if near else ""
            raise DataError(
                f"{path} has no column '{name}', which the model was trained on{hint}; "
                f"it has {', '.join(names)}"
            )
    return series.time_column if series.time_column in names else None


def _refuse_too_few(rows: int, series: SeriesSpec, path: Path) -> None:
    if rows < series.lookback:
        raise DataError(
            f"{path} has {rows} rows; the model looks back over {series.lookback}: "
            "it needs at least as many"
        )


def _piece(spec: ModelSpec) -> int:
    """As many rows at a time as the file accepts, up to ``PIECE``."""
    most = PIECE if spec.time.max is None else min(PIECE, spec.time.max)
    return max(most // spec.time.multiple * spec.time.multiple, 1)


def _through_stream(
    session: Session, parts: Iterator[Series], progress: Progress
) -> tuple[Array, int, Series]:
    """Push a table piece by piece: the answer, the number of rows, and the last of them.

    The answer is that to the last row; a file without a task keeps those to all rows.
    """
    spec = session.spec
    (tensor,), (told,) = spec.data_inputs(), spec.answers()
    stream = session.stream()
    rows, kept, recent = 0, list[Array](), None
    for part in parts:
        answer = stream.push(of_model(part.values[None].astype(tensor.dtype), tensor))
        assert isinstance(answer, np.ndarray)  # the model has one answer
        if spec.task is not None or told.time_axis is None:
            kept.clear()
        kept.append(rows_first(answer, told))
        recent = part if recent is None else _joined(recent, part)
        rows += len(part)
        progress(rows, None)
    assert recent is not None  # a table has a row, or its reader refused it
    values = np.concatenate(kept, axis=1) if len(kept) > 1 else kept[0]
    return at_the_end(values, spec), rows, recent


def _joined(before: Series, part: Series) -> Series:
    """The end of two consecutive pieces, long enough to show the frequency."""
    if before.times is None or part.times is None:
        return part
    times = np.concatenate([before.times, part.times])[-RECENT:]
    values = np.concatenate([before.values, part.values])[-RECENT:]
    return Series(values, part.columns, times, part.time_column, utc=part.utc)


def _with_offset(times: Array) -> Array:
    """Times in UTC as text that says so, for an input whose times had offsets."""
    moments = times.astype("datetime64[us]")
    return np.array([f"{time_text(moment)}+00:00" for moment in moments], dtype=object)


def _time_ahead(recent: Series, series: SeriesSpec, horizon: int) -> tuple[str, Array]:
    """The name and the values of the time column past the last row; steps where there is none."""
    if recent.times is not None and recent.time_column is not None:
        frequency = recent.frequency or find_frequency(recent.times) or series.frequency
        times = continue_times(recent.times, frequency, horizon)
        if times is not None:
            return recent.time_column, _with_offset(times) if recent.utc else times
    return "step", np.arange(1, horizon + 1)
