"""Running a module on its example, to learn which recurrent calls it makes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.errors import RequestError, RnnportError
from rnnport.porting.calls import LOOP, RecurrentCall, RecurrentMode
from rnnport.porting.found_states import find_kept
from rnnport.porting.keeping import replayed
from rnnport.porting.kept import KeptTensor, Place, held
from rnnport.porting.projection import inverse_projections
from rnnport.porting.randomness import draws, refuse_random
from rnnport.porting.rows import Rows
from rnnport.porting.signature import Signature
from rnnport.porting.states import state_names

STEP = "step"  # the kind of a module's own step, in which no recurrent call is seen
_SORTS = torch.nn.modules.rnn._apply_permutation.__code__


@dataclass(frozen=True)
class ProbedCall:
    """One recurrent call as seen on the example.

    ``initials`` has one entry per state: a number for every element, a nested list
    [layers × directions, hidden] of the constant that the module gives, or None where the state
    depends on the module's inputs, or on what the module keeps from call to call.
    """

    path: str
    label: str
    kind: str
    names: tuple[str, ...]
    batch: int
    batched: bool
    time: int | None  # None: packed
    taken_from: tuple[str, ...]  # the inputs that are its initial states
    sizes: tuple[tuple[int, ...], ...]  # (layers × directions, hidden) per state; a cell's own
    layers: int
    bidirectional: bool
    initials: tuple[float | list[Any] | None, ...]
    obstacle: str = ""  # why a cell's loop cannot stream
    counts: tuple[str, ...] = ()  # the input that is its number of steps
    dtypes: tuple[str, ...] = ()  # of a cell's states; those of layers are float32
    inverse: Tensor | None = None  # pinv(W_hr), where an LSTM with projection is given a state
    rows: Rows | None = None  # where it has more rows than the batch
    within: bool = False  # whether it runs within each step of the input's time, anew
    cell: bool = False  # a bare call of a cell: one step
    longest: int | None = None  # of a packed call: the longest row's steps

    @property
    def over_time(self) -> bool:
        """Whether it runs over the time of some input: no single step, nothing fed back."""
        return not self.cell and (self.kind != LOOP or self.time is not None)

    @property
    def batch_led(self) -> bool:
        """Whether its states have the batch on axis 0, as a cell's have."""
        return self.cell or self.kind == LOOP

    @property
    def given(self) -> bool:
        """Whether the initial states come from the module's inputs."""
        return any(initial is None for initial in self.initials)

    @property
    def taken(self) -> bool:
        """Whether every initial state is one of the module's inputs, as it is."""
        return len(self.taken_from) == len(self.names)


def own_step(module: nn.Module, example: Mapping[str, Tensor]) -> ProbedCall:
    """What stands for a module that is one step of a recurrence, written without torch's cells."""
    first = next(tensor for tensor in example.values() if tensor.dim())
    return ProbedCall(
        path="",
        label=type(module).__name__,
        kind=STEP,
        names=(),
        batch=first.shape[0],
        batched=True,
        time=None,
        taken_from=(),
        sizes=(),
        layers=0,
        bidirectional=False,
        initials=(),
        cell=True,
    )


@dataclass(frozen=True)
class Probed:
    """What a module did on its example."""

    answer: Any
    calls: tuple[ProbedCall, ...]
    kept: tuple[KeptTensor, ...]


def probe(
    module: nn.Module, signature: Signature, example: Mapping[str, Tensor], stream: bool = False
) -> Probed:
    """The answer on the example, every recurrent call, and the states that the module keeps.

    The module runs on the example and on one with other values: an initial state that changes
    with the values is given, one that does not is the module's constant. The caller has borrowed
    the module.

    Raises:
        RequestError: the module does not run on the example.
        UnsupportedModelError: the module keeps a state that a file cannot carry.
    """
    with replayed(module):
        answer, first = _run(module, signature, example)
    with replayed(module):
        refuse_random(module, (answer, _run(module, signature, example)[0]), first.random)
    with replayed(module):
        _, other = _run(module, signature, {name: _other(t) for name, t in example.items()})
    others = other.seen if len(other.seen) == len(first.seen) else first.seen
    again, names = _second_calls(module, signature, example)

    def run() -> Any:
        return _run(module, signature, example)[0]

    # it builds on ProbedCall, and is asked here so that every probe sees a module's loops too
    from rnnport.porting.probed_loops import probe_loops

    loops = probe_loops(module, signature, example)
    kept = find_kept(module, run, _batch(first.seen, loops, example), names, stream)
    later = again if kept and len(again) == len(first.seen) else first.seen
    places = {tensor.data_ptr(): name for name, tensor in example.items() if tensor.numel()}
    probed = (_probed(*each, places) for each in zip(first.seen, others, later, strict=True))
    return Probed(answer, (*probed, *loops), kept)


@dataclass(frozen=True)
class _Seen:
    """A recurrent call with copies of its initial and final states."""

    call: RecurrentCall
    origins: tuple[Tensor, ...]  # the initial states, before packing sorted their rows
    states: tuple[Tensor, ...]
    finals: tuple[Tensor, ...]


def _batch(
    seen: Sequence[_Seen], loops: Sequence[ProbedCall], example: Mapping[str, Tensor]
) -> int | None:
    """The rows of the example; None where it has no batch."""
    if seen:
        return int(seen[0].states[0].shape[1]) if seen[0].call.batched else None
    if loops:
        return loops[0].batch
    return next((tensor.shape[0] for tensor in example.values() if tensor.dim()), None)


def _equal(one: _Seen, other: _Seen) -> bool:
    pairs = zip(one.states, other.states, strict=True)
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def _second_calls(
    module: nn.Module, signature: Signature, example: Mapping[str, Tensor]
) -> tuple[list[_Seen], dict[Place, str]]:
    """The recurrent calls of a second run, and what they call the states that the module keeps.

    A kept tensor that a call takes as it is, and whose successor is that call's final state, has
    the name that the call's own state would have.
    """
    names: dict[Place, str] = {}
    with replayed(module):
        _run(module, signature, example)
        before = dict(held(module))
        _, mode = _run(module, signature, example)
        after = dict(held(module))
        for seen in mode.seen:
            triples = zip(seen.call.states, seen.finals, state_names(seen.call), strict=True)
            for state, left, name in triples:
                for place, tensor in before.items():
                    taken = tensor.data_ptr() == state.data_ptr() and place in after
                    if taken and torch.equal(after[place].flatten(), left.flatten()):
                        names.setdefault(place, name)
                        break
    return mode.seen, names


class _ProbeMode(RecurrentMode):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.seen: list[_Seen] = []
        self.random: list[str] = []  # who draws random numbers
        # states that torch sorted as it did the packed rows → what they were
        self.sorted_from: dict[int, Tensor] = {}
        self._alive: list[Tensor] = []

    def other(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        answer = func(*args, **kwargs)
        if draws(name, kwargs):
            self.random.append(f"{name} in {self._label()}")
        if name == "index_select" and sys._getframe(2).f_code is _SORTS:
            self._alive.append(answer)
            self.sorted_from[answer.data_ptr()] = args[0]
        return answer

    def _label(self) -> str:
        path = self._caller()[0]
        return f"'{path}'" if path else "the module itself"

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        states = tuple(state.clone() for state in call.states)
        answer = func(*call.arguments(call.states))
        origins = tuple(self.sorted_from.get(s.data_ptr(), s) for s in call.states)
        self.seen.append(_Seen(call, origins, states, tuple(final.clone() for final in answer[1:])))
        return answer


def _run(
    module: nn.Module, signature: Signature, example: Mapping[str, Tensor]
) -> tuple[Any, _ProbeMode]:
    args, kwargs = signature.build(example)
    mode = _ProbeMode(module)
    try:
        with mode:
            return module(*args, **kwargs), mode
    except RnnportError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {list(t.shape)}" for name, t in example.items())
        raise RequestError(
            f"{type(module).__name__} does not run on its example ({shapes}): "
            f"{type(error).__name__}: {error}"
        ) from error


def _other(tensor: Tensor) -> Tensor:
    """Other values that the module takes as well; whole numbers may be lengths or ids: kept."""
    return tensor * 0.5 + 0.125 if tensor.is_floating_point() else tensor


def _probed(seen: _Seen, other: _Seen, later: _Seen, places: Mapping[int, str]) -> ProbedCall:
    """What is known of a call, seen on the example, on other values, and in a second run."""
    call, state = seen.call, seen.states[0]
    carried = zip(*(_carried(each) for each in (seen, other)), strict=True)
    constant = _equal(seen, later)  # else it comes from what the module keeps
    initials = tuple(_initial(a, b, call.cell) if constant else None for a, b in carried)
    packed = call.batch_sizes is not None
    fed = None if packed or call.cell else call.x.shape[1 if call.batch_first else 0]
    return ProbedCall(
        path=call.path,
        label=call.label,
        kind=call.kind,
        names=state_names(call),
        batch=int(state.shape[1]),
        batched=call.batched,
        time=fed,
        longest=None if call.batch_sizes is None else len(call.batch_sizes),
        cell=call.cell,
        taken_from=tuple(places[t.data_ptr()] for t in seen.origins if t.data_ptr() in places),
        # an LSTM with projection carries m, which is as wide as c
        sizes=tuple(_size(call, each) for each in call.states),
        layers=call.layers,
        bidirectional=call.bidirectional,
        initials=initials,
        inverse=inverse_projections(call) if call.projected and initials[0] != 0.0 else None,
    )


def _carried(seen: _Seen) -> tuple[Tensor, ...]:
    """The initial states as a file carries them: m instead of h where there is a projection."""
    if not seen.call.projected or not seen.states[0].any():
        return seen.states
    inverse = inverse_projections(seen.call)
    return (seen.states[0] @ inverse.transpose(1, 2), *seen.states[1:])


def _size(call: RecurrentCall, state: Tensor) -> tuple[int, ...]:
    hidden = int(call.states[-1].shape[2])
    return (hidden,) if call.cell else (int(state.shape[0]), hidden)


def _initial(state: Tensor, other: Tensor, cell: bool) -> float | list[Any] | None:
    if state.shape != other.shape or not torch.equal(state, other):
        return None
    first = state[:, :1]
    if not torch.equal(state, first.expand_as(state)):
        return None  # every row of the batch has its own
    if torch.equal(state, torch.full_like(state, float(first.flatten()[0]))):
        return float(first.flatten()[0])
    values: list[Any] = (first[0, 0] if cell else first[:, 0]).tolist()
    return values
