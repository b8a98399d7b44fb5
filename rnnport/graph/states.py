"""Which graph inputs and outputs are a recurrent state and its successor.

A state is found by following what enters a recurrent node as ``initial_h`` or ``initial_c`` (or a
Scan or Loop as a carried value) back to the graph's inputs, and what leaves it forward to the
graph's outputs, through operators that only move data. Names and shapes decide where flow shows
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rnnport.graph.recurrent import STATES, recurrent_nodes
from rnnport.graph.scopes import Node, Reading, Scope, Shape

MOVES = {
    *("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"),
    *("Concat", "Split", "Slice", "Gather", "Expand"),
}
SUCCESSOR_WORDS = {"out", "output", "outputs", "next", "new", "n", "final", "last", "y", "updated"}
ENTRY_WORDS = {"in", "input", "inputs", "prev", "previous", "old", "init", "initial", "x", "t"}
STATE_WORDS = {"state", "states", "hidden", "cell", "h", "c", "hx", "cx", "hc", "memory", "cache"}
FILLER = SUCCESSOR_WORDS | ENTRY_WORDS | {"0", "1", "state", "states", "cur", "current"}


@dataclass(frozen=True)
class Pair:
    """A graph input that takes a state, and the graph output that gives its successor."""

    input: str
    output: str


@dataclass(frozen=True)
class States:
    """What was recognised.

    ``lost`` are inputs that enter a recurrent node as its state while its successor leaves by no
    output; ``unclear`` are inputs with the outputs that may each be the successor.
    """

    pairs: tuple[Pair, ...]
    lost: tuple[str, ...] = ()
    unclear: tuple[tuple[str, tuple[str, ...]], ...] = ()


def recognise(reading: Reading) -> States:
    """Find the states of a model by flow, then by names."""
    flows = _flows(reading)
    pairs: dict[str, str] = {}
    lost: list[str] = []
    unclear: dict[str, tuple[str, ...]] = {}
    for entry, outputs in flows.items():
        fitting = _fitting(reading, entry, outputs)
        if len(fitting) == 1:
            pairs[entry] = fitting[0]
        elif fitting:
            unclear[entry] = tuple(fitting)
    taken = set(pairs.values())
    for entry, choices in list(unclear.items()):
        free = [name for name in choices if name not in taken]
        named = [name for name in free if _alike(entry, name)] or free
        if len(named) == 1:
            pairs[entry] = named[0]
            del unclear[entry]
    for entry, output in _by_name(reading, {*pairs, *unclear}, set(pairs.values())):
        pairs[entry] = output
    lost = [entry for entry in flows if entry not in pairs and entry not in unclear]
    order = {name: index for index, name in enumerate(reading.main.input_names)}
    found = sorted(pairs.items(), key=lambda pair: order[pair[0]])
    return States(
        tuple(Pair(entry, output) for entry, output in found), tuple(lost), tuple(unclear.items())
    )


def looks_like_state(name: str) -> bool:
    """Whether a name has a word in it that people give to states."""
    return bool(STATE_WORDS & set(_words(name)))


def compatible(one: Shape | None, other: Shape | None) -> bool:
    """Whether two shapes may be equal at run time."""
    if one is None or other is None:
        return True
    return len(one) == len(other) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int))
        for a, b in zip(one, other, strict=True)
    )


def sources(reading: Reading, scope: Scope, name: str) -> set[str]:
    """The main graph's inputs whose data reach a value by moves alone."""
    return set(_sources(reading, scope, name, set()))


def sinks(reading: Reading, scope: Scope, name: str) -> set[str]:
    """The main graph's outputs that a value's data reach by moves alone."""
    return set(_sinks(reading, scope, name, set()))


def length_input(reading: Reading) -> str | None:
    """The graph input that every recurrent node takes its ``sequence_lens`` from."""
    found: set[str] = set()
    for node in recurrent_nodes(reading):
        if name := node.input("sequence_lens"):
            found |= sources(reading, node.node.scope, name)
    return found.pop() if len(found) == 1 else None


def _flows(reading: Reading) -> dict[str, set[str]]:
    """Each graph input that enters something as its state → the outputs that its successor is."""
    flows: dict[str, set[str]] = {}
    for scope, entry, output, answer in _carried(reading):
        found = sinks(reading, scope, output) if output else set()
        for name in sources(reading, scope, entry):
            after = found or {
                out
                for out in (sinks(reading, scope, answer) if answer else ())
                if compatible(reading.main.shape(name), reading.main.shape(out))
            }
            flows.setdefault(name, set()).update(after)
    return flows


def _carried(reading: Reading) -> Iterator[tuple[Scope, str, str, str]]:
    """Every carried value: its scope, how it enters, how it leaves, the node's whole answer."""
    for node in recurrent_nodes(reading):
        for entry, successor in STATES.items():
            if node.input(entry):
                answer = node.output("Y") if entry == "initial_h" else ""
                yield node.node.scope, node.input(entry), node.output(successor), answer
    for scope in reading.scopes:
        for outer in scope.nodes:
            for index in range(_carried_count(outer)):
                shift = 2 if outer.op == "Loop" else 0
                yield scope, outer.input(index + shift), outer.output(index), ""


def _carried_count(node: Node) -> int:
    if node.op == "Loop":
        return max(0, len(node.proto.input) - 2)
    if node.op == "Scan":
        return max(0, len(node.proto.input) - int(node.attribute("num_scan_inputs", 0)))
    return 0


def _sources(
    reading: Reading, scope: Scope, name: str, seen: set[tuple[int, str]]
) -> Iterator[str]:
    home = scope.home(name)
    if not name or (id(home), name) in seen:
        return
    seen.add((id(home), name))
    if name in home.input_names:
        if home.parent is None and not home.is_function:
            yield name
        elif home.is_function:
            place = home.input_names.index(name)
            for call in reading.calls(home):
                yield from _sources(reading, call.scope, call.input(place), seen)
        elif home.owner is not None:
            outside = _outside_input(home, name)
            yield from _sources(reading, home.owner.scope, outside, seen) if outside else ()
        return
    maker = home.makers.get(name)
    if maker is None:
        return
    if maker.op in MOVES:
        for index, data in enumerate(maker.proto.input):
            if index == 0 or maker.op == "Concat":
                yield from _sources(reading, home, data, seen)
    elif maker.op == "If":
        index = list(maker.proto.output).index(name)
        for branch in home.children:
            if branch.owner is maker:
                yield from _sources(reading, branch, branch.output_names[index], seen)


def _outside_input(inner: Scope, name: str) -> str:
    """What a Loop or Scan feeds into a carried input of its body."""
    node, index = inner.owner, inner.input_names.index(name)
    if node is None:
        return ""
    carried = _carried_count(node)
    place = index - 2 if node.op == "Loop" else index
    return node.input(index) if 0 <= place < carried else ""


def _sinks(reading: Reading, scope: Scope, name: str, seen: set[tuple[int, str]]) -> Iterator[str]:
    home = scope.home(name)
    if (id(home), name) in seen:
        return
    seen.add((id(home), name))
    for index, output in enumerate(home.output_names):
        if output != name:
            continue
        if home.owner is not None:
            outside = home.owner.output(index - 1 if home.owner.op == "Loop" else index)
            if outside:
                yield from _sinks(reading, home.owner.scope, outside, seen)
        elif home.is_function:
            for call in reading.calls(home):
                yield from _sinks(reading, call.scope, call.output(index), seen)
        else:
            yield name
    for taker in home.takers.get(name, ()):
        if taker.op in MOVES and (taker.op == "Concat" or taker.input(0) == name):
            for output in filter(None, taker.proto.output):
                yield from _sinks(reading, taker.scope, output, seen)


def _fitting(reading: Reading, entry: str, outputs: Iterable[str]) -> list[str]:
    main = reading.main
    return [
        name
        for name in main.output_names
        if name in outputs
        and main.dtype(name) == main.dtype(entry)
        and compatible(main.shape(name), main.shape(entry))
    ]


def _by_name(reading: Reading, used: set[str], taken: set[str]) -> Iterator[tuple[str, str]]:
    """Pairs that names and shapes show: h_in and h_out, state.k and next.k, hx and hy."""
    for entry in reading.main.input_names:
        if entry in used or not looks_like_state(entry):
            continue
        alike = [
            name
            for name in _fitting(reading, entry, reading.main.output_names)
            if name not in taken and name != entry and _alike(entry, name)
        ]
        if len(alike) == 1:
            yield entry, alike[0]


def _alike(entry: str, output: str) -> bool:
    one, other = _words(entry), _words(output)
    if not looks_like_state(output):
        return False
    return [w for w in one if w not in FILLER] == [w for w in other if w not in FILLER]


def _words(name: str) -> list[str]:
    """A name's words in lower case; "h0", "hn", "hx" give "h" and what marks its place."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    words = []
    for word in re.findall(r"[A-Za-z]+|\d+", spaced):
        word = word.lower()
        if len(word) == 2 and word[0] in "hc" and word[1] in "nxyt":
            words += [word[0], word[1]]
        else:
            words.append(word)
    return words
