"""Running one case on one engine: whole, or piece by piece with each state fed back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnport.errors import RnnportError, UnsupportedModelError
from rnnport.parity import feeds as drawn
from rnnport.runtime.engine import Arrays, Engine
from rnnport.spec import ModelSpec

Array = NDArray[Any]


@dataclass(frozen=True)
class Answers:
    """What one engine said to one case; or why it said nothing."""

    arrays: Mapping[str, Array] | None = None
    refusal: str | None = None
    failure: str | None = None

    @property
    def reason(self) -> str:
        """Why there are no arrays."""
        return self.refusal or self.failure or ""


def run(engine: Engine, feeds: Arrays) -> Answers:
    """Run once.

    The feeds follow the file's own promise, so only what an engine declares beyond its means
    (``UnsupportedModelError``) is a refusal; any other error is a failure to answer.
    """
    try:
        return Answers(arrays=engine.run(feeds))
    except UnsupportedModelError as error:
        return Answers(refusal=str(error))
    except RnnportError as error:
        return Answers(failure=str(error))


def run_chunked(engine: Engine, spec: ModelSpec, chunks: Sequence[int], feeds: Arrays) -> Answers:
    """Run piece by piece, each state fed back; answers are joined along their time axis."""
    states = {state.input: feeds[state.input] for state in spec.states}
    parts: list[Mapping[str, Array]] = []
    start = 0
    for size in chunks:
        answers = run(engine, {**drawn.piece(spec, feeds, start, start + size), **states})
        if answers.arrays is None:
            return answers
        missing = [state.output for state in spec.states if state.output not in answers.arrays]
        if missing:
            return Answers(failure=f"the successor states {missing} are not among the outputs")
        parts.append(answers.arrays)
        states = {state.input: answers.arrays[state.output] for state in spec.states}
        start += size
    try:
        return Answers(arrays=_joined(spec, parts))
    except ValueError as error:  # axes that are not what the spec says
        return Answers(failure=f"the answers to its pieces cannot be joined along time: {error}")


def _joined(spec: ModelSpec, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Answers with a time axis end to end; of all else the last piece's."""
    joined = dict(parts[-1])
    for tensor in spec.answers():
        if tensor.time_axis is not None and tensor.name in joined:
            arrays = [part[tensor.name] for part in parts]
            joined[tensor.name] = np.concatenate(arrays, axis=tensor.time_axis)
    return joined
