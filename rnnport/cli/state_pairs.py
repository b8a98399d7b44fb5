"""The states that a person names, each as INPUT=OUTPUT."""

from __future__ import annotations

from collections.abc import Sequence

from rnnport.errors import RequestError


def state_pairs(texts: Sequence[str]) -> dict[str, str]:
    """State input → state output.

    Raises:
        RequestError: one is not of the form, or an input is named twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        entry, equals, successor = text.partition("=")
        if not (entry and equals and successor):
            raise RequestError(f"--state {text}: expected INPUT=OUTPUT, such as --state h0=hn")
        if entry in pairs:
            raise RequestError(f"--state names the input '{entry}' twice")
        pairs[entry] = successor
    return pairs
