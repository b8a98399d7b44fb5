"""A module with everything that is known of it before the trace: names, axes, states, calls."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from rnnport.errors import RequestError, UnsupportedModelError
from rnnport.parity.feeds import OTHER_SIZE
from rnnport.porting import states as lifting
from rnnport.porting.axes import (
    BATCH,
    TIME,
    Shapes,
    leading,
    lengths_input,
    names_lengths,
    other_times,
    place,
    read_axes,
    tensor_spec,
)
from rnnport.porting.calls import LOOP
from rnnport.porting.carried import Carried
from rnnport.porting.causality import Rehearsal
from rnnport.porting.context import Context
from rnnport.porting.growing import Growth, named_axes, tried_axes
from rnnport.porting.obstacles import nothing_recurrent, unrolled
from rnnport.porting.probe import Probed, ProbedCall, own_step, probe
from rnnport.porting.promised_states import lifted_states, own_states, told_states
from rnnport.porting.recurrent_ops import ONNX_NAME
from rnnport.porting.rows import find_rows
from rnnport.porting.signature import Signature, name_answers, read_arguments
from rnnport.porting.trials import Trials
from rnnport.spec import Dim, ModelSpec, StateSpec, TensorSpec

Inputs = Sequence[str] | Mapping[str, Sequence[Dim]]


@dataclass(frozen=True)
class Wishes:
    """What the caller says of names and axes; ``facts`` is what a run knows of its module."""

    inputs: Inputs | None = None
    outputs: Sequence[str] | None = None
    lengths: str | None = None
    stream: bool = False
    facts: ModelSpec | None = None
    states: Mapping[str, str] | None = None  # the author's own: input → the output that follows it

    def input_names(self) -> Sequence[str] | None:
        """The inputs' names in order, where they are given so."""
        return None if isinstance(self.inputs, Mapping) else self.inputs

    def output_names(self) -> Sequence[str] | None:
        """The outputs' names in order, where they are known."""
        if self.outputs is not None or self.facts is None or not self.facts.outputs:
            return self.outputs
        return [tensor.name for tensor in self.facts.outputs]

    def axes(self) -> dict[str, Sequence[Dim]]:
        """The axes of the inputs of which they are known."""
        known = () if self.facts is None else self.facts.inputs
        given = self.inputs if isinstance(self.inputs, Mapping) else {}
        return {tensor.name: tensor.shape for tensor in known} | dict(given)


@dataclass(frozen=True)
class Request:
    """One export: the module, its named example, its recurrent calls, and what it will promise.

    The outputs of ``spec`` are still to come; ``answers`` names them without the states.
    """

    module: nn.Module
    signature: Signature
    example: Mapping[str, Tensor]
    calls: tuple[ProbedCall, ...]
    carried: Carried
    spec: ModelSpec
    answers: tuple[str, ...]
    stream: bool
    least: int  # the fewest steps that the module itself takes
    pooling: str  # what makes one value of all steps, where a streaming file was asked for

    def lifted(self) -> tuple[StateSpec, ...]:
        """The states that the file takes and gives beyond the author's own."""
        return tuple(s for s in self.spec.states if s.input not in self.signature.free)

    def batch(self) -> int:
        """The example's number of rows."""
        for tensor in self.spec.inputs:
            if tensor.batch_axis is not None and tensor.name in self.example:
                return int(self.example[tensor.name].shape[tensor.batch_axis])
        return self.calls[0].batch

    def recurrent_nodes(self) -> list[str]:
        """The ONNX operator of each recurrent layer, call by call."""
        return [ONNX_NAME[call.kind] for call in self.calls for _ in range(call.layers)]


def read_request(
    module: nn.Module, args: Any, kwargs: Mapping[str, Any] | None, wishes: Wishes
) -> Request:
    """Learn what an export needs to know by running the module on its example.

    The caller has borrowed the module.

    Raises:
        RequestError: example, names or axes do not fit the module.
        UnsupportedModelError: nothing in it is recurrent, or it cannot stream.
    """
    signature, example = read_arguments(module, args, kwargs, wishes.input_names())
    probed = probe(module, signature, example, wishes.stream)
    if not probed.calls and (wishes.states or (wishes.stream and probed.kept)):
        probed = replace(probed, calls=(own_step(module, example),))
    if not probed.calls:
        raise UnsupportedModelError(nothing_recurrent(module))
    example, probed = _told_apart(module, signature, example, probed, wishes)
    calls = probed.calls
    trials = Trials(module, signature, example)
    _refuse_unrolled(module, calls, trials)
    found = name_answers(probed.answer, wishes.output_names())
    answers = tuple(f"{name}_out" if name in example else name for name in found)
    told = told_states(wishes.states or {}, example, answers)
    shapes = read_axes(trials, calls, wishes.axes(), told)
    growth = Growth(module, signature, example)
    shapes = tried_axes(growth, shapes, wishes.axes(), leading(calls).batched)
    contexts: tuple[Context, ...] = ()
    pooling, lengths = "", lengths_input(example, _lengths(wishes))
    least = trials.least({name: place(axes, TIME) for name, axes in shapes.items()}, lengths)
    if wishes.stream:
        calls = _over_time(calls, growth, shapes)
        _refuse_unstreamable(calls)
        rehearsal = Rehearsal(module, signature, example, shapes, probed.kept)
        contexts, pooling = rehearsal.contexts(), rehearsal.pooling()
    rows = {call.names[0]: call.rows for call in calls if call.rows is not None}
    carried = Carried(probed.kept, contexts, rows)
    own = own_states(told, example, shapes, dict(zip(answers, found.values(), strict=True)))
    states = lifted_states(calls, carried, bool(own)) if wishes.stream else ()
    if wishes.stream:
        lifted = {given: name for given, name in _carried(calls).items() if given not in told}
        signature = replace(signature, carried=lifted, batch_led=_batch_led(calls))
        example = {name: example[name] for name in signature.free}
    return Request(
        module=module,
        signature=signature,
        example=example,
        calls=calls,
        carried=carried,
        spec=_promised(example, shapes, (own, states), wishes, _counts(calls)),
        answers=answers,
        stream=wishes.stream,
        least=least,
        pooling=pooling,
    )


def _told_apart(
    module: nn.Module,
    signature: Signature,
    example: dict[str, Tensor],
    probed: Probed,
    wishes: Wishes,
) -> tuple[dict[str, Tensor], Probed]:
    """The example, or one with a step more where its batch and time are of equal size."""
    first = leading(probed.calls)
    for other in other_times(example, probed.calls, wishes.axes()):
        try:
            again = probe(module, signature, other, wishes.stream)
        except RequestError:
            continue  # the inputs do not fit each other so
        now = leading(again.calls)
        if now.batch == first.batch and now.time == first.batch + 1:
            return other, again
    return example, probed


def _lengths(wishes: Wishes) -> str | None:
    facts = wishes.facts
    return facts.lengths if wishes.lengths is None and facts is not None else wishes.lengths


def _promised(
    example: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[Dim]],
    states: tuple[tuple[StateSpec, ...], tuple[StateSpec, ...]],
    wishes: Wishes,
    counts: Collection[str],
) -> ModelSpec:
    own, lifted = states
    facts = wishes.facts
    known = {} if facts is None else {tensor.name: tensor for tensor in facts.inputs}
    main = lengths_input(example, _lengths(wishes))
    tensors = [
        known.get(name)
        or _drawable(tensor_spec(name, each, shapes[name], 1 if name in counts else None), main)
        for name, each in example.items()
    ]
    return ModelSpec(
        inputs=(*tensors, *(_state_input(state) for state in lifted)),
        outputs=(),
        states=(*own, *lifted),
        lengths=main,
    )


def _drawable(tensor: TensorSpec, lengths: str | None) -> TensorSpec:
    """The input; lengths of a second sequence are held to the size that its axis is drawn with."""
    further = tensor.name != lengths and names_lengths(tensor.name) and tensor.shape == (BATCH,)
    if not further or tensor.high is None:
        return tensor
    return replace(tensor, low=1, high=min(tensor.high, OTHER_SIZE))


def _over_time(
    calls: tuple[ProbedCall, ...], growth: Growth, shapes: Shapes
) -> tuple[ProbedCall, ...]:
    """The calls with what is known of their rows: of bands, or of steps."""
    batch = sorted(named_axes(shapes, BATCH))
    within = growth.within(named_axes(shapes, TIME))
    if len(within) != len(calls):
        return calls  # the module does not run on a longer example: the trace says why
    calls = tuple(replace(call, within=inner) for call, inner in zip(calls, within, strict=True))
    several = [call for call in calls if batch and call.batch != growth.size(batch[0])]
    if all(call.within for call in several):
        return calls
    for call in several:
        if call.kind == LOOP and not call.within:
            raise UnsupportedModelError(
                f"{call.label} cannot stream: it has {call.batch} rows for a batch of "
                f"{growth.size(batch[0])}; keep the batch on an axis of its own, or export "
                "it without streaming"
            )
    layers = [call for call in calls if call.kind != LOOP]
    labels = [call.label for call in layers]
    rows = find_rows(growth.module, growth.signature, growth.example, batch, labels)
    found = [None if call.within else each for call, each in zip(layers, rows, strict=True)]
    return tuple(replace(call, rows=each) for call, each in itertools.zip_longest(calls, found))


def _refuse_unrolled(module: nn.Module, calls: Sequence[ProbedCall], trials: Trials) -> None:
    """Refuse a Python loop over an input's axis that the trace would blame on another line."""
    cells = not any(call.over_time for call in calls)
    layers = [call for call in calls if call.kind != LOOP and not call.cell]
    paths = [call.path for call in layers]
    several = [call for call in layers if paths.count(call.path) > 1]
    if (cells or several) and trials.unrolled():
        raise UnsupportedModelError(
            nothing_recurrent(module)
            if cells
            else unrolled(several[0].label, ONNX_NAME[several[0].kind])
        )


def _refuse_unstreamable(calls: Sequence[ProbedCall]) -> None:
    """Refuse a call that no state can carry; it is blamed before what it does inside is."""
    for call in calls:
        if call.within:
            continue
        if call.obstacle:
            raise UnsupportedModelError(
                f"{call.label} {call.obstacle}; export it without streaming"
            )
        if call.bidirectional:
            raise UnsupportedModelError(
                f"the bidirectional {ONNX_NAME[call.kind]} of {call.label} cannot stream: its "
                "backward direction needs the whole sequence; export it without streaming"
            )


def _carried(calls: Sequence[ProbedCall]) -> dict[str, str]:
    """The inputs that are a call's initial states, with the names under which they are lifted."""
    taken = (zip(call.taken_from, call.names, strict=True) for call in calls if call.taken)
    pairs = (pair for pairs in taken for pair in pairs)
    return {given: lifting.input_names([name])[0] for given, name in pairs}


def _batch_led(calls: Sequence[ProbedCall]) -> frozenset[str]:
    """The inputs that are a cell's states, whose batch is on axis 0 as a file has it."""
    return frozenset(name for call in calls if call.batch_led for name in call.taken_from)


def _counts(calls: Sequence[ProbedCall]) -> set[str]:
    """The inputs that are a number of steps."""
    return {name for call in calls for name in call.counts}


def _state_input(state: StateSpec) -> TensorSpec:
    return TensorSpec(state.input, state.dtype, state.shape, place(state.shape, BATCH))
