"""What a trace does with a module's calls: recurrent ones become our operators."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.errors import UnsupportedModelError
from rnnport.porting.calls import LoopCall, RecurrentCall, RecurrentMode
from rnnport.porting.context import ContextTable
from rnnport.porting.detours import detour
from rnnport.porting.obstacles import AxisWatch
from rnnport.porting.packed import PackedTable
from rnnport.porting.projection import plain_weights, projected_answer, projected_state
from rnnport.porting.recurrent import Loop
from rnnport.porting.recurrent_ops import run_layer
from rnnport.porting.rows import Rows, as_given, as_taken
from rnnport.porting.scan import emit
from rnnport.porting.states import input_names, output_names, state_names

_MAKES_ZEROS = frozenset({"zeros", "zeros_like", "new_zeros"})
_IN_PLACE = frozenset({"add", "sub", "mul", "truediv", "floordiv", "mod", "pow"})
_KEEPS_VALUES = frozenset({"to", "detach", "contiguous", "clone", "float", "cpu", "cuda"})
_READS = frozenset({"size", "dim", "numel", "__get__", "__len__"})


class CaptureMode(RecurrentMode):
    """Emits one operator per recurrent layer; with ``lifted`` states, takes and gives them.

    ``lifted`` maps a state's input name to its tensor [batch, layers × directions, hidden];
    ``successors`` maps its output name to the final state. ``inverses`` maps the name of a state
    of an LSTM with projection to pinv(W_hr) [layers × directions, H, P], where it is given one.
    ``contexts`` answers causal paddings; ``rows`` are of calls with more rows than the batch.
    """

    def __init__(
        self,
        module: nn.Module,
        lifted: Mapping[str, Tensor],
        watch: AxisWatch,
        inverses: Mapping[str, Tensor] | None = None,
        contexts: ContextTable | None = None,
        streaming: bool = False,
        rows: Mapping[str, Rows] | None = None,
    ) -> None:
        super().__init__(module)
        self._rows = rows or {}
        self._streaming = streaming
        self._contexts = contexts or ContextTable((), {})
        self._inverses = inverses or {}
        self._watch = watch
        self.successors: dict[str, Tensor] = {}
        self._lifted = lifted
        self._packed = PackedTable()
        self._zeros: dict[int, Tensor] = {}
        self._loops = 0

    def other(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        answer = self._packed.answer(name, func, args, kwargs)
        if answer is not NotImplemented:
            return answer
        answer = self._contexts.answer(name, func, args, kwargs)
        if answer is NotImplemented:
            answer = detour(name, func, args, kwargs)
        if answer is NotImplemented:
            answer = func(*args, **kwargs)
        self._watch.look()
        if args and _changes_in_place(name):
            self._packed.forget(args[0])
        self._follow_zeros(name, args, answer)
        return answer

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        refuse_unportable(call)
        x, lengths = self._padded_input(call)
        names = state_names(call)
        inputs = input_names(names)
        lifted = inputs[0] in self._lifted
        taken: tuple[Tensor | None, ...] = (
            tuple(as_taken(call, self._lifted[name], self._rows.get(names[0])) for name in inputs)
            if lifted
            else self._own_states(call)
        )
        if lengths is None or not self._streaming:
            y, final = _run_layers(call, x, lengths, taken)
        else:
            y, final = _keep_where_empty(lengths, x, call, taken)
        if lifted:
            leaving = (as_given(call, state, self._rows.get(names[0])) for state in final)
            self.successors |= dict(zip(output_names(names), leaving, strict=True))
        return (self._answer(call, y), *_as_torch_gives(call, final))

    def viewed(self, tensor: Tensor, view: Tensor) -> Tensor:
        if id(tensor) in self._zeros:
            self._zeros[id(view)] = view
        return view

    def looped(self, call: LoopCall) -> tuple[list[Tensor], list[Tensor]]:
        names = state_names(call)
        lifted = [self._lifted[name] for name in input_names(names) if name in self._lifted]
        last, ys = self._emit(call.loop.begun_from(lifted), call.label)
        if lifted:
            self.successors |= dict(zip(output_names(names), last, strict=True))
        return last, ys

    def nested(self, loop: Loop) -> tuple[list[Tensor], list[Tensor]]:
        return self._emit(loop, "a Recurrent inside another")

    def _emit(self, loop: Loop, label: str) -> tuple[list[Tensor], list[Tensor]]:
        self._loops += 1
        return emit(loop, self._loops, label)

    def _padded_input(self, call: RecurrentCall) -> tuple[Tensor, Tensor | None]:
        if call.batch_sizes is None:
            return (call.x.transpose(0, 1) if call.batch_first else call.x), None
        packed = self._packed.of(call.batch_sizes)
        return self._packed.padded(call.x, packed), packed.lengths.to(torch.int32)

    def _answer(self, call: RecurrentCall, y: Tensor) -> Tensor:
        if call.batch_sizes is None:
            return y.transpose(0, 1) if call.batch_first else y
        return self._packed.flatten(y, zero_past=self._packed.of(call.batch_sizes).lengths)

    def _batch(self, call: RecurrentCall) -> Any:
        """The batch of a call's input; a number where it is fixed."""
        if call.batch_sizes is not None:
            return self._packed.of(call.batch_sizes).batch
        return call.x.shape[0] if call.batch_first else call.x.shape[1]

    def _own_states(self, call: RecurrentCall) -> tuple[Tensor | None, ...]:
        """The states that the module gives; None, which ONNX takes for zeros, where they are."""
        batch = self._batch(call)
        for state in call.states:
            if isinstance(state.shape[1], int) and not isinstance(batch, int):
                raise UnsupportedModelError(
                    f"the initial state of {call.label} is made for a batch of {state.shape[1]}; "
                    "make it for the batch of the input: torch.zeros(layers, x.size(0), hidden)"
                )
        states = [None if id(state) in self._zeros else state for state in call.states]
        if call.projected and states[0] is not None:
            inverse = self._inverses.get(state_names(call)[0])
            # the probe made none where the state was zero then, whoever computes it
            states[0] = None if inverse is None else states[0] @ inverse.transpose(1, 2)
        return tuple(states)

    def _follow_zeros(self, name: str, args: tuple[Any, ...], answer: Any) -> None:
        """Remember which tensors are zeros, so that no initial state is written for them.

        One that anything else is done to is forgotten: a view of it may be filled later.
        """
        from_zeros = bool(args) and id(args[0]) in self._zeros
        if from_zeros and name not in _KEEPS_VALUES | _READS:
            del self._zeros[id(args[0])]
        kept = from_zeros and name in _KEEPS_VALUES
        if isinstance(answer, Tensor) and (kept or name in _MAKES_ZEROS):
            self._zeros[id(answer)] = answer


def _changes_in_place(name: str) -> bool:
    """Whether a torch function of this name changes its first argument: ``add_``, ``__iadd__``."""
    if name.startswith("__"):
        return name == "__setitem__" or (name.startswith("__i") and name[3:-2] in _IN_PLACE)
    return name.endswith("_")


def refuse_unportable(call: RecurrentCall) -> None:
    """Refuse a call that no ONNX recurrent node answers.

    Raises:
        UnsupportedModelError: a dropout that stays on, or double precision.
    """
    name = call.kind.upper().split("_")[0]
    if call.train and call.dropout > 0 and call.layers > 1:
        raise UnsupportedModelError(
            f"the {name} of {call.label} keeps its dropout on in evaluation mode; "
            "pass train=self.training"
        )
    if call.x.dtype != torch.float32:
        raise UnsupportedModelError(
            f"the {name} of {call.label} computes in {str(call.x.dtype).split('.')[1]}, for which "
            "ONNX Runtime has no kernel; export module.float() with a float32 example, or a "
            "factory with --float32"
        )


def _run_layers(
    call: RecurrentCall, x: Tensor, lengths: Tensor | None, states: tuple[Tensor | None, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run x [time, batch, features] through the layers; finals [layers × directions, batch, …]."""
    finals: list[tuple[Tensor, ...]] = []
    for layer in range(call.layers):
        first = layer * call.directions
        begins = [
            state if state is None or call.layers == 1 else state.narrow(0, first, call.directions)
            for state in states
        ]
        weights = call.layer_weights(layer)
        if call.projected:
            weights = [plain_weights(each) for each in weights]
        x, final = run_layer(call.kind, x, weights, lengths, begins)
        if call.projected:
            x = projected_answer(call, layer, x)
        finals.append(final)
    joined = zip(*finals, strict=True)
    return x, tuple(each[0] if call.layers == 1 else torch.cat(each) for each in joined)


def _as_torch_gives(call: RecurrentCall, final: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The final states as the module sees them: of an LSTM with projection h, not m."""
    return (projected_state(call, final[0]), *final[1:]) if call.projected else final


def _keep_where_empty(
    lengths: Tensor, x: Tensor, call: RecurrentCall, taken: tuple[Tensor | None, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A streamed call: a row of length 0 answers zeros and keeps its incoming state."""
    y, final = _run_layers(call, x, lengths.clamp(min=1), taken)
    some = (lengths > 0).unsqueeze(1)  # [batch, 1]
    zero = torch.zeros((), dtype=y.dtype)
    kept = (
        torch.where(some, after, zero if before is None else before)
        for before, after in zip(taken, final, strict=True)
    )
    return torch.where(some, y, zero), tuple(kept)


@contextmanager
def unchecked_states() -> Iterator[None]:
    """Let states pass the recurrent modules' own check of their shapes.

    It wants the batch of packed input as a number, and compares states that ours replace. The
    check is off in this thread only, which holds ``MODULE_LOCK``; others meet the original.
    """
    mine = threading.get_ident()
    originals = {kind: kind.__dict__["check_forward_args"] for kind in (nn.RNNBase, nn.LSTM)}
    for kind, original in originals.items():
        kind.check_forward_args = _only_elsewhere(original, mine)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for kind, original in originals.items():
            kind.check_forward_args = original  # type: ignore[method-assign]


def _only_elsewhere(check: Callable[..., None], thread: int) -> Callable[..., None]:
    @functools.wraps(check)
    def checked(*args: Any, **kwargs: Any) -> None:
        if threading.get_ident() != thread:
            check(*args, **kwargs)

    return checked
