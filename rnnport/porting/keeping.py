"""Leaving a user's module as it was: mode, hooks, attributes, parameters and buffers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

# torch's exporter breaks in two threads, and a module is in another mode while we use it
MODULE_LOCK = threading.RLock()

_NESTED = (list, tuple, dict)


@dataclass(frozen=True)
class _Kept:
    module: nn.Module
    attributes: dict[str, Any]
    contents: tuple[tuple[Any, Any], ...]  # lists, dictionaries and sets with what they held


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Give every submodule its attributes back at the end, also after an error.

    Parameters and buffers that the body replaces are put back; values changed in place are not
    (see ``replayed``).
    """
    kept = [_keep(each) for each in module.modules()]
    try:
        yield
    finally:
        for each in kept:
            _give_back(each)


@contextmanager
def borrowed(module: nn.Module) -> Iterator[None]:
    """Take a module for this thread, in evaluation mode; it comes back exactly as it was.

    Torch computes in one thread meanwhile: on a busy machine its pool makes the many small steps
    of a recurrent layer up to fifty times slower.
    """
    with MODULE_LOCK, torch.no_grad(), _one_thread(), replayed(module):
        for each in module.modules():
            each.training = False
        yield


@contextmanager
def replayed(module: nn.Module) -> Iterator[None]:
    """As ``untouched``, and values changed in place are put back too: not inside a trace."""
    with untouched(module):
        values = [(each, each._version, each.clone()) for each in _kept_tensors(module)]
        try:
            yield
        finally:
            for tensor, version, value in values:
                if tensor._version != version:
                    tensor.copy_(value)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _keep(module: nn.Module) -> _Kept:
    attributes = dict(module.__dict__)
    containers = [value for value in attributes.values() if isinstance(value, list | dict | set)]
    return _Kept(module, attributes, tuple((each, each.copy()) for each in containers))


def _give_back(kept: _Kept) -> None:
    kept.module.__dict__.clear()
    kept.module.__dict__.update(kept.attributes)
    for container, content in kept.contents:
        if isinstance(container, list):
            container[:] = content
        else:
            container.clear()
            container.update(content)


def _kept_tensors(module: nn.Module) -> list[Tensor]:
    """Buffers, and tensors that modules hold as plain attributes, each once."""
    found: dict[int, Tensor] = {}
    for each in module.modules():
        for value in [*each._buffers.values(), *each.__dict__.values()]:
            inner = pytree.tree_leaves(value) if isinstance(value, _NESTED) else (value,)
            found |= {id(t): t for t in inner if isinstance(t, Tensor)}
    parameters = {id(parameter) for parameter in module.parameters()}
    return [tensor for key, tensor in found.items() if key not in parameters]
