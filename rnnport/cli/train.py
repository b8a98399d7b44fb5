"""The command that trains a recipe, or data with sensible defaults."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnport.cli.ending import ends_well
from rnnport.errors import RequestError


@ends_well
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A TOML file, a folder with recipe.toml, or a name under models/."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="A built-in set, or a CSV, Parquet, npz, ts file."),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="classify or forecast, without a recipe.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="A column to forecast; repeat it for several."),
    ] = None,
    lookback: Annotated[
        int | None, typer.Option("--lookback", help="Rows that a forecast sees.")
    ] = None,
    horizon: Annotated[int | None, typer.Option("--horizon", help="Rows to forecast.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a field of the recipe."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The run's folder [runs/<recipe>].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last completed epoch.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a former run.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of weights and order.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Train a recurrent network and leave weights, metrics and plots in a folder."""
    from rnnport.training.folder import RECIPE, refuse_used, resume_command
    from rnnport.training.reading import resolve
    from rnnport.training.train import train as run

    if resume and recipe is None and data is None:
        if output is None:
            raise RequestError("--resume needs the folder of the run: -o DIR")
        refuse_used(output, resume=True, overwrite=overwrite)
        recipe = str(output / RECIPE)
    asked = resolve(
        recipe,
        data=data,
        task=task,
        targets=target or (),
        lookback=lookback,
        horizon=horizon,
        settings=settings or (),
        seed=seed,
    )
    folder = output or Path("runs") / asked.name
    try:
        report = run(asked, folder, device=device, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:
        print(f"\n{resume_command(folder)}  goes on", file=sys.stderr)
        raise
    if as_json:
        print(json.dumps(report.metrics, ensure_ascii=False))
    else:
        _show(report.metrics, folder)


def _show(metrics: dict[str, Any], folder: Path) -> None:
    parts = [name for name in ("train", "validation", "test") if name in metrics]
    for part in parts:
        figures = {name: value for name, value in metrics[part].items() if isinstance(value, float)}
        words = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(f"{part:<10}  {words}")
    print(f"epoch {metrics['epoch_kept']} of {metrics['epochs']} kept, {metrics['seconds']:.1f} s")
    print(f"run folder  {folder}")
