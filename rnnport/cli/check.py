"""``rnnport check``: find and repair what is wrong in recurrent ONNX files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnport.cli.ending import ends_well
from rnnport.errors import RequestError

if TYPE_CHECKING:
    from rnnport.graph.check.fix import FixReport
    from rnnport.graph.check.rule import Finding
    from rnnport.graph.check.run import FileCheck

SCHEMA_VERSION = 1


@ends_well
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(help="ONNX files, from any exporter.")
    ] = None,
    select: Annotated[
        str, typer.Option(help="Only these rules: RNN001,RNN1 (a beginning means all of them).")
    ] = "",
    ignore: Annotated[str, typer.Option(help="Not these rules.")] = "",
    target: Annotated[
        str,
        typer.Option(
            help="What the file is to run on: ort-cpu (the default; ort-cuda for a float16 twin), "
            "ort-cuda, openvino, rten, tract; several with commas."
        ),
    ] = "",
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair what can be repaired, and prove it.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where --fix writes the repaired file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    explain: Annotated[str, typer.Option(help="Explain one rule, by its id.")] = "",
) -> None:
    """Check recurrent ONNX files, rule by rule; exit 1 where anything is found."""
    from rnnport.graph.check import fix as fixing
    from rnnport.graph.check import run, table

    if explain:
        print(table.explain(explain))
        return
    _require_sense(files, fix, output)
    rules = table.choose(_listed(select), _listed(ignore))
    targets = run.targets_of(_listed(target))
    if fix and files and output:
        report = fixing.fix_file(files[0], output, rules, targets, overwrite)
        _print_fix(report, as_json)
        raise typer.Exit(1 if report.left else 0)
    checks = [run.check_file(path, rules, targets) for path in files or ()]
    _print_checks(checks, as_json)
    raise typer.Exit(1 if any(one.findings for one in checks) else 0)


def _require_sense(files: list[Path] | None, fix: bool, output: Path | None) -> None:
    if not files:
        raise RequestError("no file was given; 'rnnport check model.onnx', or --explain RNN001")
    if fix and output is None:
        raise RequestError("--fix needs -o/--output: the file itself is never changed")
    if output is not None and not fix:
        raise RequestError("-o/--output is where --fix writes; give --fix as well")
    if fix and len(files) > 1:
        raise RequestError(f"--fix repairs one file at a time; {len(files)} were given")
    if output is not None and output.exists() and output.samefile(files[0]):
        raise RequestError(f"{output} is the input itself; --fix writes another file")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _print_checks(checks: list[FileCheck], as_json: bool) -> None:
    if as_json:
        _print_json({"files": [_check_json(one) for one in checks]})
        return
    for one in checks:
        for finding in one.findings:
            print(f"{one.path}: {_line(finding)}")
    found = [finding for one in checks for finding in one.findings]
    fixable = sum(finding.fixable for finding in found)
    what = f"{len(found)} found, {fixable} can be repaired with --fix" if found else "nothing found"
    print(f"{len(checks)} file{'s' * (len(checks) != 1)} checked: {what}", file=sys.stderr)


def _print_fix(report: FixReport, as_json: bool) -> None:
    if as_json:
        steps = [vars(step) for step in report.steps]
        left = [_finding_json(finding) for finding in report.left]
        _print_json({"file": report.path, "output": report.output, "repairs": steps, "left": left})
        return
    for step in report.steps:
        done = "repaired" if step.kept else "not repaired"
        print(f"{report.path}: {step.rule} {done} ({step.faults}): {step.note}")
    for finding in report.left:
        print(f"{report.output or report.path}: {_line(finding)}")
    written = f"{report.output} written" if report.output else "nothing repaired, nothing written"
    print(f"{written}; {len(report.left)} findings are left", file=sys.stderr)


def _line(finding: Finding) -> str:
    where = f" [{finding.node}]" if finding.node else ""
    fixable = " (--fix)" if finding.fixable else ""
    return f"{finding.rule} {finding.severity.value}{where}: {finding.message}{fixable}"


def _check_json(one: FileCheck) -> dict[str, Any]:
    return {"file": one.path, "findings": [_finding_json(finding) for finding in one.findings]}


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {**vars(finding), "severity": finding.severity.value}


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps({"schema_version": SCHEMA_VERSION, **document}, ensure_ascii=False))
