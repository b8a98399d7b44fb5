"""A module's inputs and outputs by name: nested arguments and answers as flat, named tensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from rnnport.errors import RequestError, UnsupportedModelError


@dataclass(frozen=True)
class Signature:
    """How named tensors become the arguments of a forward; all else in it stays constant.

    ``carried`` says which input is a lifted state in its author's layout: the argument comes from
    that state's tensor [batch, layers × directions, hidden], and is no input of its own; one of
    ``batch_led`` is given as it is.
    """

    names: tuple[str, ...]
    leaves: tuple[Any, ...]  # one per leaf of the arguments: a constant, or None for a tensor
    slots: tuple[int, ...]  # the leaf that each name fills
    tree: Any
    forward: inspect.Signature
    carried: Mapping[str, str] = field(default_factory=dict)
    batch_led: frozenset[str] = frozenset()

    @property
    def free(self) -> tuple[str, ...]:
        """The names that are inputs of the file."""
        return tuple(name for name in self.names if name not in self.carried)

    def build(self, tensors: Mapping[str, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments for these tensors."""
        leaves = list(self.leaves)
        for name, slot in zip(self.names, self.slots, strict=True):
            tensor = tensors[self.carried.get(name, name)]
            crossed = name in self.carried and name not in self.batch_led
            leaves[slot] = tensor.transpose(0, 1) if crossed else tensor
        bound = inspect.BoundArguments(self.forward, pytree.tree_unflatten(leaves, self.tree))
        return bound.args, bound.kwargs


def read_arguments(
    module: nn.Module,
    args: Any,
    kwargs: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Signature, dict[str, Tensor]]:
    """Name the tensors of an example call: the parameter's name, then the place inside it.

    Raises:
        RequestError: the arguments or the names do not fit the module's forward.
    """
    arguments = _bind(module, args, kwargs or {})
    paths, tree = pytree.tree_flatten_with_path(arguments)
    _refuse_packed(arguments)
    leaves = [leaf for _, leaf in paths]
    slots = tuple(i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor))
    found = tuple(_joined(paths[i][0]) for i in slots)
    if names is not None:
        if len(names) != len(found):
            raise RequestError(
                f"{len(names)} input names are given, and forward takes {len(found)} tensors: "
                f"{', '.join(found)}"
            )
        found = tuple(names)
    constants = tuple(None if isinstance(leaf, Tensor) else leaf for leaf in leaves)
    signature = Signature(found, constants, slots, tree, inspect.signature(module.forward))
    tensors = {name: leaves[slot] for name, slot in zip(found, slots, strict=True)}
    return signature, _apart(tensors)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each in memory of its own: ``(zeros, zeros)`` are two inputs."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        own[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return own


def by_name(module: nn.Module, names: Sequence[str]) -> Signature:
    """The signature of a call that passes every tensor as the keyword of its name."""
    tree = pytree.tree_structure(dict.fromkeys(names, 0))
    forward = inspect.signature(module.forward)
    unknown = [name for name in names if name not in forward.parameters]
    if unknown:
        raise RequestError(
            f"{type(module).__name__}.forward has no parameter {', '.join(unknown)}; "
            f"it has {', '.join(forward.parameters)}"
        )
    slots = tuple(range(len(names)))
    return Signature(tuple(names), (None,) * len(names), slots, tree, forward)


def name_answers(answer: Any, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """The tensors of a forward's answer by name; ``None`` in it is left out.

    Raises:
        UnsupportedModelError: something in the answer is not a tensor.
        RequestError: the names are not as many as the tensors.
    """
    found: dict[str, Tensor] = {}
    for path, leaf in _leaves_of(answer):
        name = _joined((pytree.MappingKey("output"), *path)) if _unnamed(path) else _joined(path)
        if leaf is None:
            continue
        if not isinstance(leaf, Tensor):
            raise UnsupportedModelError(
                f"forward returns {name} as {type(leaf).__name__}, not as a tensor; "
                "return tensors only"
            )
        found[name] = leaf
    if not found:
        raise UnsupportedModelError("forward returns no tensor")
    if names is None:
        return found
    if len(names) != len(found):
        raise RequestError(
            f"{len(names)} output names are given, and forward returns {len(found)} tensors: "
            f"{', '.join(found)}"
        )
    return dict(zip(names, found.values(), strict=True))


def _bind(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(args, Mapping):
        args, kwargs = (), {**args, **kwargs}
    positional = tuple(args) if isinstance(args, tuple | list) else (args,)
    try:
        return dict(inspect.signature(module.forward).bind(*positional, **kwargs).arguments)
    except TypeError as error:
        raise RequestError(
            f"the example does not fit {type(module).__name__}.forward: {error}"
        ) from error


def _refuse_packed(arguments: Any) -> None:
    nodes = pytree.tree_leaves(arguments, is_leaf=lambda node: isinstance(node, PackedSequence))
    if any(isinstance(node, PackedSequence) for node in nodes):
        raise UnsupportedModelError(
            "an input is a PackedSequence, which ONNX does not know; "
            "take the padded tensor and its lengths, and pack inside forward"
        )


def _leaves_of(answer: Any) -> list[tuple[Any, Any]]:
    nodes, _ = pytree.tree_flatten_with_path(
        answer, is_leaf=lambda node: node is None or isinstance(node, PackedSequence)
    )
    for _, leaf in nodes:
        if isinstance(leaf, PackedSequence):
            raise UnsupportedModelError(
                "forward returns a PackedSequence, which ONNX does not know; "
                "return pad_packed_sequence(…) instead"
            )
    return nodes


def _unnamed(path: Sequence[Any]) -> bool:
    return not path or isinstance(path[0], pytree.SequenceKey)


def _joined(path: Sequence[Any]) -> str:
    """``x``, ``state_0``, ``batch_tokens``: the keys on the way to a leaf."""
    parts = []
    for key in path:
        for attribute in ("key", "name", "idx"):
            if hasattr(key, attribute):
                parts.append(str(getattr(key, attribute)))
                break
    return "_".join(parts)


def to_torch(array: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of its own with an array's values, in ``dtype`` where it is a float."""
    tensor = torch.tensor(array)
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
