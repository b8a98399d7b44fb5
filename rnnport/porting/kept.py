"""States that a module keeps in attributes or buffers from call to call.

Any tensor held by a submodule that a second eager forward changes, and that a later answer
depends on, is such a state: ``self.hidden = …``, tuples and lists of tensors, buffers changed in
place. What is written and never read (a picture of the attention, a counter) is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnnport.errors import RnnportError, UnsupportedModelError
from rnnport.porting.keeping import replayed
from rnnport.porting.states import input_names, output_names
from rnnport.spec import Dim

Run = Callable[[], Any]  # the module on its example
Place = tuple[str, str, int]  # a submodule's path, its attribute, the leaf inside the attribute


@dataclass(frozen=True)
class KeptTensor:
    """One tensor that a module keeps; in a file it is a state with the batch on axis 0.

    ``initial`` is one number, or one row's values as a nested list; ``unset`` says that the
    attribute holds no tensor before the first call.
    """

    path: str
    attribute: str
    leaf: int
    name: str  # "decoder.hidden", or that of the recurrent call that takes it and gives it
    batch_axis: int | None  # None: the module takes no batch
    shape: tuple[int, ...]  # on the example
    dtype: torch.dtype
    initial: float | list[Any]
    unset: bool
    tree: Any  # the attribute's structure once it is set
    others: tuple[Any, ...]  # its leaves then, None for the tensors

    @property
    def place(self) -> Place:
        """Where the module holds it."""
        return self.path, self.attribute, self.leaf

    @property
    def input(self) -> str:
        """The graph input that takes it."""
        return input_names([self.name])[0]

    @property
    def output(self) -> str:
        """The graph output that gives its successor."""
        return output_names([self.name])[0]

    def state_shape(self, batch: Dim) -> tuple[Dim, ...]:
        """The state's shape in a file."""
        if self.batch_axis is None:
            return (1, *self.shape)
        return (batch, *(n for axis, n in enumerate(self.shape) if axis != self.batch_axis))

    def as_state(self, tensor: Tensor) -> Tensor:
        """The module's tensor with the batch on axis 0."""
        axis = self.batch_axis
        return tensor.unsqueeze(0) if axis is None else tensor.movedim(axis, 0)

    def as_kept(self, state: Tensor) -> Tensor:
        """A state in the module's layout."""
        return state.squeeze(0) if self.batch_axis is None else state.movedim(0, self.batch_axis)

    def first(self, batch: Any) -> Tensor:
        """What the module holds before the first call, in its own layout, for any batch."""
        shape = [batch if axis == self.batch_axis else n for axis, n in enumerate(self.shape)]
        if isinstance(self.initial, list):
            row = torch.tensor(self.initial, dtype=self.dtype).unsqueeze(0)
            return self.as_kept(row).expand(shape).clone()
        if self.initial == 0:
            return torch.zeros(shape, dtype=self.dtype)  # a trace knows these for zeros
        return torch.full(shape, self.initial, dtype=self.dtype)


def put_kept(
    module: nn.Module,
    kept: Sequence[KeptTensor],
    states: Mapping[str, Tensor],
    batch: Any,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Let the module hold these states, by input name, each [batch, …]; nothing gives it back.

    Where a state is not given it is the first one, for ``batch`` rows, in ``dtype`` if a float.
    """
    attributes: dict[tuple[str, str], list[Any]] = {}
    trees = {}
    for each in kept:
        if each.input not in states and each.unset:
            continue  # the module makes its own
        if each.input in states:
            value = each.as_kept(states[each.input]).clone()  # the module may change it in place
        else:
            value = each.first(batch)
            value = value.to(dtype) if value.dtype.is_floating_point else value
        key = each.path, each.attribute
        attributes.setdefault(key, list(each.others))[each.leaf] = value
        trees[key] = each.tree
    for (path, attribute), leaves in attributes.items():
        tree = trees[path, attribute]
        _put(module.get_submodule(path), attribute, pytree.tree_unflatten(leaves, tree))


def read_kept(module: nn.Module, kept: Sequence[KeptTensor]) -> dict[str, Tensor]:
    """The states that the module holds now, by output name, each [batch, …]."""
    now = dict(held(module))
    return {each.output: each.as_state(now[each.place]) for each in kept}


@dataclass(frozen=True)
class Second:
    """What a second call did: its answer, and what the module held before and after it."""

    answer: Any
    before: Mapping[Place, Tensor]
    after: Mapping[Place, Tensor]
    changed: tuple[Place, ...]


def second_call(module: nn.Module, run: Run) -> Second:
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
        return Second(answer, values, {key: t.clone() for key, t in after.items()}, changed)


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
    second = second_call(module, run)
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


def _refuse_unfit(place: Place, second: Second, batch: int | None) -> None:
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


def _is_read(module: nn.Module, run: Run, place: Place, second: Second) -> bool:
    """Whether another value in this place changes the answer, or anything else that is kept."""
    with replayed(module):
        run()
        tensor = dict(held(module)).get(place)
        if tensor is None:
            return False
        _replace(module, place, _other(tensor))
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
    second: Second,
    batch: int | None,
    names: Mapping[Place, str],
) -> KeptTensor:
    path, attribute, leaf = place
    label = _label(place)
    begins = dict(held(module)).get(place)
    tensor = second.after[place] if begins is None else begins
    axis = _batch_axis(tensor, batch, place in names)
    with replayed(module):
        run()
        leaves, tree = pytree.tree_flatten(_attribute(module.get_submodule(path), attribute))
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


def held(module: nn.Module) -> Iterator[tuple[Place, Tensor]]:
    """Every tensor that submodules hold, parameters left out, each once."""
    seen = {id(parameter) for parameter in module.parameters()}
    for path, each in module.named_modules():
        own = {k: v for k, v in each.__dict__.items() if k not in _MACHINERY}
        for attribute, value in (own | each._buffers).items():
            for leaf, tensor in enumerate(pytree.tree_leaves(value)):
                if isinstance(tensor, Tensor) and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield (path, attribute, leaf), tensor


_MACHINERY = frozenset(nn.Module().__dict__)


def _attribute(module: nn.Module, name: str) -> Any:
    return module._buffers[name] if name in module._buffers else module.__dict__.get(name)


def _put(module: nn.Module, name: str, value: Any) -> None:
    if name in module._buffers:
        module._buffers[name] = value
    else:
        module.__dict__[name] = value


def _replace(module: nn.Module, place: Place, tensor: Tensor) -> None:
    path, attribute, leaf = place
    owner = module.get_submodule(path)
    leaves, tree = pytree.tree_flatten(_attribute(owner, attribute))
    leaves[leaf] = tensor
    _put(owner, attribute, pytree.tree_unflatten(leaves, tree))


def _same(one: Any, other: Any) -> bool:
    ours, theirs = pytree.tree_leaves(one), pytree.tree_leaves(other)
    return len(ours) == len(theirs) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else True
        for a, b in zip(ours, theirs, strict=True)
    )
