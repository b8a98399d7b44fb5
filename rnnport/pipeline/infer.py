"""Answers of a model file to a file of data: sequences in batches, or a table's rows over time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rnnport.data.blocks import CSV, PARQUET, is_table
from rnnport.data.sequences import is_sequences
from rnnport.errors import DataError, RequestError
from rnnport.pipeline.answers import Answers, Progress
from rnnport.pipeline.sequence_answers import answer_sequences
from rnnport.pipeline.table_answers import answer_table, continue_table
from rnnport.runtime.session import load
from rnnport.spec import ModelSpec

if TYPE_CHECKING:
    import os

BATCH_SIZE = 256

Note = Callable[[str], None]


def infer(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    note: Note | None = None,
    progress: Progress | None = None,
) -> Answers:
    """Answer a file of data.

    Args:
        model: the model file.
        source: sequences (``.npy``, ``.npz`` with x and lengths, ``.ts``, idx), or a table (CSV,
            Parquet). A forecaster continues a table past its last row; any other model takes a
            table's rows as the time steps of one sequence.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: sequences in one call.
        note: told which device was taken, and why.
        progress: told how many sequences or rows are done.

    Raises:
        RequestError, DataError: the request or the data does not fit the model.
        UnavailableError: the model file, the device or a package; see ``rnnport.load``.
    """
    if batch_size < 1:
        raise RequestError(f"the batch size is {batch_size}; expected 1 or more")
    path = Path(source)
    if not (is_table(path) or is_sequences(path)):
        raise DataError(
            f"{path} is not of a known kind by its name; sequences end in .npy, .npz, .ts or .idx, "
            f"tables in {', '.join(CSV + PARQUET)}"
        )
    session = load(model, device)
    if note is not None:
        note(f"running on {session.device}: {session.placement.reason}")
    _only_one(session.spec)
    tell = progress or (lambda done, total: None)
    if not is_table(path):
        return answer_sequences(session, path, batch_size, tell)
    if session.spec.series is not None:
        return continue_table(session, path, tell)
    return answer_table(session, path, tell)


def _only_one(spec: ModelSpec) -> None:
    for what, tensors in (("inputs", spec.data_inputs()), ("answers", spec.answers())):
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors)
            marked = spec.streaming or spec.lengths is not None or spec.task is not None
            hint = "" if marked else "; 'rnnport annotate' marks those that are states or lengths"
            raise RequestError(
                f"the model has the {what} {names or 'none'}; this command runs models with one: "
                f"rnnport.load(…).run({{…}}) in Python runs any{hint}"
            )
