"""RNN103: a graph input or output that declares a fixed batch or time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from rnnport.graph.axes import BATCH, TIME, Axes, axes_of
from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.rewrite import forget_shapes
from rnnport.graph.scopes import Reading
from rnnport.graph.states import recognise


@dataclass(frozen=True)
class Fixed:
    """A value of the graph's interface, the axis, its meaning and its size."""

    name: str
    axis: int
    meaning: str
    size: int
    kind: str  # "input" or "output"


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Fixed sizes where the batch or the time stands."""
    for fixed in _fixed(reading):
        yield Fault(
            fixed.name,
            f"the {fixed.kind} '{fixed.name}' has its {fixed.meaning} (axis {fixed.axis}) fixed "
            f"at {fixed.size}",
            fixable=True,
        )


def repair(reading: Reading) -> onnx.ModelProto:
    """Declare the axes symbolic, by the names that open axes of the same meaning have."""
    axes = axes_of(reading)
    fixed = _fixed(reading)
    values = {v.name: v for v in (*reading.model.graph.input, *reading.model.graph.output)}
    names = {meaning: _name(reading, axes, meaning) for meaning in (BATCH, TIME)}
    for one in fixed:
        dim = values[one.name].type.tensor_type.shape.dim[one.axis]
        dim.Clear()
        dim.dim_param = names[one.meaning]
    forget_shapes(reading.model)
    return reading.model


def _fixed(reading: Reading) -> list[Fixed]:
    axes, main = axes_of(reading), reading.main
    single = _single_step(reading, axes)
    found = []
    for kind, names in (("input", main.input_names), ("output", main.output_names)):
        for name in names:
            for axis, size in enumerate(main.shape(name) or ()):
                meaning = axes.of(main, name, axis)
                if not meaning or not isinstance(size, int) or (meaning == TIME and single):
                    continue
                found.append(Fixed(name, axis, meaning, size, kind))
    return found


def _single_step(reading: Reading, axes: Axes) -> bool:
    """Whether the model is a step on purpose: it takes its states, and one time step."""
    sizes = {
        (reading.main.shape(name) or ())[axis]
        for name in reading.main.input_names
        if (axis := axes.find(reading.main, name, TIME)) is not None
    }
    return sizes == {1} and bool(recognise(reading).pairs)


def _name(reading: Reading, axes: Axes, meaning: str) -> str:
    for name in reading.main.input_names:
        axis = axes.find(reading.main, name, meaning)
        if axis is not None:
            declared = (reading.main.shape(name) or ())[axis]
            if isinstance(declared, str) and declared:
                return declared
    return meaning


RULE = Rule(
    id="RNN103",
    title="Batch or time fixed in an input or output",
    severity=Severity.WARNING,
    why=(
        "A recurrent network takes any batch and any time; a file that declares the exporter's "
        "example sizes is refused by every runtime at others. A step model (its states are "
        "inputs, its time is 1) is not reported for its time."
    ),
    remedy=(
        "--fix declares the axes symbolic, after RNN101 and RNN102 have freed what is inside, "
        "and keeps that only where the file then runs at other batches and times with the same "
        "rows; else export again with `rnnport export`."
    ),
    find=find,
    repair=repair,
    effect=Effect.EXACT,
)
