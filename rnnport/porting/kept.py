"""States that a module keeps in attributes or buffers from call to call: taken out and put in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnnport.porting.states import input_names, output_names
from rnnport.spec import Dim

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


def attribute_of(module: nn.Module, name: str) -> Any:
    """A buffer or an attribute; None where there is none."""
    return module._buffers[name] if name in module._buffers else module.__dict__.get(name)


def _put(module: nn.Module, name: str, value: Any) -> None:
    if name in module._buffers:
        module._buffers[name] = value
    else:
        module.__dict__[name] = value


def replace_held(module: nn.Module, place: Place, tensor: Tensor) -> None:
    """Put another tensor in a place."""
    path, attribute, leaf = place
    owner = module.get_submodule(path)
    leaves, tree = pytree.tree_flatten(attribute_of(owner, attribute))
    leaves[leaf] = tensor
    _put(owner, attribute, pytree.tree_unflatten(leaves, tree))
