"""A verification as one HTML page with its plots inside, which opens without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from rnnport.files import replacing
from rnnport.parity.document import MOST_LISTED
from rnnport.parity.plots import error_by_group, error_over_time
from rnnport.parity.report import Group, ParityReport
from rnnport.parity.verification import Verification

CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #0f172a; background: #f8fafc; margin: 0; }
main { max-width: 860px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 0; }
h3 { font-size: 14px; margin: 22px 0 6px; color: #475569; }
p { margin: 4px 0; } code { font: 13px ui-monospace, monospace; }
.verdict { border-radius: 10px; padding: 14px 18px; margin: 18px 0; font-weight: 600; }
.good { background: #dcfce7; color: #14532d; } .bad { background: #fee2e2; color: #7f1d1d; }
.open { background: #fef3c7; color: #78350f; }
section { background: #fff; border: 1px solid #e2e8f0; border-radius: 10px; padding: 18px 22px;
  margin: 18px 0; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; color: #64748b; font-weight: 500; }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid #f1f5f9; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.badge { border-radius: 6px; padding: 1px 8px; font-size: 12px; font-weight: 600; }
figure { margin: 0; } svg { max-width: 100%; height: auto; }
li { margin: 4px 0; } .quiet { color: #64748b; font-size: 13px; word-break: break-all; }
"""
BADGES = {"ok": "good", "FAILED": "bad", "refused": "open"}


def write_page(verification: Verification, path: Path, overwrite: bool = False) -> None:
    """Write the page whole or not at all.

    Raises:
        OutputExistsError: the file exists and ``overwrite`` is false.
        WriteError: the file cannot be written.
    """
    with replacing(path, overwrite) as temporary:
        temporary.write_text(page(verification), encoding="utf-8")


def page(verification: Verification) -> str:
    """The page as text."""
    kind = "good" if verification.ok else "open" if verification.exit_code == 3 else "bad"
    body = [
        f"<h1>Parity of {escape(Path(verification.model).name)}</h1>",
        f'<p class="quiet">{escape(verification.model)} against {escape(verification.against)}</p>',
        f'<div class="verdict {kind}">{escape(verification.verdict())}</div>',
        *(_section(report, index) for index, report in enumerate(verification.reports)),
        *(
            f"<section><h2>{escape(missing.engine)}</h2>{badge('did not run', 'open')}"
            f"<p>{escape(missing.reason)}</p></section>"
            for missing in verification.missing
        ),
        f'<p class="quiet">{_facts(verification)}</p>',
    ]
    return document(verification.verdict(), body)


def document(title: str, body: Iterable[str]) -> str:
    """A whole page of the parts of its body."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>rnnport: {escape(title)}</title><style>{CSS}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _section(report: ParityReport, index: int) -> str:
    title = f"{report.candidate} against {report.reference}"
    parts = [
        f"<h2>{escape(title)}</h2>",
        f"<p>{badge('ok', 'good') if report.ok else badge('FAILED', 'bad')} "
        f"{escape(report.summary())}</p>",
        *_loss(report),
        f'<p class="quiet">Each element within {report.atol:g} + {report.rtol:g} · |reference|.'
        "</p>",
        bullets("What to know", report.remarks()),
        _failures(report),
        "<h3>Cases</h3>",
        _table(report.groups()),
        figure("Nearness to the bound", error_by_group(report, f"group{index}")),
        figure("Error over time", error_over_time(report, f"time{index}")),
    ]
    return f"<section>{''.join(parts)}</section>"


def _loss(report: ParityReport) -> Iterator[str]:
    if report.loss is not None:
        first, *lines = report.loss.lines()
        yield bullets(f"{first[0].upper()}{first[1:]}", lines)
        yield "<h3>The file against itself</h3>"


def _table(groups: Iterable[Group]) -> str:
    head = (
        "<tr><th>group</th><th></th><th class=n>cases</th><th class=n>arrays</th>"
        "<th class=n>elements</th><th class=n>largest error</th><th class=n>refused</th></tr>"
    )
    return f"<table>{head}{''.join(_row(group) for group in groups)}</table>"


def _row(group: Group) -> str:
    numbers = (
        f"{group.cases}",
        f"{len(group.comparisons)}",
        f"{group.elements:,}",
        f"{group.largest:.2g}" if group.comparisons else "",
        f"{group.refused or ''}",
    )
    cells = "".join(f"<td class=n>{number}</td>" for number in numbers)
    mark = badge(group.verdict, BADGES[group.verdict])
    return f"<tr><td>{escape(group.name)}</td><td>{mark}</td>{cells}</tr>"


def _failures(report: ParityReport) -> str:
    listed = [item.describe() for item in report.failures[:MOST_LISTED]]
    more = len(report.failures) - len(listed)
    if more > 0:
        listed.append(f"and {more} more")
    if report.needed_atol is not None and report.failures:
        listed.insert(0, f"An absolute tolerance of {report.needed_atol:.2g} would have passed.")
    return bullets("What disagrees, the worst first", listed)


def bullets(title: str, texts: Iterable[str]) -> str:
    """A titled list, or nothing where there is nothing to list."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<h3>{escape(title)}</h3><ul>{items}</ul>" if items else ""


def figure(title: str, svg: str) -> str:
    """A titled plot, or nothing where there is none."""
    return f"<h3>{escape(title)}</h3><figure>{svg}</figure>" if svg else ""


def badge(text: str, kind: str) -> str:
    """A short verdict on a coloured ground: good, bad or open."""
    return f'<span class="badge {kind}">{escape(text)}</span>'


def _facts(verification: Verification) -> str:
    return " · ".join(_fact_texts(verification))


def _fact_texts(verification: Verification) -> Iterator[str]:
    for key, value in verification.facts.items():
        yield f"{escape(key)} {escape(str(value))}"
