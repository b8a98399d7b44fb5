"""The states that a file promises: the author's own, and those that are lifted out of a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from rnnport.errors import RequestError, UnsupportedModelError
from rnnport.porting import states as lifting
from rnnport.porting.axes import BATCH
from rnnport.porting.carried import NOTHING, Carried
from rnnport.porting.context import Context
from rnnport.porting.kept import KeptTensor
from rnnport.porting.probe import ProbedCall
from rnnport.spec import Dim, StateSpec


def told_states(
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


def own_states(
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
        if call.within or (call.given and not call.taken):
            continue  # begins anew at every step; computed in forward: from another layer, say
        names = zip(lifting.input_names(call.names), lifting.output_names(call.names), strict=True)
        dtypes = call.dtypes or ("float32",) * len(call.names)
        for (taken, left), dtype, size, initial in zip(
            names, dtypes, call.sizes, call.initials, strict=True
        ):
            each = () if call.rows is None else (call.rows.each,)
            shape: tuple[Dim, ...] = (BATCH if call.batched else 1, *each, *size)
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
