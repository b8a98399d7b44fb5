"""``rnnport export``: a trained run, or a module of your own, becomes one proven ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnport.cli.ending import ends_well
from rnnport.cli.state_pairs import state_pairs


@ends_well
def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="The folder that train wrote; or file.py:factory or package.module:factory, a "
            "function or class that gives a module.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The file to write; of a run, by default its model.onnx or model.stream.onnx.",
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=DTYPE[AXES]",
            help="An input of a factory's module, 'x=float32[batch,time,39]'; repeat it for "
            "several. 'ids=int64[batch,time]<32' bounds whole numbers.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="A factory's weights: .pt or .safetensors."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ARGUMENT=VALUE", help="An argument of a factory."),
    ] = None,
    float32: Annotated[
        bool,
        typer.Option("--float32", help="Convert a factory's module in float64 to float32."),
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Make every state an input and an output.")
    ] = False,
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT=OUTPUT",
            help="A state that a factory's module itself takes and gives; repeatable.",
        ),
    ] = None,
    opset: Annotated[int, typer.Option("--opset", help="The ONNX opset, 18 or more.")] = 18,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Leave out the comparison with PyTorch.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Export a trained run, or a module of your own, to one ONNX file.

    The file is compared with PyTorch before it is kept.
    """
    from rnnport.pipeline.export import export_source

    report = export_source(
        source,
        output,
        inputs=inputs or (),
        weights=weights,
        settings=settings or (),
        float32=float32,
        stream=stream,
        states=state_pairs(state) if state else None,
        opset=opset,
        verify=not no_verify,
        overwrite=overwrite,
    )
    if as_json:
        print(report.to_json())
        return
    for line in report.lines():
        print(line)
