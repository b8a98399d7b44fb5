"""RNN004: a state that never leaves the graph, is never read, or never changes."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from rnnport.graph.annotate import refresh_spec
from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.recurrent import OUTPUTS, STATES, Recurrent, recurrent_nodes
from rnnport.graph.rewrite import Names, set_output
from rnnport.graph.scopes import Reading
from rnnport.graph.states import looks_like_state, recognise, sinks


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """States that an application would carry in vain."""
    for entry in recognise(reading).lost:
        yield Fault(
            entry,
            f"the state '{entry}' enters a recurrent node and its successor leaves by no output: "
            "it cannot be carried from call to call",
            fixable=_holder(reading, entry) is not None,
        )
    for entry in reading.main.input_names:
        if not looks_like_state(entry):
            continue
        if _is_unread(reading, entry):
            yield Fault(entry, f"the state '{entry}' is an input that nothing reads", True)
            continue
        for output in sorted(sinks(reading, reading.main, entry)):
            yield Fault(
                entry, f"the output '{output}' is the state '{entry}' itself: it never changes"
            )


def repair(reading: Reading) -> onnx.ModelProto:
    """Give a lost successor out; take an input away that nothing reads."""
    names, graph = Names(reading), reading.model.graph
    declared = {value.name: value for value in graph.input}
    for entry in recognise(reading).lost:
        found = _holder(reading, entry)
        if found is not None:
            node, role = found
            output = node.output(role) or names.fresh(f"next.{entry.removeprefix('state.')}")
            set_output(node.node, OUTPUTS[node.op].index(role), output)
            graph.output.add().CopyFrom(declared[entry])
            graph.output[-1].name = output
    unread = {
        name
        for name in reading.main.input_names
        if looks_like_state(name) and _is_unread(reading, name)
    }
    kept = [value for value in graph.input if value.name not in unread]
    del graph.input[:]
    graph.input.extend(kept)
    refresh_spec(reading.model)
    return reading.model


def _holder(reading: Reading, entry: str) -> tuple[Recurrent, str] | None:
    """The one recurrent node that takes the state as it is, and its successor's role."""
    found = [
        (node, successor)
        for node in recurrent_nodes(reading)
        for role, successor in STATES.items()
        if node.node.scope is reading.main and node.input(role) == entry
    ]
    takers = reading.main.takers.get(entry, ())
    return found[0] if len(found) == 1 and len(takers) == 1 else None


def _is_unread(reading: Reading, entry: str) -> bool:
    return not reading.main.takers.get(entry) and entry not in reading.main.output_names


RULE = Rule(
    id="RNN004",
    title="Dead state",
    severity=Severity.ERROR,
    why=(
        "A state that enters and never leaves, that nothing reads, or that leaves as it came "
        "looks like streaming and is not: every call begins anew, and nothing fails."
    ),
    remedy=(
        "--fix gives a successor out that the node computes already, and takes unread inputs "
        "away; a state that never changes is a fault of the module."
    ),
    find=find,
    repair=repair,
)
