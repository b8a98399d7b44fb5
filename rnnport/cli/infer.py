"""``rnnport infer``: answers of a model file, to a file of data or to a stream of lines."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from rnnport.cli.ending import ends_well
from rnnport.cli.progress import progress
from rnnport.errors import RequestError


@ends_well
def infer(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file.")],
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="Sequences (.npy, .npz with x and lengths, .ts, .idx) or a table (CSV, Parquet).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help=".csv, .jsonl, .parquet or .npy.  [default: stdout]"),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", help="Sequences in one call.")] = 256,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read a time step a line from stdin, as above.")
    ] = False,
    chunk: Annotated[
        int | None, typer.Option("--chunk", help="With --stream: steps answered together.")
    ] = None,
) -> None:
    """Answer data with a model file; neither torch nor onnx is needed.

    A forecaster continues a table past its last row: columns are found by name, the time column is
    continued, values are in the original units. A classifier gives label and probability for each
    sequence; a table is one sequence to it. Arrays hold [sequence, time, …], whatever the order of
    the model's own axes. Without -o the answers go to stdout as CSV.

    With --stream a streaming file answers every line of stdin at once and keeps its state. A line
    is one time step: a JSON array, a JSON object with column names, or a CSV row (a header may come
    first). An answer is one line of JSON: {"label", "probability"} from a classifier, an array of
    horizon × targets from a forecaster, the array of the step from any other model.
    """
    if stream:
        _follow(model, input_, output, device, 1 if chunk is None else chunk)
        return
    if chunk is not None:
        raise RequestError("--chunk is for --stream; --batch-size is for files")
    if input_ is None or input_ == "-":
        raise RequestError("--input names the data; with --stream a streaming file reads stdin")
    _answer(model, Path(input_), output, device, batch_size, overwrite)


def _answer(
    model: Path, source: Path, output: Path | None, device: str, batch_size: int, overwrite: bool
) -> None:
    from rnnport.files import refuse_input
    from rnnport.pipeline.answer_files import refuse_output, write_answers, write_csv
    from rnnport.pipeline.infer import infer as answer

    if output is not None:
        refuse_input(output, model, source)
        refuse_output(output, overwrite)
    with progress(source.name) as tell:
        answers = answer(
            model, source, device=device, batch_size=batch_size, note=_note, progress=tell
        )
    if output is None:
        write_csv(answers, sys.stdout)
        return
    write_answers(answers, output, overwrite)
    _note(f"wrote {output}: {len(answers)} rows")


def _follow(model: Path, source: str | None, output: Path | None, device: str, chunk: int) -> None:
    from rnnport.pipeline.follow import follow
    from rnnport.runtime.session import load

    if source not in (None, "-") or output is not None:
        raise RequestError("--stream reads stdin and writes stdout; redirect them (<, >)")
    session = load(model, device)
    _note(f"running on {session.device}: {session.placement.reason}")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # what is not UTF-8 is then no number in its line
    follow(session, sys.stdin, lambda line: print(line, flush=True), chunk)


def _note(text: str) -> None:
    print(f"rnnport: {text}", file=sys.stderr)
