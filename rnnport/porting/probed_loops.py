"""What a probe learns of the runs of ``Recurrent`` over its example."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.porting.calls import LOOP, LoopCall, RecurrentCall, RecurrentMode
from rnnport.porting.keeping import replayed
from rnnport.porting.probe import ProbedCall
from rnnport.porting.signature import Signature
from rnnport.porting.states import state_names


def probe_loops(
    module: nn.Module, signature: Signature, example: Mapping[str, Tensor]
) -> tuple[ProbedCall, ...]:
    """The loops that a module runs on its example, which it is known to take.

    It runs again on other values, after what the first run left: a first state that differs
    then is computed in forward, or kept by the module. The caller has borrowed the module.
    """
    with replayed(module):
        first = _run(module, signature, example)
        if not first:
            return ()
        other = _run(module, signature, {name: _other(t) for name, t in example.items()})
    others = other if len(other) == len(first) else first
    return tuple(_probed(calls, example) for calls in zip(first, others, strict=True))


class _LoopProbe(RecurrentMode):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.seen: list[LoopCall] = []

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        return func(*call.arguments(call.states))

    def looped(self, call: LoopCall) -> tuple[list[Tensor], list[Tensor]]:
        self.seen.append(call)
        return super().looped(call)


def _run(module: nn.Module, signature: Signature, example: Mapping[str, Tensor]) -> list[LoopCall]:
    args, kwargs = signature.build(example)
    with _LoopProbe(module) as mode:
        module(*args, **kwargs)
    return mode.seen


def _other(tensor: Tensor) -> Tensor:
    return tensor * 0.5 + 0.125 if tensor.is_floating_point() else tensor


def _probed(calls: Sequence[LoopCall], example: Mapping[str, Tensor]) -> ProbedCall:
    call = calls[0]
    loop = call.loop
    states = zip(*(each.states for each in calls), strict=True)
    return ProbedCall(
        path=call.path,
        label=call.label,
        kind=LOOP,
        names=state_names(call),
        batch=int(call.states[0].shape[0]),
        batched=True,
        time=None if loop.fed_back else int(loop.xs[0].shape[0]),
        taken_from=_inputs_among(loop.carry, example),
        sizes=tuple(tuple(state.shape[1:]) for state in call.states),
        layers=1,
        bidirectional=False,
        initials=tuple(_initial(each) for each in states),
        obstacle=_obstacle(call),
        dtypes=tuple(str(state.dtype).split(".")[1] for state in call.states),
        counts=_inputs_among([] if loop.steps is None else [loop.steps], example),
    )


def _inputs_among(tensors: Sequence[Tensor], example: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The inputs that are among these tensors, whole and as they are."""
    places = {(t.data_ptr(), t.shape): name for name, t in example.items() if t.numel()}
    keys = ((tensor.data_ptr(), tensor.shape) for tensor in tensors)
    return tuple(places[key] for key in keys if key in places)


def _obstacle(call: LoopCall) -> str:
    """Why this loop cannot run in pieces; empty where it can."""
    if call.loop.reverse:
        return "runs in reverse, which needs the whole sequence"
    return "feeds its answers back, from its beginning at every call" if call.loop.fed_back else ""


def _initial(states: Sequence[Tensor]) -> float | list[Any] | None:
    """The constant row that every run began from, as one number where it can be; else None."""
    state = states[0]  # [batch, …]
    if not all(torch.equal(state, other) for other in states[1:]):
        return None
    if not torch.equal(state, state[:1].expand_as(state)):
        return None
    first = float(state.flatten()[0])
    values: list[Any] = state[0].tolist()
    return first if torch.equal(state, torch.full_like(state, first)) else values
