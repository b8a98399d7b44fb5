"""Calls in which torch's tracer fixes a size or loses a value, answered by others that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]


def detour(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The answer to a call that needs another one in a trace; ``NotImplemented`` for the rest."""
    if name == "max_pool1d":
        return _max_pool1d(*args, **kwargs)
    if name == "__get__" and func == _DATA:
        return args[0].detach()  # torch loses sight of x.data, and of what is done to it in place
    return NotImplemented


def _max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """As ``max_pool2d`` over a height of one: the tracer reads the length of a line as a number."""
    if return_indices:
        return NotImplemented
    pooled = functional.max_pool2d(
        input.unsqueeze(-2),
        (1, _single(kernel_size)),
        (1, _single(kernel_size if stride is None else stride)),
        (0, _single(padding)),
        (1, _single(dilation)),
        ceil_mode,
    )
    return pooled.squeeze(-2)


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) else value
