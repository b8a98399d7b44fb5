"""A module with everything that is known of it before the trace: names, axes, states, calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from rnnport.errors import RequestError, UnsupportedModelError
from rnnport.porting import states as lifting
from rnnport.porting.axes import (
    BATCH,
    TIME,
    leading,
    lengths_input,
    other_times,
    place,
    read_axes,
    tensor_spec,
)
from rnnport.porting.calls import LOOP
from rnnport.porting.carried import NOTHING, Carried
from rnnport.porting.causality import Rehearsal
from rnnport.porting.context import Context
from rnnport.porting.kept import KeptTensor
from rnnport.porting.obstacles import nothing_recurrent, unrolled
from rnnport.porting.probe import Probed, ProbedCall, own_step, probe
from rnnport.porting.recurrent_ops import ONNX_NAME
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
    told = _told(wishes.states or {}, example, answers)
    shapes = read_axes(trials, calls, wishes.axes(), told)
    contexts: tuple[Context, ...] = ()
    pooling, lengths = "", lengths_input(example, _lengths(wishes))
    least = trials.least({name: place(axes, TIME) for name, axes in shapes.items()}, lengths)
    if wishes.stream:
        _refuse_unstreamable(calls)
        rehearsal = Rehearsal(module, signature, example, shapes, probed.kept)
        contexts, pooling = rehearsal.contexts(), rehearsal.pooling()
    carried = Carried(probed.kept, contexts)
    own = _own_states(told, example, shapes, dict(zip(answers, found.values(), strict=True)))
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
    tensors = [
        known.get(name)
        or tensor_spec(name, tensor, shapes[name], low=1 if name in counts else None)
        for name, tensor in example.items()
    ]
    return ModelSpec(
        inputs=(*tensors, *(_state_input(state) for state in lifted)),
        outputs=(),
        states=(*own, *lifted),
        lengths=lengths_input(example, _lengths(wishes)),
    )


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
        if call.obstacle:
            raise UnsupportedModelError(
                f"{call.label} {call.obstacle}; export it without streaming"
            )
        if call.bidirectional:
            raise UnsupportedModelError(
                f"the bidirectional {ONNX_NAME[call.kind]} of {call.label} cannot stream: its "
                "backward direction needs the whole sequence; export it without streaming"
            )


def _told(
    states: Mapping[str, str], example: Mapping[str, Tensor], answers: Sequence[str]
) -> dict[str, str]:
    """The author's own states: input → output."""
    for kind, names, known in (
        ("input", states.keys(), tuple(example)),
        ("output", states.values(), tuple(answers)),
    ):
        for name in names:
            if name not in known:
                raise RequestError(
                    f"states: there is no {kind} '{name}'; there are {', '.join(known)}"
                )
    if len(set(states.values())) < len(states):
        raise RequestError("states: two of them have one output; each has its own successor")
    return dict(states)


def _own_states(
    told: Mapping[str, str],
    example: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[Dim]],
    answers: Mapping[str, Tensor],
) -> tuple[StateSpec, ...]:
    """What a file says of the states that the author's own inputs and outputs are."""
    own = []
    for taken, left in told.items():
        before, after = example[taken], answers[left]
        if before.shape != after.shape or before.dtype != after.dtype:
            raise RequestError(
                f"states: '{left}' {list(after.shape)} of {after.dtype} is no successor of "
                f"'{taken}' {list(before.shape)} of {before.dtype}"
            )
        dtype = str(before.dtype).split(".")[1]
        own.append(StateSpec(taken, left, dtype, tuple(shapes[taken])))
    return tuple(own)


def lifted_states(
    calls: Sequence[ProbedCall], carried: Carried = NOTHING, others: bool = False
) -> tuple[StateSpec, ...]:
    """The states that a streaming file takes and gives: those of every call, unless computed.

    What the module keeps itself from call to call comes first, then the frames that its causal
    paddings need.

    Raises:
        UnsupportedModelError: no state is left to carry.
    """
    states = [*map(_kept_state, carried.kept), *map(_context_state, carried.contexts)]
    for call in calls:
        if call.given and not call.taken:
            continue  # computed in forward: from another layer, say
        names = zip(lifting.input_names(call.names), lifting.output_names(call.names), strict=True)
        dtypes = call.dtypes or ("float32",) * len(call.names)
        for (taken, left), dtype, size, initial in zip(
            names, dtypes, call.sizes, call.initials, strict=True
        ):
            shape: tuple[Dim, ...] = (BATCH if call.batched else 1, *size)
            states.append(StateSpec(taken, left, dtype, shape, 0.0 if initial is None else initial))
    if not states and not others:
        raise UnsupportedModelError(
            "every recurrent state is computed in forward, so there is none to carry from call to "
            "call; export it without streaming"
        )
    return tuple(states)


def _kept_state(kept: KeptTensor) -> StateSpec:
    dtype = str(kept.dtype).split(".")[1]
    return StateSpec(kept.input, kept.output, dtype, kept.state_shape(BATCH), kept.initial)


def _context_state(context: Context) -> StateSpec:
    row = tuple(n for axis, n in enumerate(context.shape) if axis != context.batch_axis)
    shape: tuple[Dim, ...] = (1 if context.batch_axis is None else BATCH, *row)
    dtype = str(context.dtype).split(".")[1]
    return StateSpec(context.input, context.output, dtype, shape, context.value)


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
