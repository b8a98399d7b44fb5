"""Running a module on its example, to learn which recurrent calls it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.errors import RequestError, RnnportError
from rnnport.porting.calls import RecurrentCall, RecurrentMode
from rnnport.porting.keeping import untouched
from rnnport.porting.projection import inverse_projections
from rnnport.porting.signature import Signature
from rnnport.porting.states import state_names


@dataclass(frozen=True)
class ProbedCall:
    """One recurrent call as seen on the example.

    ``initials`` has one entry per state: a number for every element, a nested list
    [layers × directions, hidden] of the constant that the module gives, or None where the state
    depends on the module's inputs.
    """

    path: str
    label: str
    kind: str
    names: tuple[str, ...]
    batch: int
    batched: bool
    time: int | None  # None: packed
    taken_from: tuple[str, ...]  # the inputs that are its initial states
    sizes: tuple[tuple[int, int], ...]  # (layers × directions, hidden) per state
    layers: int
    bidirectional: bool
    initials: tuple[float | list[Any] | None, ...]
    inverse: Tensor | None = None  # pinv(W_hr), where an LSTM with projection is given a state

    @property
    def given(self) -> bool:
        """Whether the initial states come from the module's inputs."""
        return any(initial is None for initial in self.initials)

    @property
    def taken(self) -> bool:
        """Whether every initial state is one of the module's inputs, as it is."""
        return len(self.taken_from) == len(self.names)


def probe(
    module: nn.Module, signature: Signature, example: Mapping[str, Tensor]
) -> tuple[Any, tuple[ProbedCall, ...]]:
    """The answer on the example, and every recurrent call. The caller has borrowed the module.

    The module runs twice, on the example and on one with other values: an initial state that
    changes with the values is given, one that does not is the module's constant.

    Raises:
        RequestError: the module does not run on the example.
    """
    answer, calls = _run(module, signature, example)
    _, others = _run(module, signature, {name: _other(t) for name, t in example.items()})
    if len(others) != len(calls):
        others = calls
    places = {tensor.data_ptr(): name for name, tensor in example.items() if tensor.numel()}
    probed = (_probed(*pair, places) for pair in zip(calls, others, strict=True))
    return answer, tuple(probed)


class _ProbeMode(RecurrentMode):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.calls: list[RecurrentCall] = []

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        self.calls.append(call)
        return func(*call.arguments(call.states))


def _run(
    module: nn.Module, signature: Signature, example: Mapping[str, Tensor]
) -> tuple[Any, list[RecurrentCall]]:
    args, kwargs = signature.build(example)
    mode = _ProbeMode(module)
    try:
        with untouched(module), mode:
            return module(*args, **kwargs), mode.calls
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


def _probed(call: RecurrentCall, other: RecurrentCall, places: Mapping[int, str]) -> ProbedCall:
    state = call.states[0]
    carried = zip(*(_carried(each) for each in (call, other)), strict=True)
    initials = tuple(_initial(*pair) for pair in carried)
    time = None if call.batch_sizes is not None else call.x.shape[1 if call.batch_first else 0]
    return ProbedCall(
        path=call.path,
        label=call.label,
        kind=call.kind,
        names=state_names(call),
        batch=int(state.shape[1]),
        batched=call.batched,
        time=time,
        taken_from=tuple(places[t.data_ptr()] for t in call.states if t.data_ptr() in places),
        # an LSTM with projection carries m, which is as wide as c
        sizes=tuple((int(each.shape[0]), int(call.states[-1].shape[2])) for each in call.states),
        layers=call.layers,
        bidirectional=call.bidirectional,
        initials=initials,
        inverse=inverse_projections(call) if call.projected and initials[0] != 0.0 else None,
    )


def _carried(call: RecurrentCall) -> tuple[Tensor, ...]:
    """The initial states as a file carries them: m instead of h where there is a projection."""
    if not call.projected or not call.states[0].any():
        return call.states
    return (call.states[0] @ inverse_projections(call).transpose(1, 2), *call.states[1:])


def _initial(state: Tensor, other: Tensor) -> float | list[Any] | None:
    if state.shape != other.shape or not torch.equal(state, other):
        return None
    first = state[:, :1]
    if not torch.equal(state, first.expand_as(state)):
        return None  # every row of the batch has its own
    if torch.equal(state, torch.full_like(state, float(first.flatten()[0]))):
        return float(first.flatten()[0])
    values: list[Any] = first[:, 0].tolist()
    return values
