"""Causal convolutions in a stream: the frames before the first one come from the call before.

A left padding of n frames along time, by ``F.pad``, by a convolution's own padding or by a
``torch.cat`` with zeros, becomes z = cat([state, x]); the new state is the last n frames of z, and
the padding's value is the first one. Where the padded tensor is a cut one, ``x[:, :-1]``, the
frames that were cut away are in z too, and are cut from the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnport.porting.states import input_names, output_names

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
WATCHED = frozenset({"pad", "cat", *CONVOLUTIONS})


@dataclass(frozen=True)
class Context:
    """One left padding along time that a stream replaces by the frames before.

    ``shape`` is that of the padding in the module's layout, with the example's batch.
    """

    place: int  # among the watched calls of a forward
    name: str
    time_axis: int
    batch_axis: int | None  # None: the module takes no batch
    shape: tuple[int, ...]
    value: float
    dtype: torch.dtype

    @property
    def input(self) -> str:
        """The graph input that takes it."""
        return input_names([self.name])[0]

    @property
    def output(self) -> str:
        """The graph output that gives its successor."""
        return output_names([self.name])[0]

    @property
    def frames(self) -> int:
        """How many frames it holds."""
        return self.shape[self.time_axis]

    def as_state(self, tensor: Tensor) -> Tensor:
        """Frames in the module's layout with the batch on axis 0."""
        axis = self.batch_axis
        return tensor.unsqueeze(0) if axis is None else tensor.movedim(axis, 0)

    def as_frames(self, state: Tensor) -> Tensor:
        """A state in the module's layout."""
        return state.squeeze(0) if self.batch_axis is None else state.movedim(0, self.batch_axis)


class ContextTable:
    """Answers the watched calls of one streamed forward; ``successors`` are by output name."""

    def __init__(
        self,
        contexts: Sequence[Context],
        states: Mapping[str, Tensor],
        lengths: Tensor | None = None,
    ) -> None:
        self.successors: dict[str, Tensor] = {}
        self._contexts = {each.place: each for each in contexts}
        self._states = states
        self._lengths = lengths
        self._next = 0
        # a tensor without the last frames of another → both, and the index that cut it
        self._cut: dict[int, tuple[Tensor, Tensor, Any]] = {}

    def answer(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer a call that has a context; ``NotImplemented`` for any other."""
        if name == "__getitem__" and self._contexts and isinstance(args[1], tuple):
            answer = func(*args, **kwargs)
            self._cut[id(answer)] = (answer, args[0], args[1])
            return answer
        if name not in WATCHED:
            return NotImplemented
        context = self._contexts.get(self._next)
        self._next += 1
        if context is None:
            return NotImplemented
        before = context.as_frames(self._states[context.input])
        x, cut = self._whole(args[0][1] if name == "cat" else args[0], context.time_axis)
        z = torch.cat([before, x], context.time_axis)
        self.successors[context.output] = context.as_state(self._last(z, context))
        z = z.narrow(context.time_axis, 0, z.shape[context.time_axis] - cut) if cut else z
        if name == "cat":
            return z
        return (_pad if name == "pad" else _convolve)(z, context, func, args, kwargs)

    def _whole(self, x: Tensor, axis: int) -> tuple[Tensor, int]:
        """What ``x`` is the beginning of along time, and how many frames it lacks at the end."""
        if id(x) not in self._cut:
            return x, 0
        _, source, index = self._cut[id(x)]
        everything = slice(None)
        others = [each for place, each in enumerate(index) if place != axis]
        along = index[axis] if axis < len(index) else everything
        if any(each != everything for each in others) or not isinstance(along, slice):
            return x, 0
        stop = along.stop
        ends = along.start in (None, 0) and along.step in (None, 1) and isinstance(stop, int)
        return (source, -stop) if ends and stop < 0 else (x, 0)

    def _last(self, z: Tensor, context: Context) -> Tensor:
        """The last frames of every row: where it ends, if there are lengths."""
        axis, frames = context.time_axis, context.frames
        if self._lengths is None or context.batch_axis is None:
            return z.narrow(axis, z.shape[axis] - frames, frames)
        steps = self._lengths.unsqueeze(1) + torch.arange(frames)  # [batch, frames]
        sizes = [1] * z.dim()
        sizes[context.batch_axis], sizes[axis] = steps.shape[0], frames
        ordered = steps if context.batch_axis < axis else steps.T
        wanted = list(z.shape)
        wanted[axis] = frames
        return z.gather(axis, ordered.reshape(sizes).expand(wanted))


def _pad(
    z: Tensor,
    context: Context,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Tensor:
    pads = list(args[1] if len(args) > 1 else kwargs["pad"])
    pads[2 * (z.dim() - 1 - context.time_axis)] = 0
    if not any(pads):
        return z
    rest = {key: value for key, value in kwargs.items() if key not in ("input", "pad")}
    padded: Tensor = func(z, pads, *args[2:], **rest)
    return padded


def _convolve(
    z: Tensor,
    context: Context,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Tensor:
    """The padding on the right stays: what it gives is cut away, or the module is not causal."""
    spatial = z.dim() - 2
    padding = convolution_setting(args, kwargs, 4, "padding", spatial)
    right = padding[context.time_axis - 2]
    padding[context.time_axis - 2] = 0
    z = torch.nn.functional.pad(z, [0] * (2 * (z.dim() - 1 - context.time_axis)) + [0, right])
    rest = {key: value for key, value in kwargs.items() if key not in ("input", "padding")}
    answer: Tensor = func(z, *args[1:4], padding=padding, **_named(args[5:]), **rest)
    return answer


def _named(settings: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("dilation", "groups"), settings, strict=False))


def convolution_setting(
    args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str, spatial: int
) -> list[int]:
    """A convolution's stride, padding or dilation along each of its spatial axes."""
    default = 0 if name == "padding" else 1
    value = args[place] if len(args) > place else kwargs.get(name, default)
    if isinstance(value, str):
        return [0] * spatial  # "valid", or "same", which is symmetric
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * spatial if len(values) == 1 else values
