"""How the rows of a recurrent call come from the rows of the batch: bands, groups, steps.

A layer may run over something else than the batch as it is: along time in each of F bands (batch
× F rows), or along the bands within each step (batch × time rows). In a stream the first has a
state for every band, [batch, F, layers × directions, hidden]; the second begins anew at every
step and has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.errors import UnsupportedModelError
from rnnport.porting.calls import RecurrentCall, RecurrentMode
from rnnport.porting.keeping import replayed
from rnnport.porting.signature import Signature


@dataclass(frozen=True)
class Rows:
    """Several rows of a call for each of the batch; ``batch_leads``: those of one are together."""

    each: int
    batch_leads: bool

    def taken(self, state: Tensor) -> Tensor:
        """A file's state [batch, each, layers, hidden] as the call takes it, [layers, rows, …]."""
        ordered = state if self.batch_leads else state.transpose(0, 1)
        return ordered.reshape(-1, *state.shape[2:]).transpose(0, 1)

    def given(self, final: Tensor) -> Tensor:
        """A final state [layers, rows, hidden] as the file gives it."""
        rows = final.transpose(0, 1)
        if self.batch_leads:
            return rows.reshape(-1, self.each, *rows.shape[1:])
        return rows.reshape(self.each, -1, *rows.shape[1:]).transpose(0, 1)


def as_taken(call: RecurrentCall, state: Tensor, rows: Rows | None) -> Tensor:
    """A file's state as torch's own call takes it: [layers × directions, rows, hidden]."""
    return call.taken(state) if rows is None else rows.taken(state)


def as_given(call: RecurrentCall, final: Tensor, rows: Rows | None) -> Tensor:
    """A final state as a file gives it: the batch on axis 0."""
    return call.given(final) if rows is None else rows.given(final)


class _InputsMode(RecurrentMode):
    """Keeps the input of every layer as [rows, time, features]; None where it is packed."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.inputs: list[Tensor | None] = []

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        x = None
        if call.batch_sizes is None:
            x = call.x.clone() if call.batch_first else call.x.transpose(0, 1).clone()
        self.inputs.append(x)
        return func(*call.arguments(call.states))


def find_rows(
    module: nn.Module,
    signature: Signature,
    example: Mapping[str, Tensor],
    batch: Sequence[tuple[str, int]],
    labels: Sequence[str],
) -> tuple[Rows | None, ...]:
    """For each layer how its rows come from the batch, which is along these axes of the inputs.

    The first row of the batch is changed, and the layer's rows that change with it are its own.
    The caller has borrowed the module; ``labels`` name the layers.

    Raises:
        UnsupportedModelError: a layer mixes the rows in another way.
    """
    size = example[batch[0][0]].shape[batch[0][1]] if batch else 1
    changed = dict(example)
    for name, axis in batch:
        changed[name] = _other_row(changed[name], axis)
    ours, theirs = (_inputs(module, signature, each) for each in (example, changed))
    return tuple(
        _rows(one, other, size, label)
        for one, other, label in zip(ours, theirs, labels, strict=False)
    )


def unlike(tensor: Tensor) -> Tensor:
    """Other values, also after a normalisation, which would undo one scale and one shift."""
    scales = torch.linspace(0.25, 0.75, tensor.numel()).reshape(tensor.shape).to(tensor.dtype)
    return tensor * scales + 0.75


def _other_row(tensor: Tensor, axis: int) -> Tensor:
    """The tensor with another first row; one whole number a row may be a length: kept."""
    if not tensor.is_floating_point() and (tensor.dim() == 1 or tensor.dtype == torch.bool):
        return tensor
    changed = tensor.clone()
    first = changed.narrow(axis, 0, 1)
    if tensor.is_floating_point():
        first.copy_(unlike(first))
    else:
        first.copy_((first + 1) % (tensor.max() + 1))  # ids, of those that the example has
    return changed


def _inputs(
    module: nn.Module, signature: Signature, example: Mapping[str, Tensor]
) -> list[Tensor | None]:
    args, kwargs = signature.build(example)
    with replayed(module), _InputsMode(module) as mode:
        module(*args, **kwargs)
    return mode.inputs


def _rows(one: Tensor | None, other: Tensor | None, batch: int, label: str) -> Rows | None:
    if one is None or other is None or one.shape[0] in (batch, 1) or one.shape[0] % batch:
        return None
    each = one.shape[0] // batch
    differing = (one != other).flatten(1).any(1)
    if batch == 1 or (differing[:each].all() and not differing[each:].any()):
        return Rows(each, batch_leads=True)
    if differing[::batch].all() and int(differing.sum()) == each:
        return Rows(each, batch_leads=False)
    raise UnsupportedModelError(
        f"{label} cannot stream: its {one.shape[0]} rows mix the {batch} rows of the batch; "
        "reshape so that the rows of each are together, or export it without streaming"
    )
