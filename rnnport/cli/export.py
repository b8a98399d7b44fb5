"""``rnnport export``: a trained run becomes one ONNX file, proven against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnport.cli.ending import ends_well


@ends_well
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder that train wrote.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The file to write.  [default: RUN_DIR/model.onnx, or model.stream.onnx]",
        ),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Make every state an input and an output.")
    ] = False,
    opset: Annotated[int, typer.Option("--opset", help="The ONNX opset, 18 or more.")] = 18,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Leave out the comparison with PyTorch.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Export a trained run to one ONNX file, and compare it with PyTorch before keeping it."""
    from rnnport.pipeline.export import export as export_source

    report = export_source(
        run, path=output, stream=stream, opset=opset, verify=not no_verify, overwrite=overwrite
    )
    if as_json:
        print(report.to_json())
        return
    for line in report.lines():
        print(line)
