"""Telling ``path/to/file.py:factory`` or ``package.module:factory`` from a path."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MODULE = re.compile(r"[A-Za-z_]\w+(\.[A-Za-z_]\w*)*|[A-Za-z_](\.[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class FactoryName:
    """Where a function or class that gives a module is found."""

    where: str  # a .py file, or a module's dotted name
    attribute: str

    @property
    def is_file(self) -> bool:
        """Whether it is in a file, rather than in a module that Python finds."""
        return self.where.endswith(".py")

    def __str__(self) -> str:
        return f"{self.where}:{self.attribute}"


def factory_name(source: str) -> FactoryName | None:
    """The factory that a source names; None for a plain path, with a Windows drive too."""
    where, colon, attribute = source.rpartition(":")
    if not colon or not attribute.isidentifier():
        return None
    if where.endswith(".py") or _MODULE.fullmatch(where):
        return FactoryName(where, attribute)
    return None
