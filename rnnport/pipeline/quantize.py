"""Making a smaller twin of a model file, with an account of what was done and what it cost."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnport.errors import MissingExtraError, RequestError, RnnportError
from rnnport.files import refuse_existing, refuse_input, replacing

try:
    from rnnport.graph.quantize.cost import drift_of, sensitivity
    from rnnport.graph.quantize.files import (
        finished,
        notes_on,
        outside_files,
        read_parent,
        twin_spec,
        with_spec,
    )
    from rnnport.graph.quantize.histograms import histograms
    from rnnport.graph.quantize.report import Cost, QuantizeReport
    from rnnport.graph.quantize.rewriting import PRECISIONS, with_small_weights
    from rnnport.graph.quantize.static import CALIBRATED_FORM
    from rnnport.graph.quantize.targets import require_kernels
    from rnnport.pipeline.calibration import calibration
    from rnnport.pipeline.judgement import judged, missed, require_budget
    from rnnport.runtime.session import load
except ModuleNotFoundError as missing:
    raise MissingExtraError.of(missing, "quantizing") from missing

Tell = Callable[[str], None]


def default_path(path: Path, precision: str) -> Path:
    """Where the twin goes when nothing else is said: ``model.int8.onnx`` beside the model.

    Raises:
        RequestError: ``path`` has no name, as ``.`` has none.
    """
    if not path.name:
        raise RequestError(f"{path} is a folder; expected an ONNX file (.onnx)")
    return path.with_suffix(f".{precision}.onnx")


def quantize(
    path: str | Path,
    output: str | Path | None = None,
    *,
    precision: str = "int8",
    target: str | None = None,
    calibrate: str | None = None,
    evaluate: str | None = None,
    split: str = "test",
    max_drop: float | None = None,
    keep: Iterable[str] = (),
    inline: bool = False,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> QuantizeReport:
    """Write a smaller twin of a recurrent model file; inputs, outputs and states stay float32.

    An answer of the twin depends on its own input alone: not on who shares the batch, how the
    sequence is cut, or the number of threads.

    Args:
        path: the model file, ours or anyone's.
        output: the file to write; by default ``model.int8.onnx`` beside the model.
        precision: ``int8`` and ``bf16`` store weights small and compute in float32 on a stock
            runtime; ``fp16`` computes in float16 on a GPU.
        target: ``ort-cpu`` or ``ort-cuda``: refuses a precision that has no kernels there.
        calibrate: data whose ranges let products and convolutions compute in int8; else their
            weights alone are stored in int8.
        evaluate: data to measure the task's metrics on, before and after.
        split: the part of that data.
        max_drop: how much worse the metric may become, 0.005 for half a percent: points of
            accuracy for a classifier, growth of the mean squared error for a forecaster.
        keep: nodes that stay as they are.
        inline: write plain operators, for runtimes that know no functions.
        overwrite: replace an existing output.
        tell: told what is being done.

    Returns:
        the account; ``ok`` is false, and nothing was written, where ``max_drop`` was missed.

    Raises:
        RequestError: the request is wrong, the file is quantized already, or it has no recurrent
            node.
        CheckFailedError: nothing could be quantized.
        DataError: the data does not fit the model.
        ModelFileError: the file is not an ONNX model, or makes no sense.
        OutputExistsError, WriteError: the output cannot be written.
    """
    source = Path(path)
    goal = default_path(source, precision) if output is None else Path(output)
    keep, tell = tuple(keep), tell or (lambda what: None)
    _require_sense(precision, inline, calibrate)
    require_budget(max_drop, evaluate)
    _require_free(goal, source, overwrite)
    parent = read_parent(source)
    require_kernels(parent.reading, precision, target, keep)
    with tempfile.TemporaryDirectory() as folder, _named_by_user(folder, source):
        plain, made = Path(folder) / "parent.onnx", Path(folder) / "made.onnx"
        plain.write_bytes(parent.described())
        tell("quantizing")
        data = None if calibrate is None else calibration(load(plain, device="cpu"), calibrate)
        feeds = () if data is None else data.feeds
        small, accounts = with_small_weights(parent.model, precision, keep, inline, feeds)
        made.write_bytes(with_spec(small, parent.spec).SerializeToString())
        tell("measuring the drift")
        drift = drift_of(plain, made, parent.spec, precision)
        tell("measuring each recurrent layer alone")
        alone = sensitivity(plain, parent.spec, precision, keep, Path(folder))
        if evaluate is not None:
            tell(f"evaluating on {evaluate}")
        judgement = None if evaluate is None else judged(plain, made, evaluate, split)
    calibrated = any(account.form == CALIBRATED_FORM for account in accounts)
    origin = None if data is None or not calibrated else {"name": data.name, "sha256": data.sha256}
    cost = Cost(drift, alone, judgement)
    content = finished(small, twin_spec(parent, precision, accounts, cost, origin))
    notes = list(notes_on(parent, precision, accounts, len(content)))
    if data is not None and not calibrated:
        notes.append(f"{calibrate} set no range: no product or convolution is large enough for one")
    failure = missed(judgement, max_drop)
    if not failure:
        with replacing(goal, overwrite) as temporary:
            temporary.write_bytes(content)
    changed = {account.node for account in accounts if account.quantized}
    return QuantizeReport(
        source=str(source),
        path=None if failure else str(goal),
        precision=precision,
        nodes=tuple(accounts),
        bytes_before=parent.nbytes,
        bytes_after=len(content),
        cost=cost,
        notes=tuple(notes),
        failure=failure,
        histograms=tuple(histograms(parent.reading, precision, changed)),
    )


def _require_free(goal: Path, source: Path, overwrite: bool) -> None:
    """Refuse an output that is there, or is the input or holds its weights."""
    refuse_input(goal, source)
    refuse_existing(goal, overwrite)
    if goal.exists():
        refuse_input(goal, *outside_files(source))


@contextmanager
def _named_by_user(folder: str, source: Path) -> Iterator[None]:
    """Let errors name the file that was given in place of our copy of it and of its twins."""
    try:
        yield
    except RnnportError as error:
        text = str(error).replace(str(Path(folder) / "parent.onnx"), str(source))
        twins = re.escape(f"{folder}{os.sep}") + r"(made|alone\.\d+)\.onnx"
        error.args = (re.sub(twins, lambda _: f"the twin of {source}", text),)
        raise


def _require_sense(precision: str, inline: bool, calibrate: str | None) -> None:
    if precision not in PRECISIONS:
        raise RequestError(
            f"there is no precision '{precision}'; there are {', '.join(PRECISIONS)}"
        )
    if calibrate is not None and precision != "int8":
        raise RequestError(f"--calibrate finds ranges for int8; {precision} has none")
    if inline and precision == "fp16":
        raise RequestError("--inline has nothing to do: fp16 files hold plain operators already")
