"""Which axes of which values are the batch and the time, followed from the recurrent nodes.

Every operator that is known says which axes of its inputs and outputs are one and the same axis;
what a recurrent node, or a Loop or Scan over time, says of its own operands then spreads over the
whole graph, in and out of If, Loop, Scan and functions. An edge keeps the size (a transpose) or
only the meaning (a strided convolution along time).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from rnnport.graph.doors import carried_numbers, doors
from rnnport.graph.recurrent import Recurrent, as_recurrent
from rnnport.graph.scopes import Node, Reading, Scope
from rnnport.graph.steps import pieces_of

BATCH, TIME = "batch", "time"
Axis = tuple[Scope, str, int]  # the scope that defines the value, the value, the axis
Pair = tuple[str, int, str, int]  # (input, its axis, output, its axis)

SAME_SHAPE = {
    *("Identity", "Cast", "Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "Selu", "Gelu", "Erf"),
    *("Softmax", "LogSoftmax", "Dropout", "Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal", "Clip"),
    *("HardSigmoid", "HardSwish", "Softplus", "Softsign", "Sign", "Not", "Floor", "Ceil", "Round"),
    *("LayerNormalization", "BatchNormalization", "InstanceNormalization", "CumSum"),
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ReverseSequence", "Sin"),
}
BROADCAST = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "And", "Or", "Mod", "PRelu", "Sum"),
    *("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"),
}


def axes_of(reading: Reading) -> Axes:
    """The axes of a reading, found once for all who ask."""
    if Axes not in reading.found:
        reading.found[Axes] = Axes(reading)
    axes: Axes = reading.found[Axes]
    return axes


class Axes:
    """The meanings of the axes of every value of a model."""

    def __init__(self, reading: Reading) -> None:
        self._edges: dict[Axis, list[Axis]] = {}
        self._meaning: dict[Axis, str] = {}
        self._reading = reading
        for scope in reading.scopes:
            for node in scope.nodes:
                self._connect_inside(node)
            self._connect_outside(scope)
        self._spread()

    def of(self, scope: Scope, name: str, axis: int) -> str:
        """``"batch"``, ``"time"`` or, where nothing is known, an empty text."""
        return self._meaning.get((scope.home(name), name, axis), "")

    def find(self, scope: Scope, name: str, meaning: str) -> int | None:
        """The first axis of a value that has the meaning."""
        shape = scope.shape(name)
        for axis in range(len(shape or ())):
            if self.of(scope, name, axis) == meaning:
                return axis
        return None

    def _connect_inside(self, node: Node) -> None:
        scope = node.scope
        recurrent = as_recurrent(node)
        if recurrent is not None:
            self._seed(recurrent)
        elif node.op in ("Loop", "Scan"):
            self._seed_loop(node)
        for source, source_axis, target, target_axis in _pairs(node):
            if source and target:
                self._join((scope.home(source), source, source_axis), (scope, target, target_axis))

    def _seed(self, node: Recurrent) -> None:
        first = node.layout == 1
        places = {
            "X": ((0, BATCH), (1, TIME)) if first else ((1, BATCH), (0, TIME)),
            "Y": ((0, BATCH), (1, TIME)) if first else ((2, BATCH), (0, TIME)),
            "sequence_lens": ((0, BATCH),),
        }
        state = ((0 if first else 1, BATCH),)
        scope = node.node.scope
        for role in ("X", "sequence_lens", "initial_h", "initial_c", "Y", "Y_h", "Y_c"):
            name = node.input(role) or node.output(role)
            for axis, meaning in places.get(role, state):
                if name and not scope.tensor(name):
                    self._meaning[(scope.home(name), name, axis)] = meaning

    def _seed_loop(self, node: Node) -> None:
        """What is read piece by piece has a time; rows that meet a carried state are a batch."""
        scope = node.scope
        pieces = [p for p in pieces_of(node) if scope.tensor(p.sequence) is None]
        for piece in pieces:
            rank = len(scope.shape(piece.sequence) or ())
            axis = piece.axis % rank if rank else piece.axis
            self._meaning[(scope.home(piece.sequence), piece.sequence, axis)] = TIME
        for body in scope.children if pieces else ():
            if body.owner is not node:
                continue
            for _, (_, outside), inserted in doors(self._reading, body):
                if inserted is not None and outside in node.proto.output:
                    self._meaning[(scope, outside, inserted)] = TIME
            ranks = {len(body.shape(piece.name) or ()) for piece in pieces}
            states = [
                name for name in carried_numbers(node, body) if len(body.shape(name) or ()) in ranks
            ]
            rows = [*states, *(piece.name for piece in pieces)] if states else []
            for name in rows:
                if len(body.shape(name) or ()) > 1:
                    self._meaning[(body, name, 0)] = BATCH

    def _connect_outside(self, scope: Scope) -> None:
        for inner, outer, inserted in doors(self._reading, scope):
            inner_shape, outer_shape = inner[0].shape(inner[1]), outer[0].shape(outer[1])
            rank = len(inner_shape if inner_shape is not None else outer_shape or ())
            if inner_shape is None and inserted is not None:
                rank -= 1
            for axis in range(rank):
                after = inserted is not None and axis >= inserted
                self._join(
                    (inner[0].home(inner[1]), inner[1], axis),
                    (outer[0].home(outer[1]), outer[1], axis + after),
                )

    def _join(self, one: Axis, other: Axis) -> None:
        self._edges.setdefault(one, []).append(other)
        self._edges.setdefault(other, []).append(one)

    def _spread(self) -> None:
        waiting = deque(self._meaning)
        while waiting:
            axis = waiting.popleft()
            for neighbour in self._edges.get(axis, ()):
                if neighbour not in self._meaning:
                    self._meaning[neighbour] = self._meaning[axis]
                    waiting.append(neighbour)


def _pairs(node: Node) -> Iterator[Pair]:
    """The axes of a node's inputs and outputs that are the same axis."""
    if node.op in SAME_SHAPE:
        shape = node.scope.shape(node.input(0)) or node.scope.shape(node.output(0)) or ()
        yield from ((node.input(0), a, node.output(0), a) for a in range(len(shape)))
    elif node.op in BROADCAST:
        yield from _broadcast(node)
    elif node.op in _RELATIONS:
        yield from _RELATIONS[node.op](node)


def _broadcast(node: Node) -> Iterator[Pair]:
    target = node.scope.shape(node.output(0))
    if target is None:
        return
    for name in node.proto.input:
        shape = node.scope.shape(name) if name and not node.scope.tensor(name) else None
        for back in range(1, min(len(shape or ()), len(target)) + 1):
            if shape and (shape[-back] != 1 or target[-back] == 1):
                yield name, len(shape) - back, node.output(0), len(target) - back


def _rank(node: Node, name: str) -> int:
    return len(node.scope.shape(name) or ())


def _transpose(node: Node) -> Iterator[Pair]:
    perm = node.attribute("perm") or range(_rank(node, node.input(0)))[::-1]
    for target, source in enumerate(perm):
        yield node.input(0), int(source), node.output(0), target


def axes_argument(node: Node, index: int = 1) -> list[int] | None:
    """The ``axes`` of Squeeze, Unsqueeze or Slice: an attribute or, in newer opsets, an input."""
    given = node.attribute("axes")
    if given is None and (array := node.scope.array(node.input(index))) is not None:
        given = array.reshape(-1).tolist()
    return None if given is None else [int(axis) for axis in given]


def _squeeze(node: Node) -> Iterator[Pair]:
    yield from _dropped(node, node.input(0), node.output(0), forward=True)


def _unsqueeze(node: Node) -> Iterator[Pair]:
    yield from _dropped(node, node.output(0), node.input(0), forward=False)


def _dropped(node: Node, long: str, short: str, forward: bool) -> Iterator[Pair]:
    axes = axes_argument(node)
    rank = _rank(node, long) or (_rank(node, short) + len(axes or ()))
    if axes is None:
        shape = node.scope.shape(long) or ()
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    gone = {axis % rank for axis in axes} if rank else set()
    for target, source in enumerate(axis for axis in range(rank) if axis not in gone):
        yield (long, source, short, target) if forward else (short, target, long, source)


def _gather(node: Node) -> Iterator[Pair]:
    data, indices, out = node.input(0), node.input(1), node.output(0)
    rank, picked = _rank(node, data), node.scope.shape(indices)
    if picked is None or not rank:
        return
    axis = int(node.attribute("axis", 0)) % rank
    for source in range(rank):
        if source != axis:
            yield data, source, out, source if source < axis else source + len(picked) - 1
    for source in range(len(picked)):
        yield indices, source, out, axis + source


def _matmul(node: Node) -> Iterator[Pair]:
    left, right, out = node.input(0), node.input(1), node.output(0)
    rank, other = _rank(node, left), _rank(node, right)
    if rank >= 2:
        yield from ((left, axis, out, axis + max(0, other - rank)) for axis in range(rank - 1))
    if other >= 3 and not node.scope.tensor(right):
        yield from ((right, axis, out, axis + max(0, rank - other)) for axis in range(other - 2))


def _gemm(node: Node) -> Iterator[Pair]:
    yield node.input(0), 1 if node.attribute("transA", 0) else 0, node.output(0), 0


def _concat(node: Node) -> Iterator[Pair]:
    rank = _rank(node, node.output(0)) or _rank(node, node.input(0))
    axis = int(node.attribute("axis", 0)) % rank if rank else 0
    for name in node.proto.input:
        if name and not node.scope.tensor(name):
            yield from ((name, a, node.output(0), a) for a in range(rank) if a != axis)


def _same_axes(node: Node) -> Iterator[Pair]:
    for out in filter(None, node.proto.output):
        for axis in range(_rank(node, node.input(0)) or _rank(node, out)):
            yield node.input(0), axis, out, axis


def _convolution(node: Node) -> Iterator[Pair]:
    yield node.input(0), 0, node.output(0), 0
    for axis in range(2, _rank(node, node.input(0))):
        yield node.input(0), axis, node.output(0), axis


def _reduce(node: Node) -> Iterator[Pair]:
    rank, axes = _rank(node, node.input(0)), axes_argument(node)
    if node.op in ("ArgMax", "ArgMin"):
        axes = [int(node.attribute("axis", 0))]
    if not rank or axes is None:
        return
    gone = {axis % rank for axis in axes}
    kept = bool(node.attribute("keepdims", 1))
    stay = [axis for axis in range(rank) if axis not in gone]
    for target, source in enumerate(stay):
        yield node.input(0), source, node.output(0), source if kept else target


def _reshape(node: Node) -> Iterator[Pair]:
    """Leading and trailing axes that keep their size keep their meaning."""
    source, out = node.scope.shape(node.input(0)), node.scope.shape(node.output(0))
    target = node.scope.array(node.input(1), largest=64)
    wanted = [] if target is None else target.reshape(-1).tolist()
    for axis in range(min(len(source or ()), len(wanted))):
        if wanted[axis] != 0:
            break
        yield node.input(0), axis, node.output(0), axis
    if not source or not out:
        return
    front, shorter = 0, min(len(source), len(out))
    while front < shorter and source[front] == out[front] != "":
        yield node.input(0), front, node.output(0), front
        front += 1
    back = 0
    while back < shorter - front and source[-1 - back] == out[-1 - back] != "":
        back += 1
        yield node.input(0), len(source) - back, node.output(0), len(out) - back
    # One axis that is left over on each side is the same axis, whatever it is called.
    left = [axis for axis in range(front, len(source) - back) if source[axis] != 1]
    right = [axis for axis in range(front, len(out) - back) if out[axis] != 1]
    if len(left) == len(right) == 1:
        yield node.input(0), left[0], node.output(0), right[0]


_RELATIONS: dict[str, Callable[[Node], Iterator[Pair]]] = {
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Gather": _gather,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Concat": _concat,
    "Slice": _same_axes,
    "Split": _same_axes,
    "Pad": _same_axes,
    "Conv": _convolution,
    "MaxPool": _convolution,
    "AveragePool": _convolution,
    "Reshape": _reshape,
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ArgMax", "ArgMin"), _reduce
    ),
}
