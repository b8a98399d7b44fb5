"""Where two specs promise different things: a right graph under a wrong description is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rnnport.spec import ModelSpec, TensorSpec


def differences(spec: ModelSpec, other: ModelSpec) -> tuple[str, ...]:
    """What a program would be told differently by ``spec`` than by ``other``, a sentence each.

    Provenance and typical values are left out: no answer depends on them.
    """
    return tuple(
        f"its {what} is {mine!r}, and must be {its!r}"
        for what, mine, its in _pairs(spec, other)
        if mine != its
    )


def _pairs(spec: ModelSpec, other: ModelSpec) -> Iterator[tuple[str, Any, Any]]:
    for name in ("task", "lengths", "time", "classes"):
        yield name, getattr(spec, name), getattr(other, name)
    mine, its = (vars(each.series) if each.series else {} for each in (spec, other))
    for name in {**mine, **its}:
        yield f"series.{name}", mine.get(name), its.get(name)
    ours, theirs = _tensors(spec), _tensors(other)
    for name in {**ours, **theirs}:
        yield f"input '{name}'", ours.get(name), theirs.get(name)
    begins, others = ({s.input: s.initial for s in each.states} for each in (spec, other))
    for name in {**begins, **others}:
        yield f"initial '{name}'", begins.get(name), others.get(name)


def _tensors(spec: ModelSpec) -> dict[str, tuple[Any, ...]]:
    """The form of each input that is neither a state nor the lengths."""
    return {tensor.name: _form(tensor) for tensor in spec.data_inputs()}


def _form(tensor: TensorSpec) -> tuple[Any, ...]:
    return tensor.dtype, tensor.shape, tensor.batch_axis, tensor.time_axis, tensor.high
