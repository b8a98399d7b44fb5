"""Following a sequence as it arrives: a line in for each time step, a line out for each answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from rnnport.data.types import Array
from rnnport.errors import DataError, RequestError
from rnnport.pipeline.answer_files import plain
from rnnport.pipeline.answers import class_names
from rnnport.pipeline.layout import of_model, rows_first
from rnnport.pipeline.step_lines import StepReader
from rnnport.runtime.session import Session
from rnnport.spec import ModelSpec


def follow(
    session: Session, lines: Iterable[str], say: Callable[[str], None], chunk: int = 1
) -> int:
    """Answer a sequence line by line; the state is kept between the lines.

    Args:
        session: a streaming model file.
        lines: one time step each; see :class:`rnnport.pipeline.step_lines.StepReader`.
        say: takes each answer, one line of JSON: ``{"label", "probability"}`` of a classifier, an
            array of any other model (a forecast's is ``[horizon][targets]``).
        chunk: steps that are gathered before they are answered together; the rest at the end.

    Returns:
        the number of steps.

    Raises:
        RequestError: the file does not stream, takes several inputs, or ``chunk`` does not fit.
        DataError: a line is no time step of this model; its number is named. What came before it
            has been answered.
    """
    _refuse_model(session.spec)
    if not session.spec.time.accepts(chunk):
        raise RequestError(f"--chunk is {chunk}; the model does not take that many steps at once")
    reader = StepReader(session.spec)
    stream = session.stream()
    (tensor,), (told,) = session.spec.data_inputs(), session.spec.answers()

    def answer(steps: list[Array]) -> None:
        answers = stream.push(of_model(np.stack(steps)[None], tensor))
        assert isinstance(answers, np.ndarray)  # the model has one answer
        for line in _lines(rows_first(answers, told), session.spec):
            say(line)

    count, waiting = 0, list[Array]()
    try:
        for step in reader.steps(lines):
            waiting.append(step)
            count += 1
            if len(waiting) == chunk:
                answer(waiting)
                waiting = []
    except DataError:
        if waiting:  # the lines before a bad one are answered all the same
            answer(waiting)
        raise
    if waiting:
        answer(waiting)
    return count


def _refuse_model(spec: ModelSpec) -> None:
    if not spec.streaming:
        raise RequestError(
            "this model file keeps no state and cannot follow a stream: "
            "'rnnport export RUN_DIR --stream' writes one that can"
        )
    if len(spec.data_inputs()) != 1 or len(spec.answers()) != 1:
        raise RequestError(
            "this model has several inputs or answers; rnnport.load(…).stream() in Python runs it"
        )


def _lines(answers: Array, spec: ModelSpec) -> Iterator[str]:
    """One line for each step of an answer ``[1, time, …]``, or one where it has no time axis."""
    each = answers[:1] if spec.answers()[0].time_axis is None else answers[0]
    for answer in each:
        yield json.dumps(_said(answer, spec), ensure_ascii=False, allow_nan=False)


def _said(answer: Array, spec: ModelSpec) -> object:
    if spec.task != "classify":
        return plain(answer)
    best = int(answer.argmax())
    said: Mapping[str, object] = {
        "label": class_names(spec.classes, len(answer))[best],
        "probability": plain(answer[best]),
    }
    return said
