"""Which axis of which input is the batch, and which the time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from rnnport.errors import RequestError
from rnnport.porting.calls import LOOP
from rnnport.porting.probe import ProbedCall
from rnnport.spec import Dim, TensorSpec

BATCH, TIME, LONGEST = "batch", "time", "longest"
LENGTH_NAMES = frozenset({"lengths", "length", "lens", "seq_lengths", "seq_lens", "input_lengths"})

Shapes = dict[str, tuple[Dim, ...]]


def read_axes(
    example: Mapping[str, Tensor],
    calls: Sequence[ProbedCall],
    given: Mapping[str, Sequence[Dim]],
) -> Shapes:
    """Each input's axes: ``given`` ones first, else by the sizes of the first recurrent call.

    Raises:
        RequestError: what is given does not fit the example, or nothing tells the axes apart.
    """
    for name, axes in given.items():
        _check(name, axes, example)
    missing = {name: tensor for name, tensor in example.items() if name not in given}
    if _alike(missing, calls):
        raise RequestError(
            f"the example has batch and time of equal size ({calls[0].batch}), and the module runs "
            "with no other, so its axes cannot be told apart; give an example in which they "
            "differ, or inputs={'x': ('batch', 'time', 8)}"
        )
    found = {name: _found(name, tensor, calls) for name, tensor in missing.items()}
    shapes = {name: tuple(given.get(name) or found[name]) for name in example}
    fed_back = all(call.kind == LOOP and call.time is None for call in calls)
    if not fed_back and not any(TIME in axes for axes in shapes.values()):
        name = next(iter(example))
        raise RequestError(
            f"no input has a time axis; give its axes: inputs={{'{name}': ('batch', 'time', …)}}"
        )
    return shapes


def other_times(
    example: Mapping[str, Tensor], calls: Sequence[ProbedCall], given: Mapping[str, Sequence[Dim]]
) -> Iterator[dict[str, Tensor]]:
    """Where batch and time are of equal size: examples with one more along other axes.

    One in which the time has grown, and the batch has not, tells them apart.
    """
    missing = {name: tensor for name, tensor in example.items() if name not in given}
    if not _alike(missing, calls):
        return
    size = calls[0].batch
    choices = [
        [None, *(axis for axis, n in enumerate(tensor.shape) if n == size)]
        for tensor in example.values()
    ]
    for axes in itertools.product(*choices):
        if any(axis is not None for axis in axes):
            pairs = zip(example.items(), axes, strict=True)
            yield {name: _one_more(tensor, axis) for (name, tensor), axis in pairs}


def _one_more(tensor: Tensor, axis: int | None) -> Tensor:
    if axis is None:
        return tensor
    return torch.cat([tensor, tensor.narrow(axis, 0, 1)], axis)


def _alike(tensors: Mapping[str, Tensor], calls: Sequence[ProbedCall]) -> bool:
    """Whether some input has two axes of the size that is both the batch and the time."""
    size = calls[0].batch
    several = any(list(tensor.shape).count(size) > 1 for tensor in tensors.values())
    return several and calls[0].batched and calls[0].time == size


def lengths_input(example: Mapping[str, Tensor], wanted: str | None) -> str | None:
    """The input that gives each row's length: the wanted one, else one of a usual name.

    Raises:
        RequestError: the wanted one is not an input, or not whole numbers of shape [batch].
    """
    if wanted is not None and wanted not in example:
        raise RequestError(f"there is no input '{wanted}'; there are {', '.join(example)}")
    candidates = [name for name in example if name == wanted or name in LENGTH_NAMES]
    for candidate in candidates if wanted is None else [wanted]:
        tensor = example[candidate]
        if tensor.dim() == 1 and not tensor.is_floating_point():
            return candidate
    if wanted is not None:
        raise RequestError(
            f"lengths '{wanted}' is {list(example[wanted].shape)} of {example[wanted].dtype}, "
            "not whole numbers of shape [batch]"
        )
    return None


def place(axes: Sequence[Dim], *names: str) -> int | None:
    """Which axis has one of these names, or a size made from it such as ``time//4``."""
    words = [set(re.findall(r"[A-Za-z_]\w*", str(axis))) for axis in axes]
    return next((i for i, each in enumerate(words) if each & set(names)), None)


def tensor_spec(
    name: str, tensor: Tensor, axes: Sequence[Dim], low: int | None = None
) -> TensorSpec:
    """The spec of an input, as far as an example tells it."""
    dtype = str(tensor.dtype).split(".")[1]
    whole = not tensor.is_floating_point() and tensor.numel() > 0
    return TensorSpec(
        name=name,
        dtype=dtype,
        shape=tuple(axes),
        batch_axis=place(axes, BATCH),
        time_axis=place(axes, TIME),
        high=int(tensor.max()) if whole else None,
        low=low,
    )


def _check(name: str, axes: Sequence[Dim], example: Mapping[str, Tensor]) -> None:
    if name not in example:
        raise RequestError(f"there is no input '{name}'; there are {', '.join(example)}")
    shape = tuple(example[name].shape)
    fits = len(axes) == len(shape) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(axes, shape, strict=True)
    )
    if not fits:
        raise RequestError(f"the axes {list(axes)} of '{name}' do not fit its example {[*shape]}")


def _found(name: str, tensor: Tensor, calls: Sequence[ProbedCall]) -> tuple[Dim, ...]:
    axes: list[Dim] = list(tensor.shape)
    if any(name in call.taken_from for call in calls):
        if any(call.kind == LOOP for call in calls if name in call.taken_from):
            axes[0] = BATCH  # a cell's state
        elif tensor.dim() == 3:
            axes[1] = BATCH  # an initial state is [layers × directions, batch, hidden]
        return tuple(axes)
    first = _leading(calls)
    batch = _first(axes, first.batch) if first.batched else None
    if batch is not None:
        axes[batch] = BATCH
    if len(axes) > 1 or (batch is None and not first.batched):
        time = None if first.time is None else _first(axes, first.time)
        # packed input, or a time that is not the input's: the axis beside the batch
        axes[_beside(axes, batch) if time is None else time] = TIME
    return tuple(axes)


def _leading(calls: Sequence[ProbedCall]) -> ProbedCall:
    """The call by whose sizes axes are told: the first one, of those over time where any is."""
    return next((each for each in calls if each.kind != LOOP or each.time is not None), calls[0])


def _first(axes: Sequence[Dim], size: int) -> int | None:
    return next((i for i, axis in enumerate(axes) if axis == size), None)


def _beside(axes: Sequence[Dim], batch: int | None) -> int:
    return next(i for i in range(len(axes)) if i != batch)
