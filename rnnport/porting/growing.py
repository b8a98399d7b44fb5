"""Which axes of the inputs may grow: the module is run on examples that are longer along some.

Sizes tell the batch and the time of most modules. Where two sizes are equal, where the first
recurrent layer runs over something else than the input's own axes, or where a module takes two
sequences, only a trial tells. An axis is doubled, so that strides, windows and frames of a fixed
size still fit; what must grow together (an input and its lengths) is doubled together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.porting.axes import BATCH, TIME, Shapes
from rnnport.porting.calls import LoopCall, RecurrentCall, RecurrentMode
from rnnport.porting.keeping import replayed
from rnnport.porting.signature import Signature
from rnnport.spec import Dim

Place = tuple[str, int]  # an axis of an input
Group = frozenset[Place]
# of each recurrent call: its batch, its time if it has one, and its longest row where it is packed
Sizes = list[tuple[int, int | None, int]]

_MOST_RUNS = 100


class _SizesMode(RecurrentMode):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._layers: Sizes = []
        self._loops: Sizes = []

    @property
    def sizes(self) -> Sizes:
        """Of the layers, then of the loops, as a probe lists them."""
        return [*self._layers, *self._loops]

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        time, longest = None, 0
        if call.batch_sizes is None:
            time = int(call.x.shape[1 if call.batch_first else 0])
        else:
            longest = len(call.batch_sizes)
        self._layers.append((int(call.states[0].shape[1]), time, longest))
        return func(*call.arguments(call.states))

    def looped(self, call: LoopCall) -> tuple[list[Tensor], list[Tensor]]:
        time = None if call.loop.fed_back else int(call.loop.xs[0].shape[0])
        self._loops.append((int(call.states[0].shape[0]), time, 0))
        return super().looped(call)


@dataclass
class Growth:
    """A module, and what it does with larger examples. The caller has borrowed the module."""

    module: nn.Module
    signature: Signature
    example: Mapping[str, Tensor]
    _known: dict[Group, Sizes | None] = field(default_factory=dict)

    def grown(self, group: Group) -> Sizes | None:
        """The sizes of the recurrent calls with these axes doubled; None: it does not run so."""
        if group not in self._known:
            self._known[group] = self._run(group) if len(self._known) < _MOST_RUNS else None
        return self._known[group]

    def _run(self, group: Group) -> Sizes | None:
        larger = dict(self.example)
        for name, axis in group:
            size = larger[name].shape[axis]
            larger[name] = larger[name].index_select(axis, torch.arange(2 * size) % size)
        args, kwargs = self.signature.build(larger)
        try:
            with replayed(self.module), _SizesMode(self.module) as mode:
                self.module(*args, **kwargs)
        except Exception:  # noqa: BLE001  a module raises what it likes
            return None
        return mode.sizes

    def changes(self, group: Group) -> tuple[bool, bool]:
        """Whether the axes are the batch of all calls, and whether they are a call's time."""
        before, after = self.grown(frozenset()) or [], self.grown(group) or []
        if len(before) != len(after):
            return False, False
        pairs = list(zip(before, after, strict=True))
        batches = all(one[0] < two[0] and one[1:] == two[1:] for one, two in pairs)
        return batches, any(one[1:] != two[1:] for one, two in pairs)

    def within(self, time: Group) -> list[bool]:
        """For each call, whether the steps of the input are rows of it, and not its time."""
        before, after = self.grown(frozenset()) or [], self.grown(time) or []
        if len(before) != len(after):
            return [False] * len(before)
        pairs = zip(before, after, strict=True)
        return [one[0] < two[0] and one[1:] == two[1:] for one, two in pairs]

    def fixed(self, shapes: Shapes) -> bool:
        """Whether a layer's time is that of an input, as sizes told, though it may not grow."""
        layers = {time for _, time, _ in self.grown(frozenset()) or []} - {None, 1}
        return not layers.isdisjoint(self.size(place) for place in named_axes(shapes, TIME))

    def size(self, place: Place) -> int:
        """The example's size along an axis."""
        return int(self.example[place[0]].shape[place[1]])

    def agree(self, shapes: Shapes, batched: bool) -> bool:
        """Whether the module runs with more rows, and with more steps, along these axes."""
        rows, steps = named_axes(shapes, BATCH), named_axes(shapes, TIME)
        if self.grown(frozenset()) is None:
            return True  # nothing can be learned
        if batched and not (rows and self.changes(rows)[0]):
            return False
        if self._misses(shapes):
            return False
        if not steps:
            return True
        if not self._coupled(steps):
            return False
        after = self.grown(steps)
        if after is None:
            return False
        return self.changes(steps)[1] or any(time is None for _, time, _ in after)

    def _misses(self, shapes: Shapes) -> bool:
        """Whether a fixed axis is a layer's time, or the only one that its input could have."""
        for name, shape in shapes.items():
            if BATCH not in shape:
                continue
            symbols = sum(isinstance(axis, str) for axis in shape)
            for axis, size in enumerate(shape):
                place = frozenset([(name, axis)])
                if isinstance(size, str) or size == 1 or self.grown(place) is None:
                    continue
                if symbols == 1 or self.changes(place)[1]:
                    return True
        return False

    def _coupled(self, group: Group) -> bool:
        """Whether axes of several inputs are of one size, and cannot be of two."""
        sizes = {self.example[name].shape[axis] for name, axis in group}
        apart = (self.grown(frozenset([place])) for place in group)
        alone = len(group) > 1 and sizes != {1} and any(each is not None for each in apart)
        return len(sizes) == 1 and not alone

    def groups(self) -> list[Group]:
        """The axes that may grow, each with those that must grow with it; in the inputs' order.

        Growing that shows in a recurrent call is preferred: of a packed input alone more rows than
        lengths are silently dropped.
        """
        places = [(name, axis) for name, t in self.example.items() for axis in range(t.dim())]
        found: list[Group] = []
        for place in places:
            taken: Group = frozenset().union(*found)
            if place in taken:
                continue
            free = [each for each in places if each not in taken]
            fitting = [g for g in self._with(place, free) if self.grown(g) is not None]
            found += [g for g in fitting if any(self.changes(g))][:1] or fitting[:1]
        return found

    def _with(self, place: Place, free: Sequence[Place]) -> Iterator[Group]:
        """The axis alone, then with one of equal size in most other inputs, then in fewer."""
        size = self.example[place[0]].shape[place[1]]
        partners: dict[str, list[Place]] = {}
        for name, axis in free:
            if name != place[0] and self.example[name].shape[axis] == size:
                partners.setdefault(name, []).append((name, axis))
        yield frozenset([place])
        for many in range(len(partners), 0, -1):
            for names in itertools.combinations(partners, many):
                for chosen in itertools.product(*(partners[name] for name in names)):
                    yield frozenset([place, *chosen])


def tried_axes(
    trials: Growth, shapes: Shapes, given: Mapping[str, Sequence[Dim]], batched: bool
) -> Shapes:
    """The axes that sizes told, where the module runs so; else those that trials tell.

    ``given`` are the axes that the caller knows; ``batched`` is whether there is a batch at all.
    Where nothing better is found, ``shapes`` stay: the trace says what is in the way.
    """
    if given.keys() >= shapes.keys() or trials.agree(shapes, batched):
        return shapes
    groups = trials.groups()
    batch = next((group for group in groups if trials.changes(group)[0]), None)
    if batch is None:
        return shapes
    axes: dict[str, list[Dim]] = {name: list(t.shape) for name, t in trials.example.items()}
    _name(axes, batch, BATCH)
    times = _times(trials, groups, batch)
    if not times and trials.fixed(shapes):
        return shapes
    for group in times:
        _name(axes, group, TIME if group == times[0] else _own_name(axes, group))
    found = {name: tuple(given.get(name, each)) for name, each in axes.items()}
    return found if trials.agree(found, batched) else shapes


def _times(trials: Growth, groups: Sequence[Group], batch: Group) -> list[Group]:
    """The groups along which a layer runs, or an input with no other such axis may grow."""
    seen = [group for group in groups if group != batch and trials.changes(group)[1]]
    running = {name for group in seen for name, _ in group}
    for group in groups:
        names = {name for name, _ in group}
        fresh = group != batch and group not in seen and not names & running
        if fresh and names & {name for name, _ in batch}:
            seen.append(group)
            running |= names
    return [group for group in groups if group in seen]


def _name(axes: dict[str, list[Dim]], group: Group, axis_name: str) -> None:
    for name, axis in group:
        axes[name][axis] = axis_name


def _own_name(axes: Mapping[str, Sequence[Dim]], group: Group) -> str:
    """``mels_time``, after the input whose axis it is."""
    name, axis = min(group)
    own = f"{name}_{TIME}"
    return own if TIME not in axes[name] else f"{own}_{axis}"


def named_axes(shapes: Shapes, axis_name: str) -> Group:
    """The axes of this name."""
    return frozenset(
        (name, axis)
        for name, shape in shapes.items()
        for axis, each in enumerate(shape)
        if each == axis_name
    )
