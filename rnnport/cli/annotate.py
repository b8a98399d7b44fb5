"""``rnnport annotate``: write into a foreign ONNX file what its states, axes and lengths are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from rnnport.cli.ending import ends_well
from rnnport.cli.state_pairs import state_pairs

SCHEMA_VERSION = 1


@ends_well
def annotate(
    model: Annotated[Path, typer.Argument(help="The ONNX file, from any exporter.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    state: Annotated[
        list[str] | None,
        typer.Option(help="A state as INPUT=OUTPUT, where it is not recognised; repeatable."),
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help="The input that gives each row's true length.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Recognise states, axes and lengths; write them into a copy of the file."""
    from rnnport.graph.annotate import annotate_file

    done = annotate_file(model, output, state_pairs(state or []), lengths, overwrite)
    if as_json:
        spec = json.loads(done.spec.to_json())
        document = {"schema_version": SCHEMA_VERSION, "output": str(output), "spec": spec}
        print(json.dumps({**document, "lost": done.lost}, ensure_ascii=False))
        return
    recognised = {pair.input for pair in done.recognised}
    for one in done.spec.states:
        how = "recognised" if one.input in recognised else "as told"
        print(f"state {one.input} → {one.output} {list(one.shape)} ({how})")
    for tensor in done.spec.data_inputs():
        axes = f"batch axis {tensor.batch_axis}, time axis {tensor.time_axis}"
        print(f"input {tensor.name} {list(tensor.shape)} ({axes})")
    if done.spec.lengths:
        print(f"lengths {done.spec.lengths}")
    for name in done.lost:
        note = "enters the graph as a state but never leaves it: check --fix can add the output"
        print(f"rnnport: '{name}' {note}", file=sys.stderr)
    print(f"{output} written", file=sys.stderr)
