"""Which axis of which input is the batch, and which the time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from rnnport.errors import RequestError
from rnnport.porting.probe import ProbedCall
from rnnport.porting.trials import Trials, longer
from rnnport.spec import Dim, TensorSpec

BATCH, TIME, LONGEST = "batch", "time", "longest"
LENGTH_NAMES = frozenset({"lengths", "length", "lens", "seq_lengths", "seq_lens", "input_lengths"})
_LENGTHS = re.compile(r"(^|.*_)(lengths?|lens?)")

Shapes = dict[str, tuple[Dim, ...]]


def read_axes(
    trials: Trials,
    calls: Sequence[ProbedCall],
    given: Mapping[str, Sequence[Dim]],
    told: Collection[str] = (),
) -> Shapes:
    """Each input's axes: ``given`` ones first, else by the sizes of the leading recurrent call.

    Where no size tells, the module is run on more of an input. ``told`` are inputs that are known
    for states.

    Raises:
        RequestError: what is given does not fit the example, or nothing tells the axes apart.
    """
    example = trials.example
    for name, axes in given.items():
        _check(name, axes, example)
    if _alike(example, calls, given):
        raise RequestError(
            f"the example has batch and time of equal size ({leading(calls).batch}), and the "
            "module runs with no other, so its axes cannot be told apart; give an example in which "
            "they differ, or inputs={'x': ('batch', 'time', 8)}"
        )
    found = _Reading(trials, tuple(calls), frozenset(told) - given.keys()).shapes(given)
    shapes = {name: found[name] for name in example}
    first = leading(calls)
    sizes = {TIME: first.longest if first.time is None else first.time}
    for axis_name, size in (sizes | ({BATCH: first.batch} if first.batched else {})).items():
        _require_named(axis_name, size, shapes, example)
    if not _steps_only(calls) and not any(TIME in axes for axes in shapes.values()):
        name = next(iter(example))
        raise RequestError(
            f"no input has a time axis; give its axes: inputs={{'{name}': ('batch', 'time', …)}}, "
            f"or --input '{name}=float32[batch,time,…]'"
        )
    return shapes


def _require_named(
    axis_name: str, size: int | None, shapes: Shapes, example: Mapping[str, Tensor]
) -> None:
    """Refuse another name for the one axis that has the size of the batch, or of the time."""
    if any(axis_name in axes for axes in shapes.values()):
        return
    for name, axes in shapes.items():
        for axis, its_size in zip(axes, example[name].shape, strict=True):
            if isinstance(axis, str) and axis not in (BATCH, TIME) and its_size == size:
                raise RequestError(
                    f"the axis '{axis}' of '{name}' is the {axis_name} of the recurrent layers: "
                    f"name it '{axis_name}'"
                )


def leading(calls: Sequence[ProbedCall]) -> ProbedCall:
    """The call by whose sizes axes are told: the first over time, where any is."""
    return next((call for call in calls if call.over_time), calls[0])


def _steps_only(calls: Sequence[ProbedCall]) -> bool:
    """Whether no call sees more than one step of an input."""
    return all(not call.over_time or call.time == 1 for call in calls)


def other_times(
    example: Mapping[str, Tensor], calls: Sequence[ProbedCall], given: Mapping[str, Sequence[Dim]]
) -> Iterator[dict[str, Tensor]]:
    """Where batch and time are of equal size: examples with one more along other axes.

    One in which the time has grown, and the batch has not, tells them apart.
    """
    if not _alike(example, calls, given):
        return
    size = leading(calls).batch
    choices = [
        [None, *(axis for axis, n in enumerate(tensor.shape) if n == size)]
        for tensor in example.values()
    ]
    for axes in itertools.product(*choices):
        if any(axis is not None for axis in axes):
            pairs = zip(example.items(), axes, strict=True)
            yield {name: _one_more(tensor, axis) for (name, tensor), axis in pairs}


def _one_more(tensor: Tensor, axis: int | None) -> Tensor:
    return tensor if axis is None else longer(tensor, axis)


def _alike(
    example: Mapping[str, Tensor], calls: Sequence[ProbedCall], given: Mapping[str, Sequence[Dim]]
) -> bool:
    """Whether some input has two axes of the size that is both the batch and the time."""
    first = leading(calls)
    taken = {name for call in calls for name in call.taken_from} if first.batch == 1 else set()
    tensors = [each for name, each in example.items() if name not in given.keys() | taken]
    several = any(list(tensor.shape).count(first.batch) > 1 for tensor in tensors)
    return several and first.batched and first.time == first.batch


def names_lengths(name: str) -> bool:
    """Whether lengths are usually called so, also inside something: ``batch_lengths``."""
    return _LENGTHS.fullmatch(name) is not None


def lengths_input(example: Mapping[str, Tensor], wanted: str | None) -> str | None:
    """The input that gives each row's length: the wanted one, else one of a usual name.

    Raises:
        RequestError: the wanted one is not an input, or not whole numbers of shape [batch].
    """
    if wanted is not None and wanted not in example:
        raise RequestError(f"there is no input '{wanted}'; there are {', '.join(example)}")
    known = [name for name in example if name in LENGTH_NAMES]
    candidates = [*known, *(name for name in example if names_lengths(name))]
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


@dataclass(frozen=True)
class _Reading:
    """Reads the axes of inputs off an example."""

    trials: Trials
    calls: tuple[ProbedCall, ...]
    told: frozenset[str]

    def shapes(self, given: Mapping[str, Sequence[Dim]]) -> Shapes:
        """The axes of every input."""
        shapes = {name: tuple(axes) for name, axes in given.items()}
        free = []
        for name, tensor in self.trials.example.items():
            if name in shapes:
                continue
            if name in self.told or any(name in call.taken_from for call in self.calls):
                shapes[name] = self._state(name, tensor)
            else:
                free.append(name)
        batches = self._batches(free)
        times = self._times(free, batches, any(TIME in axes for axes in shapes.values()))
        for name in batches.keys() & times.keys():
            if batches[name] == times[name][0]:  # a batch of several axes has the time's size
                axis = self.trials.follows(name, lambda sizes: sizes.batch)
                batches[name] = batches[name] if axis is None else axis
        for name in free:
            axes: list[Dim] = list(self.trials.example[name].shape)
            if name in batches:
                axes[batches[name]] = BATCH
            if name in times:
                axis, word = times[name]
                axes[axis] = word
            shapes[name] = tuple(axes)
        return shapes

    def _state(self, name: str, tensor: Tensor) -> tuple[Dim, ...]:
        axes: list[Dim] = list(tensor.shape)
        taking = [call for call in self.calls if name in call.taken_from]
        if not taking:
            place = _first(axes, leading(self.calls).batch)
            if place is not None:
                axes[place] = BATCH
        elif any(call.batch_led and call.batched for call in taking):
            axes[0] = BATCH
        elif tensor.dim() == 3:
            axes[1] = BATCH  # an initial state is [layers × directions, batch, hidden]
        return tuple(axes)

    def _batches(self, names: Sequence[str]) -> dict[str, int]:
        first = leading(self.calls)
        if not first.batched:
            return {}
        sizes = {name: list(self.trials.example[name].shape) for name in names}
        found = {name: _first(shape, first.batch) for name, shape in sizes.items()}
        if all(axis is None for axis in found.values()):  # several axes make up the batch
            found = {name: self.trials.follows(name, lambda sizes: sizes.batch) for name in names}
        return {name: axis for name, axis in found.items() if axis is not None}

    def _times(
        self, names: Sequence[str], batches: Mapping[str, int], known: bool
    ) -> dict[str, tuple[int, str]]:
        """Which axis of an input is a time, and the name of that time."""
        first = leading(self.calls)
        if not first.over_time:
            return {}
        size = first.longest if first.time is None else first.time
        found = {} if size is None else self._of_size(size, names, batches)
        if not found and not known:
            found = self._following(names)
        if not found and not known and size != 1:
            found = self._beside(names, batches)
        times = {name: (axis, TIME) for name, axis in found.items()}
        others = {call.time for call in self.calls if call.over_time and call.time} - {size, 1}
        for name in names:
            if name not in times:
                for axis, n in enumerate(self.trials.example[name].shape):
                    if n in others and axis != batches.get(name):
                        times[name] = axis, f"{name}_{TIME}"
                        break
        return times

    def _of_size(
        self, size: int, names: Sequence[str], batches: Mapping[str, int]
    ) -> dict[str, int]:
        found = {}
        for name in names:
            shape = self.trials.example[name].shape
            axes = [i for i, n in enumerate(shape) if n == size and i != batches.get(name)]
            if axes and (len(shape) > 1 or name not in batches):
                found[name] = axes[0]
        if size != 1 or not found:
            return found
        # ones are common: of a single feature, of a channel
        grown = self.trials.one_more({name: [axis] for name, axis in found.items()})
        return found if grown is not None and grown.time == 2 else {}

    def _following(self, names: Sequence[str]) -> dict[str, int]:
        pairs = ((name, self.trials.follows(name, lambda sizes: sizes.time)) for name in names)
        return {name: axis for name, axis in pairs if axis is not None}

    def _beside(self, names: Sequence[str], batches: Mapping[str, int]) -> dict[str, int]:
        """The axis beside the batch of the first input that has one, and all of its size."""
        for name in names:
            for axis, size in enumerate(self.trials.example[name].shape):
                if axis != batches.get(name):
                    return {**self._of_size(size, names, batches), name: axis}
        return {}


def _first(axes: Sequence[Dim], size: int) -> int | None:
    return next((i for i, axis in enumerate(axes) if axis == size), None)
