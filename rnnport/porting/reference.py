"""A module as the reference of a file that was exported from it, or said to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.errors import RequestError
from rnnport.parity.cases import DEFAULT_TIME, Case
from rnnport.parity.feeds import draw
from rnnport.porting.keeping import MODULE_LOCK, borrowed
from rnnport.porting.oracle import TorchEngine
from rnnport.porting.request import Request, Wishes, read_request
from rnnport.porting.states import INPUT_PREFIX
from rnnport.spec import ModelSpec, StateSpec, TensorSpec, TimeSpec

_BATCH = 3


@dataclass(frozen=True)
class ModuleReference:
    """A module in two precisions, and what its file must promise."""

    single: TorchEngine
    double: TorchEngine
    spec: ModelSpec


def reference_of(
    module: nn.Module,
    spec: ModelSpec,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
) -> ModuleReference:
    """Make a module answer for the file that promises ``spec``; the module is not changed.

    Args:
        module: any module with recurrent layers, in any mode.
        spec: what the file says of itself.
        args: example arguments of forward, as for an export; by default they are drawn for the
            file's inputs, which are then forward's parameters of these names.
        kwargs: further example arguments by name.

    Raises:
        RequestError: the file takes, gives or carries other things than the module.
        UnsupportedModelError: the module cannot be carried in such a file.
    """
    lifted = {s.input: s for s in spec.states if s.input.startswith(f"{INPUT_PREFIX}.")}
    left = {state.output for state in lifted.values()}
    taken = [tensor for tensor in spec.inputs if tensor.name not in lifted]
    wishes = Wishes(
        inputs={tensor.name: tensor.shape for tensor in taken},
        outputs=[tensor.name for tensor in spec.outputs if tensor.name not in left],
        lengths=spec.lengths,
        stream=bool(lifted),
        states={s.input: s.output for s in spec.states if s.input not in lifted},
    )
    drawn = args is None and kwargs is None
    if drawn:
        args = _drawn(spec, taken)
    elif not _named(args, kwargs, taken):
        wishes = replace(wishes, inputs=[tensor.name for tensor in taken])
    try:
        with MODULE_LOCK, borrowed(module):
            request = read_request(module, () if args is None else args, kwargs, wishes)
    except RequestError as error:
        if not drawn:
            raise
        raise RequestError(
            f"{error}; the example was drawn for the file's own inputs: give another, "
            "verify(path, module, args), or --input for each"
        ) from error
    _require_same(module, request, taken, lifted)
    begins = {state.input: state.initial for state in request.spec.states}
    states = tuple(replace(s, initial=begins[s.input]) for s in spec.states)
    promised = replace(spec, states=states, lengths=request.spec.lengths)
    single, double = (
        TorchEngine(
            module,
            promised,
            stream=request.stream,
            dtype=dtype,
            signature=request.signature,
            carried=request.carried,
        )
        for dtype in (torch.float32, torch.float64)
    )
    return ModuleReference(single, double, promised)


def _drawn(spec: ModelSpec, taken: list[TensorSpec]) -> dict[str, Tensor]:
    """An example for these inputs, drawn as the cases of a comparison are."""
    batch, time = spec.fixed_batch() or _BATCH, _usual(spec.time)
    feeds = draw(spec, Case(batch, time, (time,) * batch if spec.lengths else None))
    return {tensor.name: torch.from_numpy(feeds[tensor.name]) for tensor in taken}


def _usual(time: TimeSpec) -> int:
    """A number of steps that a file accepts, ten where it can be."""
    steps = -(-max(time.min, DEFAULT_TIME) // time.multiple) * time.multiple
    return steps if time.max is None else min(steps, time.max // time.multiple * time.multiple)


def _named(args: Any, kwargs: Mapping[str, Any] | None, taken: list[TensorSpec]) -> bool:
    """Whether an example comes by the names that the file's inputs have."""
    names = {*(args if isinstance(args, Mapping) else ()), *(kwargs or {})}
    return {tensor.name for tensor in taken} <= names


def _require_same(
    module: nn.Module,
    request: Request,
    taken: list[TensorSpec],
    lifted: Mapping[str, StateSpec],
) -> None:
    """Refuse a module that takes other inputs, or carries other states, than the file."""
    name = type(module).__name__
    inputs = {key: str(t.dtype).split(".")[1] for key, t in request.example.items()}
    pairs: list[tuple[str, Any, Any]] = [
        ("inputs", {tensor.name: tensor.dtype for tensor in taken}, inputs),
        (
            "states",
            {key: list(state.shape) for key, state in lifted.items()},
            {state.input: list(state.shape) for state in request.lifted()},
        ),
    ]
    for what, ours, theirs in pairs:
        if ours != theirs:
            raise RequestError(
                f"the model cannot be compared with {name}: its {what} are {ours or 'none'}, "
                f"there they are {theirs or 'none'}"
            )
