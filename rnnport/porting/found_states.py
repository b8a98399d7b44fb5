"""Finding the states that a module keeps in attributes or buffers from call to call.

Any tensor held by a submodule that a second eager forward changes, and that a later answer
depends on, is such a state: ``self.hidden = …``, tuples and lists of tensors, buffers changed in
place. What is written and never read (a picture of the attention, a counter) is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnnport.errors import RnnportError, UnsupportedModelError
from rnnport.porting.keeping import replayed
from rnnport.porting.kept import (
    KeptTensor,
    Place,
    attribute_of,
    held,
    put_kept,
    read_kept,
    replace_held,
)

Run = Callable[[], Any]  # the module on its example


@dataclass(frozen=True)
class _Second:
    """What a second call did: its answer, and what the module held before and after it."""

    answer: Any
    before: Mapping[Place, Tensor]
    after: Mapping[Place, Tensor]
    changed: tuple[Place, ...]


def _second_call(module: nn.Module, run: Run) -> _Second:
    """Run twice, from what the module holds, and tell what the second run changed."""
    with replayed(module):
        run()
        before = dict(held(module))
        versions = {place: tensor._version for place, tensor in before.items()}
        values = {place: tensor.clone() for place, tensor in before.items()}
        answer = run()
        after = dict(held(module))
        changed = tuple(
            place
            for place, tensor in after.items()
            if tensor is not before.get(place) or tensor._version != versions[place]
        )
        return _Second(answer, values, {key: t.clone() for key, t in after.items()}, changed)


def find_kept(
    module: nn.Module, run: Run, batch: int | None, names: Mapping[Place, str], stream: bool
) -> tuple[KeptTensor, ...]:
    """Every state that the module keeps; ``names`` are of those that a recurrent call takes.

    Without ``stream`` only those that hold a tensor before the first call: what the module makes
    itself is no concern then.

    Raises:
        UnsupportedModelError: a state's size follows the input's length, or its first value is
            not known for other batches.
    """
    second = _second_call(module, run)
    begins = dict(held(module))
    read = [
        place
        for place in second.changed
        if (stream or place in begins) and _is_read(module, run, place, second)
    ]
    if stream:
        for place in read:
            _refuse_unfit(place, second, batch)
    kept = tuple(_kept(module, run, place, second, batch, names) for place in read)
    if stream:
        _refuse_unknown_first(module, run, kept)
    return kept


def _label(place: Place) -> str:
    return ".".join(part for part in place[:2] if part)


def _refuse_unfit(place: Place, second: _Second, batch: int | None) -> None:
    before, after = second.before.get(place), second.after[place]
    if before is None or before.shape != after.shape:
        raise UnsupportedModelError(
            f"'{_label(place)}' keeps a tensor whose size changes from call to call; "
            "keep a fixed number of steps"
        )
    if batch is not None and batch not in after.shape:
        raise UnsupportedModelError(
            f"'{_label(place)}' keeps a state of {list(after.shape)} that all rows of a batch "
            "share; keep one for each row"
        )


def _is_read(module: nn.Module, run: Run, place: Place, second: _Second) -> bool:
    """Whether another value in this place changes the answer, or anything else that is kept."""
    with replayed(module):
        run()
        tensor = dict(held(module)).get(place)
        if tensor is None:
            return False
        replace_held(module, place, _other(tensor))
        try:
            answer = run()
        except RnnportError:
            return True
        after = {key: t for key, t in held(module) if key in second.changed and key != place}
        expected = {key: second.after[key] for key in after if key in second.after}
        return not (_same(answer, second.answer) and _same(after, expected))


def _other(tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.bool:
        return ~tensor
    return tensor * 0.5 + 0.25 if tensor.is_floating_point() else tensor + 1


def _kept(
    module: nn.Module,
    run: Run,
    place: Place,
    second: _Second,
    batch: int | None,
    names: Mapping[Place, str],
) -> KeptTensor:
    path, attribute, leaf = place
    label = _label(place)
    begins = dict(held(module)).get(place)
    tensor = second.after[place]  # what it begins with may be one row for all
    axis = _batch_axis(tensor, batch, place in names)
    with replayed(module):
        run()
        leaves, tree = pytree.tree_flatten(attribute_of(module.get_submodule(path), attribute))
    siblings = len([each for each in leaves if isinstance(each, Tensor)])
    own = label if siblings == 1 else f"{label}.{leaf}"
    return KeptTensor(
        path=path,
        attribute=attribute,
        leaf=leaf,
        name=names.get(place, own),
        batch_axis=axis,
        shape=tuple(tensor.shape),
        dtype=tensor.dtype,
        initial=0.0 if begins is None else _first_value(begins, axis, label),
        unset=begins is None,
        tree=tree,
        others=tuple(None if isinstance(each, Tensor) else each for each in leaves),
    )


def _batch_axis(tensor: Tensor, batch: int | None, recurrent: bool) -> int | None:
    if batch is None:
        return None
    if recurrent and tensor.dim() == 3:
        return 1  # [layers × directions, batch, hidden]
    return next((axis for axis, size in enumerate(tensor.shape) if size == batch), None)


def _first_value(begins: Tensor, axis: int | None, label: str) -> float | list[Any]:
    rows = begins.unsqueeze(0) if axis is None else begins.movedim(axis, 0)
    if not torch.equal(rows, rows[:1].expand_as(rows)):
        raise UnsupportedModelError(
            f"'{label}' holds the state of an earlier call, another for each row of its batch; "
            "reset the module before the export"
        )
    first = rows[0].double()
    number = float(first.flatten()[0]) if first.numel() else 0.0
    values: list[Any] = first.tolist()
    return number if torch.equal(first, torch.full_like(first, number)) else values


def _refuse_unknown_first(module: nn.Module, run: Run, kept: Sequence[KeptTensor]) -> None:
    """What is unset before the first call must begin at zero, which a file can say."""
    if not any(each.unset for each in kept):
        return
    with replayed(module):
        unset = run(), read_kept(module, kept)
    with replayed(module):
        sizes = [1 if k.batch_axis is None else k.shape[k.batch_axis] for k in kept]
        firsts = {k.input: k.as_state(k.first(n)) for k, n in zip(kept, sizes, strict=True)}
        put_kept(module, kept, firsts, 1)
        zero = run(), read_kept(module, kept)
    if not _same(unset, zero):
        names = ", ".join(f"'{each.name}'" for each in kept if each.unset)
        raise UnsupportedModelError(
            f"the state {names} does not begin at zero, and nothing says where; "
            "let the module hold its first value before the export"
        )


def _same(one: Any, other: Any) -> bool:
    ours, theirs = pytree.tree_leaves(one), pytree.tree_leaves(other)
    return len(ours) == len(theirs) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else True
        for a, b in zip(ours, theirs, strict=True)
    )
