"""What quantization cost the task: its metrics before and after, and the decisions that changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rnnport.data.types import Array
from rnnport.errors import RequestError
from rnnport.graph.quantize.report import Judgement
from rnnport.pipeline.evaluate import Evaluation, evaluate


def judged(parent: Path, made: Path, data: str, split: str) -> Judgement:
    """Evaluate both files on the same rows of a data set.

    Raises:
        DataError: the parent names no task with metrics, or the data does not fit it.
        RequestError: there is no such split.
    """
    before, ours = _answers(parent, data, split)
    after, theirs = _answers(made, data, split)
    if before.task == "classify":
        same = [np.argmax(a, -1) == np.argmax(b, -1) for a, b in zip(ours, theirs, strict=True)]
        measure, agreement = "accuracy", float(np.mean(np.concatenate(same)))
        drop = before.metrics[measure] - after.metrics[measure]
    else:
        measure = "mse_scaled" if "mse_scaled" in before.metrics else "mse"
        agreement = None
        was, now = before.metrics[measure], after.metrics[measure]
        drop = now / was - 1.0 if was > 0.0 else float(now > 0.0)
    return Judgement(
        data=before.data,
        sha256=before.sha256,
        split=split,
        measure=measure,
        before=before.metrics,
        after=after.metrics,
        drop=drop,
        agreement=agreement,
    )


def require_budget(max_drop: float | None, evaluate: str | None) -> None:
    """Refuse a budget that nothing could be held to.

    Raises:
        RequestError: it is no part from 0 to 1, or there is no data to measure it on.
    """
    if max_drop is None:
        return
    if not 0.0 <= max_drop < 1.0:
        raise RequestError(
            f"--max-drop is {100 * max_drop:g}%; expected a part from 0% up to, not including, 100%"
        )
    if evaluate is None:
        raise RequestError("--max-drop needs data to measure it on: --evaluate DATA")


def missed(judgement: Judgement | None, max_drop: float | None) -> str:
    """The budget that was missed, in words; empty where it held."""
    if judgement is None or max_drop is None or judgement.drop <= max_drop:
        return ""
    before, after = judgement.before[judgement.measure], judgement.after[judgement.measure]
    if judgement.measure == "accuracy":
        fell = f"accuracy fell by {100 * judgement.drop:.2f} points, {before:.2%} → {after:.2%}"
        return f"{fell}; --max-drop allows {100 * max_drop:g}"
    grew = f"{judgement.measure} grew by {100 * judgement.drop:.2f}%, {before:.5g} → {after:.5g}"
    return f"{grew}; --max-drop allows {100 * max_drop:g}%"


def _answers(model: Path, data: str, split: str) -> tuple[Evaluation, list[Array]]:
    answers: list[Array] = []
    found = evaluate(model, data, split=split, device="cpu", observe=answers.append)
    return found, answers
