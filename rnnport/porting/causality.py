"""What in a module depends on the time: causal paddings to carry, and what looks ahead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnnport.errors import RnnportError, UnsupportedModelError
from rnnport.porting.axes import BATCH, TIME
from rnnport.porting.calls import RecurrentCall, RecurrentMode
from rnnport.porting.context import CONVOLUTIONS, WATCHED, Context, convolution_setting
from rnnport.porting.keeping import replayed
from rnnport.porting.kept import KeptTensor, put_kept
from rnnport.porting.rows import unlike
from rnnport.porting.signature import Signature
from rnnport.spec import Dim

_MORE = 3  # steps and rows more than the example has
# what only moves values: the blame for looking ahead is never theirs, unless they flip time
_MOVES = frozenset(
    {"__getitem__", "select", "narrow", "transpose", "permute", "movedim", "reshape", "view"}
    | {"flatten", "unsqueeze", "squeeze", "contiguous", "clone", "detach", "expand", "__get__"}
)
_PICKS = frozenset({"gather", "index_select", "take_along_dim"})  # a step of many


@dataclass(frozen=True)
class _Did:
    """One call of torch: who made it, with what, and what it gave."""

    name: str
    path: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    answer: Any

    @property
    def label(self) -> str:
        return f"'{self.path}'" if self.path else "the module itself"


class _Record(RecurrentMode):
    """Notes every call; the tensors are as they were made, unless changed in place since."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.did: list[_Did] = []

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        return func(*call.arguments(call.states))

    def other(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        answer = func(*args, **kwargs)
        # attention gives its weights beside its answer
        first = answer[0] if isinstance(answer, tuple) and answer else answer
        if isinstance(first, Tensor) and name not in _MOVES:
            self.did.append(_Did(name, self._caller()[0], args, kwargs, first.detach()))
        return answer


@dataclass(frozen=True)
class Rehearsal:
    """A module run on its example, on a longer one, on a larger one, and on another last step."""

    module: nn.Module
    signature: Signature
    example: Mapping[str, Tensor]
    shapes: Mapping[str, Sequence[Dim]]
    kept: Sequence[KeptTensor]
    _runs: dict[str, tuple[Any, list[_Did]]] = field(default_factory=dict)

    def contexts(self) -> tuple[Context, ...]:
        """Every left padding along time, in the order of the calls.

        Raises:
            UnsupportedModelError: something strides or shortens time, or looks ahead.
        """
        try:
            watched = [
                [did for did in self._run(kind)[1] if did.name in WATCHED]
                for kind in ("example", "longer", "larger")
            ]
        except RnnportError:
            raise
        except Exception:  # noqa: BLE001  a module raises what it likes
            return ()  # it takes the example's size only; the trace says where and why
        if len({len(each) for each in watched}) > 1:
            return ()
        found: list[Context] = []
        names: Counter[str] = Counter()
        for place, (did, longer, larger) in enumerate(zip(*watched, strict=True)):
            context = self._context(place, did, longer, larger)
            if context is not None:
                n = names[did.path]
                names[did.path] += 1
                parts = [did.path] if did.path else []
                parts += [str(n)] if n else []
                found.append(replace(context, name=".".join([*parts, "context"])))
        self._refuse_looking_ahead()
        return tuple(found)

    def pooling(self) -> str:
        """The first call that makes one value of all steps, and whose it is; empty if none does."""
        try:
            pairs = list(zip(self._run("example")[1], self._run("longer")[1], strict=True))
        except Exception:  # noqa: BLE001  a module raises what it likes
            return ""
        for one, longer in pairs:
            tensors = (pytree.tree_leaves(did.args) for did in (one, longer))
            grown = any(
                isinstance(a, Tensor) and _differing(a, b) is not None
                for a, b in zip(*tensors, strict=False)
            )
            if grown and one.answer.shape == longer.answer.shape and one.name not in _PICKS:
                return f"{one.name} in {one.label}"
        return ""

    def _context(self, place: int, did: _Did, longer: _Did, larger: _Did) -> Context | None:
        x, other, wide = _subject(did), _subject(longer), _subject(larger)
        if x is None or other is None or wide is None:
            return None
        time = _differing(x, other)
        if time is None:
            return None
        left, value = _left(did, x, time)
        if did.name in CONVOLUTIONS:
            self._refuse_convolution(did, time)
        if left <= 0:
            return None
        batch = _differing(x, wide)
        if batch is not None and x.shape[batch] != self._size(BATCH):
            raise UnsupportedModelError(
                f"the padding in {did.label} cannot stream: its batch axis holds "
                f"{x.shape[batch]} rows for a batch of {self._size(BATCH)}; keep the batch apart"
            )
        shape = tuple(left if axis == time else size for axis, size in enumerate(x.shape))
        return Context(place, "", time, batch, shape, value, x.dtype)

    def _refuse_convolution(self, did: _Did, time: int) -> None:
        spatial = did.answer.dim() - 2
        stride = convolution_setting(did.args, did.kwargs, 3, "stride", spatial)[time - 2]
        if stride != 1:
            raise UnsupportedModelError(
                f"the convolution of {did.label} cannot stream: it strides by {stride} in time, "
                "and a stream may come in pieces of one step; export it without streaming"
            )
        missing = self._size(TIME) - did.answer.shape[time]
        if missing > 0:
            raise UnsupportedModelError(
                f"the convolution of {did.label} cannot stream: it shortens the sequence by "
                f"{missing} steps; pad that many on the left, F.pad(x, ({missing}, 0))"
            )

    def _refuse_looking_ahead(self) -> None:
        """Refuse where another last step changes the answer to an earlier one."""
        last = self._size(TIME) - 1
        answer, did = self._run("example")
        changed, others = self._run("other end")
        longer, later = self._run("longer")
        triples = _leaves(answer, changed, longer)
        if not any(_early_change(last, *each) for each in triples):
            return
        for one, two, three in zip(did, others, later, strict=False):
            if _early_change(last, one.answer, two.answer, three.answer) is not False:
                raise UnsupportedModelError(
                    f"{one.name} in {one.label} cannot stream: it looks ahead in time or over all "
                    "of it; pad on the left only, or export it without streaming"
                )

    def _size(self, axis: str) -> int:
        for name, shape in self.shapes.items():
            if axis in shape:
                return int(self.example[name].shape[list(shape).index(axis)])
        return 1

    def _run(self, kind: str) -> tuple[Any, list[_Did]]:
        if kind not in self._runs:
            self._runs[kind] = self._rehearse(kind)
        return self._runs[kind]

    def _rehearse(self, kind: str) -> tuple[Any, list[_Did]]:
        """The answer and the calls of a second run, in which kept states are no longer zero."""
        axis = {"longer": TIME, "larger": BATCH}.get(kind)
        example = {
            name: _repeated(tensor, self.shapes[name], axis)
            for name, tensor in self.example.items()
        }
        batch = self._size(BATCH) + (_MORE if kind == "larger" else 0)
        with replayed(self.module):
            put_kept(self.module, self.kept, {}, batch)
            self._call(example)
            if kind == "other end":
                example = {n: _other_end(t, self.shapes[n]) for n, t in example.items()}
            with _Record(self.module) as record:
                answer = self._call(example)
        return answer, record.did

    def _call(self, example: Mapping[str, Tensor]) -> Any:
        args, kwargs = self.signature.build(example)
        return self.module(*args, **kwargs)


def _subject(did: _Did) -> Tensor | None:
    """The tensor that a watched call extends."""
    if did.name == "cat":
        parts: Sequence[Any] = did.args[0] if did.args else ()
        return parts[1] if len(parts) == 2 else None
    return did.args[0] if did.args and isinstance(did.args[0], Tensor) else None


def _left(did: _Did, x: Tensor, time: int) -> tuple[int, float]:
    """How many frames of which constant a watched call puts before x."""
    if did.name == "pad":
        pads = did.args[1] if len(did.args) > 1 else did.kwargs["pad"]
        mode = did.args[2] if len(did.args) > 2 else did.kwargs.get("mode", "constant")
        value = did.args[3] if len(did.args) > 3 else did.kwargs.get("value")
        place = 2 * (x.dim() - 1 - time)
        constant = mode == "constant" and place < len(pads)
        return (pads[place] if constant else 0), float(value or 0.0)
    if did.name == "cat":
        first = did.args[0][0]
        dim = did.args[1] if len(did.args) > 1 else did.kwargs.get("dim", 0)
        fits = dim % x.dim() == time and not first.any()
        return (int(first.shape[time]) if fits else 0), 0.0
    padding = convolution_setting(did.args, did.kwargs, 4, "padding", x.dim() - 2)
    return (padding[time - 2] if time >= 2 else 0), 0.0


def _differing(one: Tensor, other: Tensor) -> int | None:
    """The one axis in which two shapes differ."""
    if one.dim() != other.dim():
        return None
    axes = [i for i, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)) if a != b]
    return axes[0] if len(axes) == 1 else None


def _early_change(last: int, one: Any, other: Any, longer: Any) -> bool | None:
    """Whether two values differ before the last step; None where they do and have no time."""
    tensors = all(isinstance(each, Tensor) for each in (one, other, longer))
    if not tensors or one.shape != other.shape or torch.equal(one, other):
        return False
    time = _differing(one, longer)
    if time is None:
        return None
    step = (longer.shape[time] - one.shape[time]) // _MORE
    first = max(min(last, one.shape[time] - step), 0)
    ours, theirs = (each.narrow(time, 0, first) for each in (one, other))
    return not torch.equal(ours, theirs)


def _leaves(*answers: Any) -> list[tuple[Any, ...]]:
    leaves: list[list[Any]] = [pytree.tree_leaves(answer) for answer in answers]
    return list(zip(*leaves, strict=False))


def _repeated(tensor: Tensor, shape: Sequence[Dim], axis: str | None) -> Tensor:
    """The tensor with ``_MORE`` more along an axis, taken from its beginning."""
    if axis not in shape:
        return tensor
    place = list(shape).index(str(axis))
    size = tensor.shape[place]
    return tensor.index_select(place, torch.arange(size + _MORE) % size)


def _other_end(tensor: Tensor, shape: Sequence[Dim]) -> Tensor:
    """The tensor with other values in its last step."""
    if TIME not in shape or not tensor.is_floating_point():
        return tensor
    place = list(shape).index(TIME)
    changed = tensor.clone()
    last = changed.narrow(place, tensor.shape[place] - 1, 1)
    last.copy_(unlike(last))
    return changed
