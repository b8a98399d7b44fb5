"""The names, shapes and first values of the states that a recurrent call carries."""

from __future__ import annotations

from collections.abc import Sequence

from rnnport.porting.calls import STATE_LETTERS, LoopCall, RecurrentCall

INPUT_PREFIX = "state"
OUTPUT_PREFIX = "next"


def state_names(call: RecurrentCall | LoopCall) -> tuple[str, ...]:
    """What follows the prefix in the names of a call's states: ``encoder.rnn.h``, ``….1.c``.

    Inputs and outputs differ in the prefix alone, so that both sort in the same order.
    """
    parts = [call.path] if call.path else []
    parts += [str(call.occurrence)] if call.occurrence else []
    return tuple(".".join([*parts, letter]) for letter in _letters(call))


def _letters(call: RecurrentCall | LoopCall) -> tuple[str, ...]:
    if isinstance(call, RecurrentCall):
        return STATE_LETTERS[call.kind]
    states = len(call.states)
    return ("h", "c")[:states] if states <= 2 else tuple(map(str, range(states)))


def input_names(names: Sequence[str]) -> tuple[str, ...]:
    """The graph inputs that take states of these names."""
    return tuple(f"{INPUT_PREFIX}.{name}" for name in names)


def output_names(names: Sequence[str]) -> tuple[str, ...]:
    """The graph outputs that give the successors of states of these names."""
    return tuple(f"{OUTPUT_PREFIX}.{name}" for name in names)
