"""PyTorch as an engine: the module itself, run eagerly by torch's own kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import rnn

from rnnport.errors import RequestError, RnnportError
from rnnport.porting.calls import LoopCall, RecurrentCall, RecurrentMode
from rnnport.porting.capture import unchecked_states
from rnnport.porting.carried import NOTHING, Carried
from rnnport.porting.context import ContextTable
from rnnport.porting.keeping import borrowed
from rnnport.porting.kept import put_kept, read_kept
from rnnport.porting.projection import plain_weights, projected_answer, projected_state
from rnnport.porting.recurrent import run
from rnnport.porting.rows import Rows, as_given, as_taken
from rnnport.porting.signature import Signature, by_name, name_answers, to_torch
from rnnport.porting.states import input_names, output_names, state_names
from rnnport.runtime.engine import Arrays
from rnnport.runtime.inputs import check_feeds
from rnnport.spec import ModelSpec

_PACK = rnn.pack_padded_sequence.__code__


class _UnsortedError(RnnportError):
    """A module packs with ``enforce_sorted`` and was given rows in another order."""


class TorchEngine:
    """Runs a module as the reference for its model file; the exported graph has no part in it.

    Recurrent calls go to torch's own functions, with the states that the feeds give, and their
    final states are recorded. In ``torch.float64`` parameters, buffers and float inputs are
    converted for the call; the module itself is never changed.

    Args:
        module: the module, in any mode.
        spec: names of inputs, outputs and states; of a streaming file where ``stream``.
        stream: whether feeds hold states and answers their successors.
        dtype: ``torch.float32``, or ``torch.float64`` for a more precise answer.
        signature: how inputs become arguments; by default each is the keyword of its name.
        carried: the states that the module keeps itself, and those of its causal paddings.
    """

    def __init__(
        self,
        module: nn.Module,
        spec: ModelSpec,
        *,
        stream: bool,
        dtype: torch.dtype = torch.float32,
        signature: Signature | None = None,
        carried: Carried = NOTHING,
    ) -> None:
        self._carried = carried
        self.name = "torch" if dtype == torch.float32 else f"torch-{str(dtype).split('.')[1]}"
        self._module = module
        self._spec = spec
        self._stream = stream
        self._dtype = dtype
        inputs = [each.name for each in spec.data_inputs()]
        if spec.lengths is not None:
            inputs.append(spec.lengths)
        self._signature = signature or by_name(module, inputs)
        self._precise: dict[str, Tensor] | None = None

    def spec(self) -> ModelSpec:
        return self._spec

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """Every output of the model file, by name.

        Raises:
            RequestError: the feeds are not what the spec promises, or the module does not take
                them.
        """
        check_feeds(self._spec, feeds)
        try:
            return self._answers(feeds)
        except _UnsortedError:
            return self._longest_first(feeds)

    def _longest_first(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """The answers of a module that packs longest rows first only, whatever order is asked.

        A file takes rows in any order, and gives each row the answer that it has in that one.
        """
        lengths = np.asarray(feeds[self._spec.lengths or ""])
        order = np.argsort(-lengths, kind="stable")
        inputs = {tensor.name: tensor.batch_axis for tensor in self._spec.inputs}
        outputs = {tensor.name: tensor.batch_axis for tensor in self._spec.outputs}
        answers = self._answers({n: _rows(a, inputs[n], order) for n, a in feeds.items()})
        back = np.argsort(order)
        return {name: _rows(array, outputs.get(name), back) for name, array in answers.items()}

    def _answers(self, feeds: Arrays) -> dict[str, np.ndarray]:
        states = [state.input for state in self._spec.states] if self._stream else []
        tensors = {name: to_torch(feeds[name], self._dtype) for name in feeds}
        with borrowed(self._module), unchecked_states():
            given = {name: tensors[name] for name in states}
            kept = self._carried.kept
            put_kept(self._module, kept, given, self._batch(feeds), self._dtype)
            lifted = {name: given[name] for name in given.keys() - self._carried.inputs()}
            table = self._carried.table(given, tensors.get(self._spec.lengths or ""))
            mode = _EagerMode(self._module, lifted, self._dtype, table, self._carried.rows)
            answer = self._forward(tensors, mode)
            left = read_kept(self._module, kept) if states else {}
        lifted_out = {s.output for s in self._spec.states if s.input not in self._signature.free}
        names = [out.name for out in self._spec.outputs if out.name not in lifted_out]
        outputs = name_answers(answer, names) | mode.successors | table.successors | left
        return {name: tensor.detach().cpu().numpy() for name, tensor in outputs.items()}

    def _forward(self, tensors: Mapping[str, Tensor], mode: _EagerMode) -> Any:
        args, kwargs = self._signature.build(tensors)
        try:
            if self._dtype == torch.float32:
                with mode:
                    return self._module(*args, **kwargs)
            with mode:
                return torch.func.functional_call(
                    self._module, self._converted(), args, kwargs, tie_weights=True
                )
        except RnnportError:
            raise
        except Exception as error:
            lengths = tensors.get(self._spec.lengths or "")
            if "enforce_sorted" in str(error) and lengths is not None and not _descends(lengths):
                raise _UnsortedError from error
            raise RequestError(
                f"{type(self._module).__name__} does not run on these feeds: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _batch(self, feeds: Arrays) -> int:
        """The rows of these feeds; 1 where the module takes no batch."""
        for tensor in self._spec.inputs:
            if tensor.batch_axis is not None:
                return int(np.shape(feeds[tensor.name])[tensor.batch_axis])
        return 1

    def _converted(self) -> dict[str, Tensor]:
        if self._precise is None:
            kept = {".".join(part for part in k.place[:2] if part) for k in self._carried.kept}
            tensors = [*self._module.named_parameters(), *self._module.named_buffers()]
            self._precise = {
                name: tensor.detach().to(self._dtype)
                for name, tensor in tensors
                if tensor.is_floating_point() and name not in kept
            }
        return self._precise


def _rows(array: np.ndarray, axis: int | None, order: np.ndarray) -> np.ndarray:
    return array if axis is None else array.take(order, axis)


def _descends(lengths: Tensor) -> bool:
    return bool((lengths[1:] <= lengths[:-1]).all())


class _EagerMode(RecurrentMode):
    """Gives recurrent calls their states and records the final ones; torch computes."""

    def __init__(
        self,
        module: nn.Module,
        states: Mapping[str, Tensor],
        dtype: torch.dtype,
        contexts: ContextTable,
        rows: Mapping[str, Rows],
    ) -> None:
        super().__init__(module)
        self._rows = rows
        self._contexts = contexts
        self.successors: dict[str, Tensor] = {}
        self._states = states
        self._dtype = dtype
        # batch_sizes → the order of rows in a packed sequence; kept, so that identities stay
        self._orders: dict[int, tuple[Tensor, Tensor | None]] = {}

    def other(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        answer = self._contexts.answer(name, func, args, kwargs)
        if answer is not NotImplemented:
            return answer
        precise = self._dtype == torch.float64
        answer = _in_double(func, args, kwargs) if precise else func(*args, **kwargs)
        if name == "_pack_padded_sequence":
            self._orders[id(answer[1])] = (answer[1], _sorting())
        return answer

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        names = state_names(call)
        lifted = [name for name in input_names(names) if name in self._states]
        if not lifted:
            states = [state.to(call.x.dtype) for state in call.states]
            return func(*call.arguments(states))
        order = self._order(call)
        rows = self._rows.get(names[0])
        taken = [as_taken(call, self._states[name], rows) for name in lifted]
        if order is not None:
            taken = [state.index_select(1, order) for state in taken]
        given = [projected_state(call, taken[0]), taken[1]] if call.projected else taken
        y, *final = func(*call.arguments([state.contiguous() for state in given]))
        leaving = _unprojected_finals(call, taken, func) if call.projected else final
        for name, state in zip(output_names(names), leaving, strict=True):
            original = state if order is None else state.index_select(1, order.argsort())
            self.successors[name] = as_given(call, original, rows)
        return (y, *final)

    def looped(self, call: LoopCall) -> tuple[list[Tensor], list[Tensor]]:
        names = state_names(call)
        lifted = [self._states[name] for name in input_names(names) if name in self._states]
        last, ys = run(call.loop.begun_from(lifted))
        if lifted:
            self.successors |= dict(zip(output_names(names), last, strict=True))
        return last, ys

    def _order(self, call: RecurrentCall) -> Tensor | None:
        if call.batch_sizes is None:
            return None
        return self._orders[id(call.batch_sizes)][1]


def _unprojected_finals(
    call: RecurrentCall, states: Sequence[Tensor], func: Callable[..., Any]
) -> tuple[Tensor, ...]:
    """The final m and c of an LSTM with projection, which torch's own call does not give: m.

    Torch runs each layer as the plain LSTM that it is to m; its answers stay those of the call.
    """
    x, finals = call.x, []
    for layer in range(call.layers):
        (weights,) = call.layer_weights(layer)  # one direction: what streams is never both
        one = replace(call, x=x, layers=1, weights=plain_weights(weights), dropout=0.0)
        y, *final = func(
            *one.arguments([state[layer : layer + 1].contiguous() for state in states])
        )
        finals.append(final)
        x = projected_answer(call, layer, y)
    return tuple(torch.cat(each) for each in zip(*finals, strict=True))


def _sorting() -> Tensor | None:
    """The order that the running ``pack_padded_sequence`` sorted its rows in."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _PACK:
            order: Tensor | None = frame.f_locals["sorted_indices"]
            return order
        frame = frame.f_back
    return None


def _in_double(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function with double where it asks for single precision, by name or by default."""
    if getattr(func, "__name__", "") == "float" and args:
        return args[0].double()
    swapped = [torch.float64 if each is torch.float32 else each for each in args]
    named = {key: torch.float64 if each is torch.float32 else each for key, each in kwargs.items()}
    answer = func(*swapped, **named)
    made = isinstance(answer, Tensor) and not any(isinstance(each, Tensor) for each in args)
    return answer.double() if made and answer.dtype == torch.float32 else answer
