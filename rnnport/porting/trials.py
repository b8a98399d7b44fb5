"""Running a module on more of an input, to see which of its sizes are the batch and the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.porting.calls import LoopCall, RecurrentCall, RecurrentMode
from rnnport.porting.keeping import replayed
from rnnport.porting.signature import Signature

_MOST_TRIED = 16  # steps


@dataclass(frozen=True)
class Sizes:
    """What the leading recurrent call of a run was given, and how many calls there were.

    The leading call is the first over time, else the first of all.
    """

    batch: int
    time: int | None  # of the padded input or the longest row; None: a cell's step, or fed back
    calls: int


class _Watch(RecurrentMode):
    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.found: list[tuple[int, int | None]] = []

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        if call.batch_sizes is not None:
            time: int | None = len(call.batch_sizes)
        else:
            time = None if call.cell else call.x.shape[1 if call.batch_first else 0]
        self.found.append((int(call.states[0].shape[1]), time))
        return func(*call.arguments(call.states))

    def looped(self, call: LoopCall) -> tuple[list[Tensor], list[Tensor]]:
        time = None if call.loop.fed_back else int(call.loop.xs[0].shape[0])
        self.found.append((int(call.states[0].shape[0]), time))
        return super().looped(call)


@dataclass(frozen=True)
class Trials:
    """A module and its example; the caller has borrowed the module."""

    module: nn.Module
    signature: Signature
    example: Mapping[str, Tensor]

    def one_more(self, axes: Mapping[str, list[int]]) -> Sizes | None:
        """The sizes where these axes of these inputs have one more; None where it does not run."""
        example = dict(self.example)
        for name, chosen in axes.items():
            for axis in chosen:
                example[name] = longer(example[name], axis)
        return self._run(example)

    def twice(self, name: str, axis: int) -> Sizes | None:
        """The sizes where an axis of an input is twice as long, as strides in time want it."""
        doubled = torch.cat([self.example[name]] * 2, axis)
        return self._run({**self.example, name: doubled})

    def follows(self, name: str, what: Callable[[Sizes], int | None]) -> int | None:
        """The first axis of an input with whose size what is asked for changes."""
        now = self._run(self.example)
        for axis in range(self.example[name].dim()):
            then = self.twice(name, axis)
            if now and then and what(now) != what(then):
                return axis
        return None

    def least(self, times: Mapping[str, int | None], lengths: str | None) -> int:
        """The fewest steps with which the module runs, where it is not any number from one on."""
        axes = {name: axis for name, axis in times.items() if axis is not None}
        most = min((self.example[name].shape[axis] for name, axis in axes.items()), default=0)
        for steps in range(1, min(most, _MOST_TRIED) + 1):
            shorter = {
                name: self.example[name].narrow(axis, 0, steps) for name, axis in axes.items()
            }
            if lengths is not None:
                shorter[lengths] = self.example[lengths].clamp(max=steps)
            if self._run({**self.example, **shorter}) is not None:
                return steps
        return 1

    def unrolled(self) -> bool:
        """Whether the number of recurrent calls changes with the size of some axis."""
        now = self._run(self.example)
        grown = (self.one_more(axes) for axes in self._alike())
        return now is not None and any(g is not None and g.calls != now.calls for g in grown)

    def _alike(self) -> Iterator[dict[str, list[int]]]:
        """The axes of equal size, for each size."""
        for size in sorted({size for tensor in self.example.values() for size in tensor.shape}):
            yield axes_of(self.example, size)

    def _run(self, example: Mapping[str, Tensor]) -> Sizes | None:
        args, kwargs = self.signature.build(example)
        mode = _Watch(self.module)
        try:
            with replayed(self.module), mode:
                self.module(*args, **kwargs)
        except Exception:  # noqa: BLE001  a module raises what it likes
            return None
        if not mode.found:
            return None
        leading = next((each for each in mode.found if each[1] is not None), mode.found[0])
        return Sizes(*leading, len(mode.found))


def axes_of(example: Mapping[str, Tensor], size: int) -> dict[str, list[int]]:
    """The axes of this size, by input."""
    found = {
        name: [axis for axis, n in enumerate(tensor.shape) if n == size]
        for name, tensor in example.items()
    }
    return {name: axes for name, axes in found.items() if axes}


def longer(tensor: Tensor, axis: int) -> Tensor:
    """The tensor with its first slice once more."""
    return torch.cat([tensor, tensor.narrow(axis, 0, 1)], axis)
