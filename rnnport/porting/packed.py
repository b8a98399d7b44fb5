"""Packed sequences in a trace: the padded tensor stays as it is, a side table holds the lengths.

``pack_padded_sequence`` sorts the rows and hands out ``data`` (the valid rows only) with
``batch_sizes``. ONNX's recurrent nodes take the padded tensor and the lengths in any order, so
here nothing is sorted: the sort's order is the identity, ``data`` is the padded tensor flattened
to [time × batch, features], and ``batch_sizes`` is a stand-in that the table knows by identity.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.utils import rnn

from rnnport.errors import UnsupportedModelError

_PACK = rnn.pack_padded_sequence.__code__


class LongestLength(int):
    """Stands for the longest length, which a trace does not know; no comparison holds."""

    def __lt__(self, other: object) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__


class LengthsAsNumbers:
    """What ``lengths.tolist()`` gives in a trace: good for packing, and for nothing else."""

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths

    def _refuse(self, *_: object) -> Any:
        raise UnsupportedModelError(
            "forward works with the lengths as Python numbers, which a file cannot; keep them a "
            "tensor: pack_padded_sequence(x, lengths, enforce_sorted=False) takes it"
        )

    __iter__ = __len__ = __getitem__ = __eq__ = __hash__ = __bool__ = _refuse


def _are_lengths(tensor: Tensor) -> bool:
    return tensor.dim() == 1 and not tensor.is_floating_point()


@contextmanager
def lengths_as_numbers() -> Iterator[None]:
    """Let ``tolist()`` and ``numpy()`` of whole numbers [batch] pass a trace, which has no values.

    Called as methods they bypass function modes, so the tracer's own tensors answer. The caller
    holds ``MODULE_LOCK``.
    """
    originals = {name: FakeTensor.__dict__.get(name) for name in ("tolist", "numpy")}

    def passing(name: str) -> Callable[..., Any]:
        known = getattr(FakeTensor, name)

        def answer(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if _are_lengths(tensor):
                return LengthsAsNumbers(tensor)
            return known(tensor, *args, **kwargs)

        return answer

    for name in originals:
        setattr(FakeTensor, name, passing(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            if original is None:
                delattr(FakeTensor, name)
            else:
                setattr(FakeTensor, name, original)


@dataclass(frozen=True)
class Packed:
    """What a ``batch_sizes`` stand-in stands for."""

    stand_in: Tensor  # kept, so that its identity stays its own
    lengths: Tensor  # int64 [batch]
    time: Any  # symbolic sizes of the padded tensor
    batch: Any


class PackedTable:
    """Everything a trace must remember of its packed sequences."""

    def __init__(self) -> None:
        self._packed: dict[int, Packed] = {}
        self._orders: dict[int, Tensor] = {}
        # flattened data → (the flattened, [time, batch, …], whether zero past the lengths of)
        self._padded: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}

    def of(self, batch_sizes: Tensor) -> Packed:
        """What a stand-in stands for."""
        try:
            return self._packed[id(batch_sizes)]
        except KeyError:
            raise UnsupportedModelError(
                "a PackedSequence made by hand cannot be carried; "
                "make it with pack_padded_sequence(x, lengths, enforce_sorted=False), or change "
                "only its data"
            ) from None

    def padded(self, data: Tensor, packed: Packed) -> Tensor:
        """The padded form [time, batch, …] of a packed sequence's data."""
        if id(data) in self._padded:
            return self._padded[id(data)][1]
        return data.reshape(packed.time, packed.batch, *data.shape[1:])

    def flatten(self, padded: Tensor, zero_past: Tensor | None = None) -> Tensor:
        """The data [time × batch, …] of a padded tensor, remembered as the same values."""
        data = padded.reshape(padded.shape[0] * padded.shape[1], *padded.shape[2:])
        self._padded[id(data)] = (data, padded, zero_past)
        return data

    def forget(self, data: Tensor) -> None:
        """Forget what a packed sequence's data was padded from: it was changed in place."""
        self._padded.pop(id(data), None)

    def answer(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer a call that concerns packed sequences; ``NotImplemented`` where it does not."""
        handler = _HANDLERS.get(name)
        return NotImplemented if handler is None else handler(self, *args, **kwargs)

    def _as_numbers(self, tensor: Tensor, *_: Any, **__: Any) -> Any:
        return LengthsAsNumbers(tensor) if _are_lengths(tensor) else NotImplemented

    def _as_tensor(self, data: Any, *_: Any, **__: Any) -> Any:
        return data.lengths if isinstance(data, LengthsAsNumbers) else NotImplemented

    def _sort(self, lengths: Any, *_: Any, **__: Any) -> Any:
        if not _packing():
            return NotImplemented
        return lengths, self._order(lengths)

    def _order(self, like: Tensor) -> Tensor:
        order = torch.arange(like.shape[0])
        self._orders[id(order)] = order
        return order

    def _is_order(self, value: Any) -> bool:
        return id(value) in self._orders

    def _index_select(self, tensor: Any, dim: int, index: Any) -> Any:
        return tensor if self._is_order(index) else NotImplemented

    def _same_order(self, order: Any, *_: Any, **__: Any) -> Any:
        return order if self._is_order(order) else NotImplemented

    def _pack(self, x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
        padded = x.transpose(0, 1) if batch_first else x
        stand_in = torch.empty_like(lengths)
        time, batch = padded.shape[0], padded.shape[1]
        self._packed[id(stand_in)] = Packed(stand_in, lengths, time, batch)
        return self.flatten(padded), stand_in

    def _pad(
        self, data: Tensor, batch_sizes: Tensor, batch_first: bool, value: float, total: Any
    ) -> tuple[Tensor, Tensor]:
        packed = self.of(batch_sizes)
        y = self.padded(data, packed)
        zero_past = self._padded[id(data)][2] if id(data) in self._padded else None
        if value != 0.0 or zero_past is not packed.lengths:
            y = _fill_past(y, packed, value)
        y = _to_total(y, packed, value, total)
        return (y.transpose(0, 1) if batch_first else y), packed.lengths

    def _getitem(self, tensor: Any, index: Any) -> Any:
        if self._is_order(index):
            return tensor
        if id(tensor) in self._packed and isinstance(index, int) and index == 0:
            return self._packed[id(tensor)].batch  # batch_sizes[0]: every sequence has a first step
        return NotImplemented

    def _size(self, tensor: Any, dim: Any = None) -> Any:
        if id(tensor) in self._packed and dim == 0:
            return LongestLength(-1)
        return NotImplemented


def _packing() -> bool:
    """Whether pack_padded_sequence itself is asking, and not a user's own sort."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(5):  # from here through the function mode to its caller
        if frame is None or frame.f_code is _PACK:
            break
        frame = frame.f_back
    return frame is not None and frame.f_code is _PACK


def _fill_past(y: Tensor, packed: Packed, value: float) -> Tensor:
    """Put ``value`` at every step past its sequence's length."""
    valid = torch.arange(packed.time).unsqueeze(1) < packed.lengths.unsqueeze(0)
    valid = valid.reshape(packed.time, packed.batch, *[1] * (y.dim() - 2))
    return torch.where(valid, y, torch.full((), value, dtype=y.dtype))


def _to_total(y: Tensor, packed: Packed, value: float, total: Any) -> Tensor:
    """Cut or fill the time axis to ``total`` steps, or to the longest length."""
    if isinstance(total, LongestLength):
        longest = packed.lengths.max().item()
        torch._check(longest >= 1)  # type: ignore[no-untyped-call]
        torch._check(longest <= packed.time)  # type: ignore[no-untyped-call]
        return y.narrow(0, 0, longest)  # type: ignore[arg-type]
    if str(total) == str(packed.time):
        return y
    filling = y.new_full((1,), value).expand(total, *y.shape[1:])
    return torch.cat([y, filling]).narrow(0, 0, total)


_HANDLERS: dict[str, Callable[..., Any]] = {
    "tolist": PackedTable._as_numbers,
    "numpy": PackedTable._as_numbers,
    "as_tensor": PackedTable._as_tensor,
    "tensor": PackedTable._as_tensor,
    "from_numpy": PackedTable._as_tensor,
    "sort": PackedTable._sort,
    "index_select": PackedTable._index_select,
    "to": PackedTable._same_order,
    "cpu": PackedTable._same_order,
    "empty_like": PackedTable._same_order,
    "scatter_": PackedTable._same_order,
    "_pack_padded_sequence": PackedTable._pack,
    "_pad_packed_sequence": PackedTable._pad,
    "__getitem__": PackedTable._getitem,
    "size": PackedTable._size,
}
