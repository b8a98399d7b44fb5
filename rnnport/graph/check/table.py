"""The one table of rules: every id, in the order in which repairs are made."""

from __future__ import annotations

from collections.abc import Collection

from rnnport.errors import RequestError
from rnnport.graph.check.rule import Rule
from rnnport.graph.check.rules import (
    cuda,
    dead_state,
    dtypes,
    external,
    folded,
    frozen_input,
    frozen_shape,
    frozen_state,
    gru_reset,
    layout,
    lengths,
    loops,
    metadata,
    missing,
    quantized,
    sizes,
    state_names,
    unrolled,
    weights,
)

# Weights and constants are repaired first, so that the other repairs see what is constant; what
# is inside a graph comes before its interface, and the description of the interface last.
RULES: tuple[Rule, ...] = (
    external.RULE,
    weights.RULE,
    folded.RULE,
    loops.RULE,
    gru_reset.RULE,
    layout.RULE,
    frozen_shape.RULE,
    frozen_state.RULE,
    frozen_input.RULE,
    dead_state.RULE,
    state_names.RULE,
    metadata.RULE,
    sizes.RULE,
    unrolled.RULE,
    quantized.RULE,
    lengths.RULE,
    cuda.RULE,
    missing.RULE,
    dtypes.RULE,
)
BY_ID = {rule.id: rule for rule in sorted(RULES, key=lambda rule: rule.id)}


def choose(select: Collection[str], ignore: Collection[str]) -> tuple[Rule, ...]:
    """The rules to run: ``select`` (all where empty) without ``ignore``; "RNN1" means RNN1….

    Raises:
        RequestError: an id that no rule has.
    """
    for wish in (*select, *ignore):
        if not any(_meant(rule, wish) for rule in RULES):
            raise RequestError(f"there is no rule '{wish}'; there are {', '.join(BY_ID)}")
    chosen = [r for r in RULES if not select or any(_meant(r, wish) for wish in select)]
    return tuple(rule for rule in chosen if not any(_meant(rule, wish) for wish in ignore))


def explain(rule_id: str) -> str:
    """A rule in words: what it finds, why it matters, how it is repaired.

    Raises:
        RequestError: an id that no rule has.
    """
    rule = BY_ID.get(rule_id.upper())
    if rule is None:
        raise RequestError(f"there is no rule '{rule_id}'; there are {', '.join(BY_ID)}")
    asked = f"\nOnly with --target {', '.join(sorted(rule.targets))}." if rule.targets else ""
    return (
        f"{rule.id} ({rule.severity.value}): {rule.title}{asked}\n\n{rule.why}\n\n"
        f"Repair: {rule.remedy}"
    )


def _meant(rule: Rule, wish: str) -> bool:
    return bool(wish) and rule.id.startswith(wish.upper())
