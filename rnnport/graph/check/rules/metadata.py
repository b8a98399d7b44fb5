"""RNN205: a file that takes states and does not say which are which."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from rnnport.errors import RnnportError
from rnnport.graph.annotate import annotation_of, write_spec
from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.scopes import Reading
from rnnport.graph.states import recognise
from rnnport.spec import METADATA_KEY, parse


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """States without a description, or a description that does not fit the graph."""
    text = reading.metadata.get(METADATA_KEY)
    described = None
    if text is not None:
        try:
            described = parse(text)
        except RnnportError as error:
            yield Fault("", f"the file's own description cannot be read: {error}")
            return
        names = {*reading.main.input_names, *reading.main.output_names}
        told = {t.name for t in (*described.inputs, *described.outputs)}
        told |= {name for state in described.states for name in (state.input, state.output)}
        if told - names:
            yield Fault(
                "",
                f"the file's own description names {', '.join(sorted(told - names))}, which the "
                "graph does not have",
            )
            return
    states = recognise(reading)
    if described is not None and described.states:
        return
    if states.pairs:
        listed = ", ".join(f"{pair.input} → {pair.output}" for pair in states.pairs)
        yield Fault(
            "",
            f"the file takes states ({listed}) and describes none of them",
            fixable=not states.unclear,
        )


def repair(reading: Reading) -> onnx.ModelProto:
    """Write the description, as ``rnnport annotate`` does."""
    write_spec(reading.model, annotation_of(reading, {}).spec)
    return reading.model


RULE = Rule(
    id="RNN205",
    title="Metadata without a description of the states",
    severity=Severity.WARNING,
    why=(
        "An application must know which output feeds which input, and how a state begins. Without "
        "a description every application guesses, and mixes states up or never updates them."
    ),
    remedy="--fix, or `rnnport annotate`, writes the description into the file's metadata.",
    find=find,
    repair=repair,
)
