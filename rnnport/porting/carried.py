"""What a streaming file carries from call to call beyond the states of recurrent calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from rnnport.porting.context import Context, ContextTable
from rnnport.porting.kept import KeptTensor
from rnnport.porting.rows import Rows


@dataclass(frozen=True)
class Carried:
    """The tensors that a module keeps, and the frames that its causal paddings need.

    ``kept`` matters without streaming too: it says where the module begins. ``rows`` are of calls
    that have several for each row of the batch, by the name of their first state.
    """

    kept: tuple[KeptTensor, ...] = ()
    contexts: tuple[Context, ...] = ()
    rows: Mapping[str, Rows] = field(default_factory=dict)

    def inputs(self) -> set[str]:
        """The graph inputs of these states; all others belong to recurrent calls."""
        return {each.input for each in self.kept} | {each.input for each in self.contexts}

    def table(self, states: Mapping[str, Tensor], lengths: Tensor | None) -> ContextTable:
        """What answers the padded calls of one forward."""
        return ContextTable(self.contexts if states else (), states, lengths)


NOTHING = Carried()
