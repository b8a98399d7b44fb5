"""RNN003: names by which states would be paired wrongly."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from rnnport.errors import RnnportError
from rnnport.graph.annotate import rename_in_spec
from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.rewrite import Names, rename_value
from rnnport.graph.scopes import Reading
from rnnport.graph.states import Pair, recognise
from rnnport.spec import METADATA_KEY, parse

ENTRY, SUCCESSOR = "state.", "next."


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """States that sorting by name pairs wrongly, or that the file's own description does."""
    by_flow = {pair.input: pair.output for pair in recognise(reading).pairs}
    pairs = {pair.input: pair.output for pair in _pairs(reading)}
    for entry, output in pairs.items():
        if by_flow.get(entry, output) != output:
            yield Fault(
                entry,
                f"the file describes '{output}' as the successor of '{entry}', but the graph "
                f"makes '{by_flow[entry]}' from it",
            )
    for entry, output in _wrong_by_name(pairs):
        yield Fault(
            entry,
            f"paired by sorted names the state '{entry}' would be fed from '{output}' instead of "
            f"'{pairs[entry]}'",
            fixable=True,
        )


def repair(reading: Reading) -> onnx.ModelProto:
    """Name each successor after its state, so that both sort alike."""
    names = Names(reading)
    renamed: dict[str, str] = {}
    pairs = _pairs(reading)
    if _wrong_by_name({pair.input: pair.output for pair in pairs}):
        for pair in pairs:
            new = SUCCESSOR + pair.input.removeprefix(ENTRY)
            renamed[pair.output] = new if new == pair.output else names.fresh(new)
    for old, new in renamed.items():
        rename_value(reading.main, old, new)
    rename_in_spec(reading.model, renamed)
    return reading.model


def _wrong_by_name(pairs: dict[str, str]) -> list[tuple[str, str]]:
    ordered = zip(sorted(pairs), sorted(pairs.values()), strict=True)
    return [(entry, output) for entry, output in ordered if pairs[entry] != output]


def _pairs(reading: Reading) -> tuple[Pair, ...]:
    """The pairs that the file describes, else those that its graph shows."""
    text = reading.metadata.get(METADATA_KEY)
    try:
        described = parse(text).states if text else ()
    except RnnportError:
        described = ()  # RNN205 reports it
    return tuple(Pair(s.input, s.output) for s in described) or recognise(reading).pairs


RULE = Rule(
    id="RNN003",
    title="State names that are paired wrongly",
    severity=Severity.WARNING,
    why=(
        "NVIDIA Triton pairs state inputs and outputs by sorted name (server#8586), and so do "
        "applications that walk both lists: (c0, h0) beside (h_out, x_cell) crosses the states, "
        "and nothing fails."
    ),
    remedy="--fix names each successor output next.<state>, which sorts as the inputs do.",
    find=find,
    repair=repair,
)
