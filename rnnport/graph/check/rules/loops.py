"""RNN105: a Scan or Loop that is a plain LSTM, GRU or RNN."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper

from rnnport.graph.cells import Cell, cell_of
from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.rewrite import (
    Names,
    add_constant,
    drop_unused,
    forget_shapes,
    insert_after,
    insert_before,
    remove,
)
from rnnport.graph.scopes import Reading
from rnnport.graph.steps import Step, step_of

AXES_ARE_INPUTS = 13  # since this opset Squeeze and Unsqueeze take their axes as an input


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Loops over time whose step answers as a plain cell does."""
    for step, cell in _plain(reading):
        yield Fault(
            step.node.label,
            f"this {step.node.op} is a plain {cell.op} of {cell.R.shape[1]} hidden units, step by "
            f"step; one {cell.op} node answers the same, many times faster",
            fixable=_replaceable(reading, step),
        )


def repair(reading: Reading) -> onnx.ModelProto:
    """Put the one node in the loop's place."""
    names = Names(reading)
    for step, cell in list(_plain(reading)):
        if _replaceable(reading, step):
            _replace(reading, step, cell, names)
    drop_unused(reading.model)
    forget_shapes(reading.model)
    return reading.model


def _plain(reading: Reading) -> Iterator[tuple[Step, Cell]]:
    for node in reading.nodes_of("Scan", "Loop"):
        step = step_of(node)
        cell = None if step is None else cell_of(step)
        if step is not None and cell is not None:
            yield step, cell


def _replaceable(reading: Reading, step: Step) -> bool:
    axes = [step.axis, *(axis for _, _, axis in step.answers)]
    return step.node.scope is reading.main and all(axis == 0 for axis in axes)


def _replace(reading: Reading, step: Step, cell: Cell, names: Names) -> None:
    scope, base = step.node.scope, step.node.label.replace("/", ".")
    weights = [
        add_constant(scope, names.fresh(f"{base}.{role}"), value[None].astype(np.float32))
        for role, value in (("W", cell.W), ("R", cell.R), ("B", cell.B))
    ]
    shaping = _Shaping(reading.opset, base, names)
    before, after = [], []
    inputs = [step.sequence, *weights, ""]
    for state in filter(None, (cell.h, cell.c)):
        node, name = shaping.make("Unsqueeze", state.start, "", 0)
        before += node
        inputs.append(name)
    outputs = [names.fresh(f"{base}.{role}") for role in ("Y", "Y_h", "Y_c")]
    outputs = outputs[: 3 if cell.c else 2]
    for _, outer, _ in step.answers:
        if outer:
            after += shaping.make("Squeeze", outputs[0], outer, 1)[0]
    for state, output in zip(filter(None, (cell.h, cell.c)), outputs[1:], strict=True):
        if state.end:
            after += shaping.make("Squeeze", output, state.end, 0)[0]
    attributes = {**cell.attributes, "hidden_size": cell.R.shape[1]}
    if step.reverse:
        attributes["direction"] = "reverse"
    name = step.node.proto.name or base
    one = helper.make_node(cell.op, inputs, outputs, name=f"{name}.{cell.op}", **attributes)
    for constant, axes in shaping.constants.items():
        add_constant(scope, constant, np.asarray(axes, np.int64))
    insert_before(step.node, before)
    insert_after(step.node, [one, *after])
    remove(step.node)


class _Shaping:
    """Makes Squeeze and Unsqueeze nodes as the opset wants them."""

    def __init__(self, opset: int, base: str, names: Names) -> None:
        self.constants: dict[str, list[int]] = {}
        self._opset, self._base, self._names = opset, base, names

    def make(
        self, op: str, source: str, target: str, axis: int
    ) -> tuple[list[onnx.NodeProto], str]:
        target = target or self._names.fresh(f"{self._base}.{source}.{op.lower()}")
        if self._opset < AXES_ARE_INPUTS:
            return [helper.make_node(op, [source], [target], axes=[axis])], target
        axes = self._names.fresh(f"{self._base}.axes")
        self.constants[axes] = [axis]
        return [helper.make_node(op, [source, axes], [target])], target


RULE = Rule(
    id="RNN105",
    title="Scan or Loop that is a plain recurrent cell",
    severity=Severity.WARNING,
    why=(
        "Keras models converted by tf2onnx, and cells written as a loop, become a Loop or Scan "
        "whose body is an LSTM, GRU or RNN. Runtimes run the body node by node for each step; "
        "quantizers and GPUs see no recurrent layer at all."
    ),
    remedy=(
        "--fix puts one LSTM, GRU or RNN node in its place, with the body's own weights, and "
        "keeps it only where it answers the same at several batches and times."
    ),
    find=find,
    repair=repair,
    effect=Effect.CLOSE,
)
