"""RNN104: a recurrent layer unrolled into one copy of its step per time step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.scopes import Node, Reading, Scope

FEWEST_STEPS = 3  # fewer may be weights that are shared on purpose
FARTHEST = 60  # nodes between one step's product and the next one's
ACTIVATIONS = ("Tanh", "Sigmoid", "Relu", "HardSigmoid")
WEIGHT_MOVES = ("Transpose", "Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape")


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Products with one and the same weight that feed each other through an activation."""
    for scope in reading.scopes:
        groups: dict[str, list[Node]] = defaultdict(list)
        for node in scope.nodes:
            if node.op in ("MatMul", "Gemm"):
                weight = _weight(scope, node)
                if weight:
                    groups[weight].append(node)
        for weight, nodes in groups.items():
            links = _links(nodes) if len(nodes) >= FEWEST_STEPS - 1 else 0
            if links + 1 >= FEWEST_STEPS:
                yield Fault(
                    nodes[0].label,
                    f"a recurrent layer is unrolled: {len(nodes)} products with the weight "
                    f"'{weight}' feed one another, so the time is the exporter's example's",
                )


def _weight(scope: Scope, node: Node) -> str:
    """The initializer behind a product's second factor."""
    name = node.input(1)
    while (maker := scope.maker(name)) is not None and maker.op in WEIGHT_MOVES:
        name = maker.input(0)
    return name if name and scope.tensor(name) is not None else ""


def _links(nodes: list[Node]) -> int:
    """How many of the products depend on another one, with an activation in between."""
    members = set(nodes)
    return sum(_fed_by(node, members) for node in nodes)


def _fed_by(node: Node, members: set[Node]) -> bool:
    waiting: list[tuple[Node, bool]] = [(node, False)]
    seen = {(node, False)}
    while waiting and len(seen) < FARTHEST:
        current, active = waiting.pop(0)
        for name in current.proto.input:
            maker = current.scope.maker(name) if name else None
            if maker is None:
                continue
            if maker in members and active and maker is not node:
                return True
            state = (maker, active or maker.op in ACTIVATIONS)
            if state not in seen and maker not in members:
                seen.add(state)
                waiting.append(state)
    return False


RULE = Rule(
    id="RNN104",
    title="Recurrent layer unrolled",
    severity=Severity.ERROR,
    why=(
        "PyTorch's exporter unrolls nn.RNN, and every Python loop over LSTMCell or GRUCell, into "
        "one copy of the step for each time step of the example. Another length fails or is cut; "
        "the file grows with the time, and no runtime sees a recurrent layer."
    ),
    remedy=(
        "not by --fix. Export again with `rnnport export`; write a loop over a cell of your own "
        "with `rnnport.Recurrent`."
    ),
    find=find,
)
