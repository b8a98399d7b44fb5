"""The command ``rnnport verify``, which proves a file equal to what it came from."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnport.cli.ending import ends_well
from rnnport.cli.progress import progress
from rnnport.errors import RequestError

if TYPE_CHECKING:
    from rnnport.parity.cases import Case


@ends_well
def verify(
    model: Annotated[Path, typer.Argument(help="The model file (.onnx).")],
    against: Annotated[
        str,
        typer.Option(
            help="What it was exported from: a run folder, or file.py:factory; or another .onnx "
            "file."
        ),
    ],
    engine: Annotated[
        list[str] | None,
        typer.Option(help="ort-cpu (default), ort-cuda, reference or openvino; may be repeated."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A factory's weights: .pt or .safetensors.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ARGUMENT=VALUE", help="An argument of a factory."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=DTYPE[AXES]",
            help="An input of a factory's module, as for export; by default as the file says.",
        ),
    ] = None,
    atol: Annotated[float, typer.Option(help="Absolute tolerance.")] = 1e-5,
    rtol: Annotated[float, typer.Option(help="Tolerance relative to the reference.")] = 1e-5,
    seed: Annotated[int, typer.Option(help="Seed of the cases and of what is fed.")] = 0,
    time: Annotated[
        int | None, typer.Option(help="T of the times 1, 2, T, 3T; default: the run's, or 10.")
    ] = None,
    min_agreement: Annotated[
        str, typer.Option(help="Least share of a quantized file's decisions that are its parent's.")
    ] = "99%",
    max_drift_ratio: Annotated[
        float, typer.Option(help="How many times its recorded drift a quantized file may show.")
    ] = 1.5,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML report with plots to this file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing report.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare a model file with PyTorch, or with another file, over a seeded grid.

    Every batch, length, state and chunk split of the grid is compared, outputs and final states.
    A quantized file is judged by its decisions and its drift, and held to itself over the grid.
    Exit code 1: something disagrees; 3: an engine that was asked for is not there.
    """
    if report is not None:
        from rnnport.files import refuse_existing, refuse_input
        from rnnport.parity.html import write_page

        refuse_input(report, model, Path(against))
        refuse_existing(report, overwrite)
    from rnnport.pipeline.verify import verify as run

    outcome = run(
        model,
        against,
        inputs=inputs or (),
        settings=settings or (),
        weights=weights,
        engines=engine or ["ort-cpu"],
        atol=atol,
        rtol=rtol,
        seed=seed,
        time=time,
        min_agreement=_share(min_agreement),
        max_drift_ratio=max_drift_ratio,
        watch=_show_progress,
    )
    print(outcome.to_json() if json else outcome)  # before a report that may not be writable
    if report is not None:
        write_page(outcome, report, overwrite)
        print(f"report: {report}", file=sys.stderr)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _share(text: str) -> float:
    """A share as "99%" or 0.99."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise RequestError(
            f"--min-agreement is {text}; expected a share such as 99% or 0.99"
        ) from error


def _show_progress(engine: str, cases: Sequence[Case]) -> Iterable[Case]:
    with progress(f"comparing on {engine}") as update:
        for done, case in enumerate(cases):
            if update is not None:
                update(done, len(cases))
            yield case
