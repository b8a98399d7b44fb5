"""Refusing a module that answers the same input differently each time: nothing could prove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnnport.errors import UnsupportedModelError

_DRAWS = frozenset(
    {"rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "randperm", "normal"}
    | {"bernoulli", "multinomial", "poisson", "gumbel_softmax", "rrelu"}
    | {"normal_", "uniform_", "bernoulli_", "random_", "exponential_"}
)


def draws(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of torch draws random numbers; a dropout only where it is on."""
    return name in _DRAWS or ("dropout" in name and kwargs.get("training") is True)


def refuse_random(module: nn.Module, answers: tuple[Any, Any], drawn: Sequence[str]) -> None:
    """Refuse where two runs from the same beginning differ; ``drawn`` says who draws.

    Raises:
        UnsupportedModelError: they differ.
    """
    ours, theirs = (pytree.tree_leaves(answer) for answer in answers)
    if all(_same(*pair) for pair in zip(ours, theirs, strict=False)):
        return
    who = f": {drawn[0]} is random in evaluation too" if drawn else ""
    raise UnsupportedModelError(
        f"{type(module).__name__} answers the same input differently each time{who}; pass "
        "training=self.training to a dropout, and take other random numbers as an input"
    )


def _same(one: Any, other: Any) -> bool:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return True
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
