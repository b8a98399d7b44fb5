"""``x=float32[batch,time,39]``: an input described in one word, and an example made from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor

from rnnport.errors import RequestError
from rnnport.porting.axes import BATCH, TIME, names_lengths
from rnnport.spec import Dim

_FORM = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(\w+)\s*(?:\[([^\[\]]*)\])?\s*(?:<\s*(\d+))?\s*")
_DTYPES = {
    name: getattr(torch, name)
    for name in (
        "float32",
        "float64",
        "float16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
    )
}
_EXPECTED = "expected name=dtype[axis,…], such as x=float32[batch,time,39] or lengths=int64[batch]"
_BATCH_SIZE = 3
_SIZES = (24, 20, 16, 28, 32, 36, 40, 44)  # of the other symbolic axes, the time first
_STEPS = 5  # the value of a single whole number


@dataclass(frozen=True)
class InputSpec:
    """One input; integers are drawn below ``below``."""

    name: str
    dtype: str
    axes: tuple[Dim, ...]
    below: int | None = None

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers."""
        return self.dtype.startswith(("int", "uint"))

    @property
    def is_lengths(self) -> bool:
        """Whether it gives each row's length."""
        return names_lengths(self.name) and self.whole and self.axes == (BATCH,)


def read_inputs(texts: Sequence[str]) -> tuple[InputSpec, ...]:
    """Read each ``--input``.

    Raises:
        RequestError: one is not of the form, or a name is given twice.
    """
    if not texts:
        raise RequestError(
            "a module needs its inputs described: --input 'x=float32[batch,time,39]'"
        )
    specs = tuple(_read(text) for text in texts)
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"--input {name} is given twice")
    return specs


def make_example(specs: Sequence[InputSpec]) -> dict[str, Tensor]:
    """Seeded example arguments: symbolic axes get small sizes that differ from each other."""
    sizes = _sizes(specs)
    random = torch.Generator().manual_seed(0)
    return {spec.name: _tensor(spec, sizes, random) for spec in specs}


def lengths_among(specs: Sequence[InputSpec]) -> str | None:
    """The input that gives each row's length, where one is named so."""
    return next((spec.name for spec in specs if spec.is_lengths), None)


def _read(text: str) -> InputSpec:
    form = _FORM.fullmatch(text)
    if form is None:
        raise RequestError(f"--input {text}: {_EXPECTED}")
    name, dtype, axes, below = form.groups()
    if dtype not in _DTYPES:
        near = get_close_matches(dtype, _DTYPES, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_DTYPES)}"
        raise RequestError(f"--input {text}: no dtype '{dtype}'; {hint}")
    words = [word.strip() for word in axes.split(",")] if axes and axes.strip() else []
    spec = InputSpec(
        name, dtype, tuple(_axis(word, text) for word in words), int(below) if below else None
    )
    if spec.below is not None and (not spec.whole or spec.below < 1):
        raise RequestError(f"--input {text}: '<{below}' bounds whole numbers, from 1 on")
    return spec


def _axis(word: str, text: str) -> Dim:
    if word.isidentifier():
        return word
    if word.isdigit() and int(word) > 0:
        return int(word)
    raise RequestError(
        f"--input {text}: '{word}' is no axis; an axis is a size, or a name such as batch or time"
    )


def _sizes(specs: Sequence[InputSpec]) -> dict[str, int]:
    axes = [axis for spec in specs for axis in spec.axes]
    names = list(dict.fromkeys(axis for axis in axes if isinstance(axis, str) and axis != BATCH))
    names.sort(key=lambda name: name != TIME)
    fixed = {axis for axis in axes if isinstance(axis, int)}
    batch = next(size for size in range(_BATCH_SIZE, len(fixed) + 4) if size not in fixed)
    free = (size for size in (*_SIZES, *range(48, 10_000)) if size not in fixed | {batch})
    return {BATCH: batch, **dict(zip(names, free, strict=False))}


def _tensor(spec: InputSpec, sizes: dict[str, int], random: torch.Generator) -> Tensor:
    shape = [sizes[axis] if isinstance(axis, str) else axis for axis in spec.axes]
    dtype = _DTYPES[spec.dtype]
    if spec.is_lengths:
        # the longest first, as modules want that pack with enforce_sorted
        time = sizes.get(TIME) or min((sizes[name] for name in sizes if name != BATCH), default=1)
        lengths = torch.randint(1, time + 1, shape, generator=random).sort(descending=True).values
        lengths[0] = time
        return lengths.to(dtype)
    if spec.dtype == "bool":
        return torch.randint(0, 2, shape, generator=random).bool()
    if spec.whole:
        if not shape:
            return torch.tensor((spec.below or _STEPS + 1) - 1, dtype=dtype)
        numbers = torch.randint(0, spec.below or 2, shape, generator=random)
        if spec.below is not None:
            numbers.view(-1)[0] = spec.below - 1  # the file's proof draws up to the largest
        return numbers.to(dtype)
    return torch.randn(shape, generator=random).to(dtype)
