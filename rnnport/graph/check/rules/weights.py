"""RNN201: recurrent weights that are not initializers."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.fold import Constants
from rnnport.graph.recurrent import Recurrent, recurrent_nodes
from rnnport.graph.rewrite import Names, add_constant, drop_unused, set_input
from rnnport.graph.scopes import Reading, Scope
from rnnport.graph.stored import stored_parts

WEIGHTS = ("W", "R", "B", "P")


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Nodes whose weights are computed in every run, or fed."""
    constants = Constants()
    for node in recurrent_nodes(reading):
        loose = [role for role in WEIGHTS if _is_loose(reading, node, role)]
        if not loose:
            continue
        scope = node.node.scope
        computed = (
            all(constants.value(scope, node.input(role)) is not None for role in loose)
            and not scope.is_function
        )
        how = "computed from constants in every run" if computed else "not constant"
        yield Fault(
            node.label,
            f"{', '.join(loose)} of this {node.op} {'is' if len(loose) == 1 else 'are'} {how} "
            "instead of initializers: quantizers skip it and CUDA packs its weights at each call",
            fixable=computed,
        )


def repair(reading: Reading) -> onnx.ModelProto:
    """Compute the weights now and keep them as initializers."""
    names, constants = Names(reading), Constants()
    for node in recurrent_nodes(reading):
        for role in WEIGHTS:
            if node.node.scope.is_function or not _is_loose(reading, node, role):
                continue
            value = constants.value(node.node.scope, node.input(role))
            if value is not None:
                name = names.fresh(f"{node.label}.{role}".replace("/", "."))
                add_constant(reading.main, name, value)
                set_input(node.node, node.place(role), name)
    drop_unused(reading.model)
    return reading.model


def _is_loose(reading: Reading, node: Recurrent, role: str) -> bool:
    name = node.input(role)
    scope = node.node.scope
    if not name or _is_initializer(reading, scope, name):
        return False
    return stored_parts(scope, name) is None  # small weights are restored at load, on purpose


def _is_initializer(reading: Reading, scope: Scope, name: str) -> bool:
    """Whether a value is an initializer, here, around here, or at every call of this function."""
    home = scope.home(name)
    if name in home.initializers:
        return True
    if not home.is_function:
        return False
    if name not in home.input_names:
        return True  # functions hold no initializers; runtimes inline their constants
    place = home.input_names.index(name)
    calls = reading.calls(home)
    return all(_is_initializer(reading, call.scope, call.input(place)) for call in calls)


RULE = Rule(
    id="RNN201",
    title="Recurrent weights are not initializers",
    severity=Severity.WARNING,
    why=(
        "Weights that nodes compute (Transpose, Concat, Unsqueeze of parameters) make quantizers "
        "skip the layer without a word, and cost ONNX Runtime its packed and cached weights where "
        "it cannot fold them at load."
    ),
    remedy=(
        "--fix computes them once and stores initializers; weights that depend on the input "
        "cannot be repaired."
    ),
    find=find,
    repair=repair,
    effect=Effect.CLOSE,
)
