"""RNN102: an initial state that is a constant of the exporter's batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.fold import constant_value
from rnnport.graph.recurrent import STATES, Recurrent, recurrent_nodes
from rnnport.graph.rewrite import (
    Names,
    add_constant,
    drop_unused,
    forget_shapes,
    insert_before,
    set_input,
)
from rnnport.graph.scopes import Reading, Scope


@dataclass(frozen=True)
class FrozenState:
    """A recurrent node, the state that is constant there, and its values [layers, batch, hidden].

    There is one value, or one for each call of the function that the node stands in.
    """

    node: Recurrent
    role: str
    values: tuple[np.ndarray, ...]

    @property
    def value(self) -> np.ndarray:
        return self.values[0]

    @property
    def batch(self) -> int:
        return int(self.value.shape[0 if self.node.layout else 1])


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """States that hold the batch of the exporter's example."""
    for frozen in _frozen(reading):
        yield Fault(
            frozen.node.label,
            f"{frozen.role} of this {frozen.node.op} is a constant for batch {frozen.batch}: at "
            "any other batch the node fails",
            fixable=_same_for_all(frozen),
        )


def repair(reading: Reading) -> onnx.ModelProto:
    """Leave a zero state out (the operator's own start); spread any other over the batch."""
    names = Names(reading)
    for frozen in _frozen(reading):
        place = frozen.node.place(frozen.role)
        if not any(value.any() for value in frozen.values):
            set_input(frozen.node.node, place, "")
        elif _same_for_all(frozen):
            set_input(frozen.node.node, place, _spread(frozen, names))
    drop_unused(reading.model)
    forget_shapes(reading.model)
    return reading.model


def _frozen(reading: Reading) -> list[FrozenState]:
    found = []
    for node in recurrent_nodes(reading):
        for role in STATES:
            name = node.input(role)
            values = _values(reading, node, node.node.scope, name) if name else []
            states = tuple(value for value in values if value is not None and value.ndim == 3)
            if states and len(states) == len(values):
                found.append(FrozenState(node, role, states))
    return found


def _values(reading: Reading, node: Recurrent, scope: Scope, name: str) -> list[np.ndarray | None]:
    """A state's value, or in a function its value at each of the calls."""
    home = scope.home(name)
    if not home.is_function or name not in home.input_names:
        return [_value(node, scope, name)]
    place = home.input_names.index(name)
    return [
        value
        for call in reading.calls(home)
        for value in _values(reading, node, call.scope, call.input(place))
    ]


def _value(node: Recurrent, scope: Scope, name: str) -> np.ndarray | None:
    """A constant state, also one that is expanded from the example's batch and so fits no other."""
    maker = scope.maker(name)
    if maker is not None and maker.op == "Expand" and constant_value(scope, maker.input(1)) is None:
        value = constant_value(scope, maker.input(0))
        spread = value is None or value.ndim != 3 or value.shape[0 if node.layout else 1] == 1
        return None if spread else value
    return constant_value(scope, name)


def _same_for_all(frozen: FrozenState) -> bool:
    first = frozen.value.take([0], 0 if frozen.node.layout else 1)
    return all(bool((value == first).all()) for value in frozen.values)


def _spread(frozen: FrozenState, names: Names) -> str:
    """Nodes that repeat the one row for as many rows as the input has when it runs."""
    node, scope = frozen.node, frozen.node.node.scope
    axis = 0 if node.layout else 1
    base = f"{node.label}.{frozen.role}".replace("/", ".")
    row = add_constant(scope, names.fresh(f"{base}.row"), frozen.value.take([0], axis))
    shape, batch, target, whole = (
        names.fresh(f"{base}.{part}") for part in ("shape", "batch", "target", "spread")
    )
    index = add_constant(scope, names.fresh(f"{base}.axis"), np.asarray([axis]))
    one = add_constant(scope, names.fresh(f"{base}.one"), np.asarray([1]))
    parts = [one, one, one]
    parts[axis] = batch
    insert_before(
        node.node,
        [
            helper.make_node("Shape", [node.input("X")], [shape]),
            helper.make_node("Gather", [shape, index], [batch], axis=0),
            helper.make_node("Concat", parts, [target], axis=0),
            helper.make_node("Expand", [row, target], [whole]),
        ],
    )
    return whole


RULE = Rule(
    id="RNN102",
    title="Initial state frozen at the exporter's batch",
    severity=Severity.ERROR,
    why=(
        "A state made with torch.zeros(layers, batch, hidden) inside forward becomes a constant "
        "of the example's batch. ONNX does not broadcast initial states, so every other batch "
        "fails."
    ),
    remedy=(
        "--fix leaves a zero state out, and spreads any other over the batch that comes; a state "
        "that differs from row to row cannot be meant for another batch: make it an input."
    ),
    find=find,
    repair=repair,
    effect=Effect.EXACT,
)
