"""The ``rnnport`` program: its commands, and the options that come before them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rnnport import __version__
from rnnport.cli.annotate import annotate
from rnnport.cli.check import check
from rnnport.cli.doctor import doctor
from rnnport.cli.ending import DEBUG
from rnnport.cli.evaluate import evaluate
from rnnport.cli.export import export
from rnnport.cli.infer import infer
from rnnport.cli.inspect import inspect
from rnnport.cli.native import native
from rnnport.cli.quantize import quantize
from rnnport.cli.train import train
from rnnport.cli.verify import verify

app = typer.Typer(
    name="rnnport",
    help="Recurrent networks from PyTorch to one ONNX file that runs the same everywhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"rnnport {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ[DEBUG] = "1"


app.command("evaluate")(evaluate)
app.command("export")(export)
app.command("infer")(infer)
app.command("doctor")(doctor)
app.command("verify")(verify)
app.command("inspect")(inspect)
app.command("check")(check)
app.command("annotate")(annotate)
app.command("native")(native)
app.command("quantize")(quantize)
app.command("train")(train)


def main() -> None:
    """Run the program."""
    app()
