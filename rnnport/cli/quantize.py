"""``rnnport quantize``: a smaller twin of a recurrent model file, and what it cost."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from rnnport.cli.ending import ends_well
from rnnport.errors import RequestError


@ends_well
def quantize(
    model: Annotated[Path, typer.Argument(help="The model file (.onnx), ours or anyone's.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write; default: model.int8.onnx."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="int8 or bf16 (weights stored small, for any device), or fp16 (for GPUs)."
        ),
    ] = "int8",
    target: Annotated[
        str | None,
        typer.Option(help="ort-cpu or ort-cuda: refuse what has no kernel there."),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Data whose ranges let products and convolutions compute in int8.",
        ),
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Data to measure the task's metrics on, before and after."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="The part of that data: test, …, or all.")] = "test",
    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="Fail where accuracy falls by more points, or the squared error grows by more: "
            "0.5%.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE", help="A node that stays as it is; may be repeated."),
    ] = None,
    inline: Annotated[
        bool,
        typer.Option("--inline", help="Write plain operators, for runtimes without functions."),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML report with plots to this file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make a smaller twin of a recurrent model file, and account for what was done and its cost.

    Its answers depend on their own input alone: not on the batch, the chunks or the threads.
    Exit code 1: nothing could be quantized, or --max-drop was missed; no model is written then.
    """
    from rnnport.files import refuse_existing, refuse_input
    from rnnport.pipeline.quantize import default_path
    from rnnport.pipeline.quantize import quantize as run

    budget = None if max_drop is None else _part(max_drop)
    if report is not None:
        from rnnport.graph.quantize.page import write_page

        goal = output or default_path(model, precision)
        if report.resolve() == goal.resolve():
            raise RequestError(f"--report and --output are one file, {report}; give two")
        refuse_input(report, model, goal)
        refuse_existing(report, overwrite)
    outcome = run(
        model,
        output,
        precision=precision,
        target=target,
        calibrate=calibrate,
        evaluate=evaluate,
        split=split,
        max_drop=budget,
        keep=keep or (),
        inline=inline,
        overwrite=overwrite,
        tell=lambda what: print(f"{what} …", file=sys.stderr),
    )
    print(outcome.to_json() if as_json else "\n".join(outcome.lines()))
    if report is not None:
        write_page(outcome, report, overwrite)
        print(f"report: {report}", file=sys.stderr)
    if not outcome.ok:
        raise typer.Exit(1)


def _part(text: str) -> float:
    """``0.5%`` as 0.005; without its sign a number could mean either.

    Raises:
        RequestError: the text is no percentage.
    """
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not text.endswith("%") or not math.isfinite(number):
        raise RequestError(f"--max-drop is '{text}'; expected a percentage such as 0.5%")
    return number / 100
