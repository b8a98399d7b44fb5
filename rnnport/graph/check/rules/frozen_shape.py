"""RNN101: a Reshape or Expand whose target holds the batch or time of the exporter's example."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from rnnport.graph.axes import BATCH, TIME, Axes, axes_of
from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.fold import Constants, folded
from rnnport.graph.rewrite import Names, add_constant, forget_shapes, insert_before, set_input
from rnnport.graph.scopes import Node, Reading

RESHAPING = ("Reshape", "Expand")
MOST_ROUNDS = 20
REST = ""  # no input: what is left, a Reshape's own -1
MERGED = "batch × time"  # one place that holds the product of both


@dataclass(frozen=True)
class Frozen:
    """A node, its target shape, and the places in it that should follow the input.

    A place of the target is a number, or the name of a value that is computed when the model runs.
    """

    node: Node
    target: tuple[int | str, ...]
    places: dict[int, str]  # place → "batch", "time" or both multiplied


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Constant targets with a number where the batch or the time stands."""
    reading = folded(reading)  # what is constant hides axes while nodes compute it
    axes = axes_of(reading)
    for frozen in _frozen(reading, axes):
        what = " and ".join(f"{m} {frozen.target[p]}" for p, m in frozen.places.items())
        yield Fault(
            frozen.node.label,
            f"this {frozen.node.op} always makes {_shown(frozen.target)}: {what} of the "
            "exporter's example is frozen in it, so any other size fails or is mixed up",
            fixable=_live_sizes(reading, axes, frozen) is not None,
        )


def _shown(target: tuple[int | str, ...]) -> str:
    sizes = ("…" if isinstance(size, str) else str(size) for size in target)
    return f"[{', '.join(sizes)}]"


def repair(reading: Reading) -> onnx.ModelProto:
    """Take the sizes from a graph input when the model runs.

    One frozen size hides the next: what is behind it has no open axes before it is repaired.
    """
    reading = folded(reading)
    for _ in range(MOST_ROUNDS):
        axes, names = axes_of(reading), Names(reading)
        found = [(f, _live_sizes(reading, axes, f)) for f in _frozen(reading, axes)]
        if not any(sizes for _, sizes in found):
            break
        for frozen, sizes in found:
            if sizes:
                _follow_input(frozen, sizes, names)
        forget_shapes(reading.model)
        reading = Reading(reading.model)
    return reading.model


def _frozen(reading: Reading, axes: Axes) -> Iterator[Frozen]:
    constants = Constants()
    for node in reading.nodes_of(*RESHAPING):
        target = _target(node, constants)
        if target is None:
            continue
        places = {
            place: meaning
            for place, size in enumerate(target)
            if _fixed(size) and (meaning := axes.of(node.scope, node.output(0), place))
        }
        if node.op == "Expand":  # a 1 broadcasts to whatever the input's size is
            places = {place: meaning for place, meaning in places.items() if target[place] != 1}
        else:
            places |= _aligned(node, axes, target)
        if places:
            yield Frozen(node, target, places)


def _target(node: Node, constants: Constants) -> tuple[int | str, ...] | None:
    """The target shape: whole numbers, and names where a Concat takes a size at run time."""
    whole = constants.value(node.scope, node.input(1))
    if whole is not None:
        return tuple(int(size) for size in whole) if whole.ndim == 1 else None
    maker = node.scope.maker(node.input(1))
    if maker is None or maker.op != "Concat":
        return None
    target: list[int | str] = []
    for name in maker.proto.input:
        value = constants.value(maker.scope, name)
        if value is not None:
            target += [int(size) for size in value.reshape(-1)]
        elif maker.scope.shape(name) == (1,):
            target.append(name)
        else:
            return None
    return tuple(target)


def _fixed(size: int | str) -> bool:
    return isinstance(size, int) and size > 0


def _aligned(node: Node, axes: Axes, target: tuple[int | str, ...]) -> dict[int, str]:
    """Places of a Reshape's target that can only come from open axes of its input.

    [time, batch, 1, 4] → (5, 2, 4) or (5, -1, 2, 2) holds the time, and (10, 4) the product of
    both: what follows the open axes is as large before as after.
    """
    shape = node.scope.shape(node.input(0)) or ()
    named = [(size, axes.of(node.scope, node.input(0), axis)) for axis, size in enumerate(shape)]
    named = [(size, meaning) for size, meaning in named if meaning or size != 1]
    source, meanings = [size for size, _ in named], [meaning for _, meaning in named]
    count = next((axis for axis, meaning in enumerate(meanings) if not meaning), len(meanings))
    if not count or count > len(target) or any(meanings[count:]):
        return {}
    if len(target) == len(source) and any(isinstance(size, str) for size in target):
        # The author computes the other sizes when the model runs, so this one was meant to be.
        return {p: meanings[p] for p in range(count) if _fixed(target[p]) and target[p] != 1}
    inner = _product(source[count:])
    if inner is not None and inner == _product(target[count:]):
        return {p: meanings[p] for p in range(count) if _fixed(target[p])}
    if count > 1 and _fixed(target[0]) and inner is not None and inner == _product(target[1:]):
        return {0: MERGED}
    return {}


def _product(sizes: Sequence[int | str]) -> int | None:
    """The product of fixed sizes; ``None`` where one of them is open."""
    known = [size for size in sizes if isinstance(size, int) and size > 0]
    return math.prod(known) if len(known) == len(sizes) else None


def _live_sizes(reading: Reading, axes: Axes, frozen: Frozen) -> dict[int, tuple[str, int]] | None:
    """For each frozen place the graph input, and its axis, that has that size when it runs."""
    if frozen.node.scope is not reading.main:
        return None  # an inner graph may see the batch of another call
    found = {}
    for place, meaning in frozen.places.items():
        if meaning == MERGED:
            found[place] = (REST, 0)
            continue
        size = frozen.target[place]
        source = _input_with(reading, axes, meaning, size if isinstance(size, int) else 0)
        if source is None:
            return None
        found[place] = source
    return found


def _input_with(reading: Reading, axes: Axes, meaning: str, size: int) -> tuple[str, int] | None:
    for name in reading.main.input_names:
        axis = axes.find(reading.main, name, meaning)
        if axis is not None:
            declared = (reading.main.shape(name) or ())[axis]
            if not isinstance(declared, int) or declared == size:
                return name, axis
    return None


def _follow_input(frozen: Frozen, sizes: dict[int, tuple[str, int]], names: Names) -> None:
    scope, base = frozen.node.scope, frozen.node.output(0)
    new: list[onnx.NodeProto] = []
    parts: list[str] = []
    for place, size in enumerate(frozen.target):
        if isinstance(size, str):
            parts.append(size)
            continue
        source, axis = sizes.get(place, (REST, 0))
        if source == REST:
            value = np.asarray([-1 if place in sizes else size], np.int64)
            parts.append(add_constant(scope, names.fresh(f"{base}.size{place}"), value))
            continue
        shape, part = names.fresh(f"{base}.shape{place}"), names.fresh(f"{base}.live{place}")
        index = add_constant(scope, names.fresh(f"{base}.axis{place}"), np.asarray([axis]))
        new.append(helper.make_node("Shape", [source], [shape]))
        new.append(helper.make_node("Gather", [shape, index], [part], axis=0))
        parts.append(part)
    target = names.fresh(f"{base}.target")
    new.append(helper.make_node("Concat", parts, [target], axis=0))
    insert_before(frozen.node, new)
    set_input(frozen.node, 1, target)


RULE = Rule(
    id="RNN101",
    title=f"{BATCH.capitalize()} or {TIME} frozen in a Reshape or Expand",
    severity=Severity.ERROR,
    why=(
        "Exporters write the example's batch and time into constant shapes, although the inputs "
        "are declared dynamic. The file then fails at any other size, or mixes rows up silently "
        "where the number of elements happens to fit."
    ),
    remedy=(
        "--fix computes the sizes from the graph's input when it runs; or export again with "
        "`rnnport export`, which keeps both axes symbolic."
    ),
    find=find,
    repair=repair,
    effect=Effect.EXACT,
)
