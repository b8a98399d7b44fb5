"""Python branches on a size, of which a trace holds only the example's: noted, and blamed later."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from rnnport.parity.cases import Case
from rnnport.parity.feeds import OTHER_SIZE
from rnnport.porting.obstacles import AxisWatch, is_users, line_of

_SENTENCE = (
    "forward decides by a size{where}, and a file holds one branch only, the example's; compute "
    "what fits every size instead: F.pad(x, (0, 0, 0, -x.size(1) % 2)) pads where the time is odd"
)


@dataclass(frozen=True)
class Branch:
    """A comparison of sizes that forward decided by: what it was, how it came out, and where."""

    condition: Any  # a sympy expression of torch's symbols
    outcome: bool
    where: str

    def turns(self, sizes: Mapping[Any, int]) -> bool:
        """Whether it comes out otherwise at these sizes, by symbol."""
        value = str(self.condition.subs(sizes))
        return value in ("True", "False") and value != str(self.outcome)


@dataclass(frozen=True)
class Decisions:
    """All that one trace decided by sizes, and how to read its symbols."""

    branches: tuple[Branch, ...] = ()
    watch: AxisWatch | None = None

    def blamed(self, cases: Iterable[Case]) -> str:
        """A sentence for a branch that comes out otherwise in one of these cases, if any does."""
        if self.watch is None:
            return ""
        for case in cases:
            for time in (case.time, *(case.chunks or ())):
                sizes = self.watch.sizes(case.batch, time, OTHER_SIZE)
                for branch in self.branches:
                    if branch.turns(sizes):
                        return _SENTENCE.format(where=branch.where)
        return ""


@contextmanager
def noted_branches() -> Iterator[list[Branch]]:
    """Note each comparison of symbolic sizes that the user's own code makes a bool of.

    In this thread only, which holds ``MODULE_LOCK``; others meet the original.
    """
    mine = threading.get_ident()
    original = torch.SymBool.__bool__
    branches: list[Branch] = []

    def decided(condition: torch.SymBool) -> bool:
        outcome: bool = original(condition)  # type: ignore[no-untyped-call]
        frame = sys._getframe(1)
        if threading.get_ident() == mine and is_users(frame.f_code.co_filename):
            where = line_of(frame.f_code.co_filename, frame.f_lineno)
            branches.append(Branch(condition.node.expr, outcome, where))
        return outcome

    torch.SymBool.__bool__ = decided  # type: ignore[method-assign]
    try:
        yield branches
    finally:
        torch.SymBool.__bool__ = original  # type: ignore[method-assign]
