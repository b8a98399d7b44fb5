"""``Recurrent``: any cell, run over time; it trains like any module and exports as one Scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rnnport.errors import MissingExtraError

try:
    import torch
    from torch import Tensor, nn
    from torch.utils import _pytree as pytree
except (
    ImportError
) as error:  # rnnport.Recurrent is a public name: whoever lacks torch meets it here
    raise MissingExtraError("torch", "train", "running a cell over time") from error

Tensors = Sequence[Tensor]


@dataclass(frozen=True)
class Loop:
    """One run of a cell: ``step(carry, slices)`` gives the next carry and the step's answers.

    ``carry`` begins the loop, each [batch, …]; ``xs`` are what it runs over, each [time, …], at
    least one; ``state`` is how many of ``carry`` are the cell's state.
    """

    step: Callable[[Tensors, Tensors], tuple[list[Tensor], list[Tensor]]]
    carry: tuple[Tensor, ...]
    xs: tuple[Tensor, ...]
    state: int
    given: bool  # the caller gave the state; else it is zeros, or the cell's own first one
    steps: Tensor | None
    fed_back: bool
    reverse: bool
    aside: bool  # run only to learn the shape of a first state

    def begun_from(self, states: Tensors) -> Loop:
        """The same loop, begun from these states, where there are any."""
        return replace(self, carry=(*states, *self.carry[self.state :])) if states else self


class Runner(Protocol):
    """Who runs loops: an export listens here for the calls of ``Recurrent``."""

    def loop(self, loop: Loop) -> tuple[list[Tensor], list[Tensor]]:
        """The last carry, and each of the step's answers as [time, …]."""


ASIDE: ContextVar[bool] = ContextVar("aside", default=False)
RUNNER: ContextVar[Runner | None] = ContextVar("runner", default=None)


class Recurrent(nn.Module):
    """Runs a cell over time, as ``nn.LSTM`` runs its own.

    The cell takes ``(x_t, state)`` and answers the next state, or ``(y_t, state)``: an
    ``nn.LSTMCell``, ``GRUCell``, ``RNNCell``, or any module or function of your own. A state is a
    tensor [batch, …] or a tuple of such; where the cell answers its state alone, ``y_t`` is the
    first tensor of it. What else the cell needs, an attention's memory for instance, it may take
    by name (``recurrent(x, state, memory=memory)``) or hold as an attribute.

    In an exported file the loop is one ONNX ``Scan``, with batch and time symbolic.
    """

    def __init__(self, cell: Callable[..., Any]) -> None:
        super().__init__()
        self.cell = cell

    def forward(
        self,
        x: Any = None,
        state: Any = None,
        lengths: Tensor | None = None,
        reverse: bool = False,
        *,
        steps: int | Tensor | None = None,
        start: Tensor | None = None,
        **given: Any,
    ) -> tuple[Any, Any]:
        """Run over ``x``, or feed the answer back for a number of steps.

        Args:
            x: [batch, time, …], or a tuple of such; None feeds each answer back as the next input.
            state: what the cell takes; None is ``cell.initial_state(x_t)`` where the cell has that
                method, else zeros.
            lengths: each row's true length [batch]: answers past it are zero, and the final state
                is the one at the true end.
            reverse: run from the end, of each row where lengths are given, to the start.
            steps: how many steps to feed back; a tensor makes it an input of the exported file.
            start: the first input when feeding back, [batch, …]; zeros where not given.
            given: passed to the cell by name at every step.

        Returns:
            y [batch, time, …], as the cell nests it, and the final state.

        Raises:
            ValueError: the arguments contradict each other, or nothing tells the first state.
            TypeError: the cell answers neither a state nor ``(y_t, state)``.
        """
        xs, tree, first = _inputs(
            self.cell, x, steps, start, state, reverse, counted=lengths is not None
        )
        cell = _Named(self.cell, given)
        began = _first_state(cell, first, state)
        read = _Reader(cell, tree, began, fed_back=x is None, lengths=lengths)
        carry = (*read.leaves, *([first] if x is None else []))
        loop = Loop(
            step=read.step,
            carry=carry,
            xs=tuple(each.flip(0) for each in xs) if reverse else xs,
            state=len(read.leaves),
            given=state is not None,
            steps=steps if isinstance(steps, Tensor) else None,
            fed_back=x is None,
            reverse=reverse,
            aside=ASIDE.get(),
        )
        runner = RUNNER.get()
        last, ys = run(loop) if runner is None else runner.loop(loop)
        if reverse:
            ys = [y.flip(0) for y in ys]
        y = pytree.tree_unflatten([y.transpose(0, 1) for y in ys], read.answers)
        return y, pytree.tree_unflatten(last[: len(read.leaves)], read.states)


def run(loop: Loop) -> tuple[list[Tensor], list[Tensor]]:
    """Run a loop step by step."""
    carry, rows = list(loop.carry), []
    for slices in zip(*(each.unbind(0) for each in loop.xs), strict=True):
        carry, ys = loop.step(carry, slices)
        rows.append(ys)
    return carry, [torch.stack(each) for each in zip(*rows, strict=True)]


@dataclass(frozen=True)
class _Named:
    """A cell with what it takes by name at every step."""

    cell: Callable[..., Any]
    given: dict[str, Any]

    @property
    def label(self) -> str:
        return getattr(self.cell, "__name__", type(self.cell).__name__)

    def __call__(self, x: Any, state: Any) -> Any:
        return self.cell(x, state, **self.given)


class _Reader:
    """Turns a cell into a step over flat tensors; knows its answer's nesting after one step."""

    def __init__(
        self, cell: _Named, tree: Any, state: Any, *, fed_back: bool, lengths: Tensor | None
    ) -> None:
        self._cell, self._tree = cell, tree
        self._fed_back, self._lengths = fed_back, lengths
        self.leaves, self.states = pytree.tree_flatten(state)
        if not self.leaves or not all(isinstance(leaf, Tensor) for leaf in self.leaves):
            raise TypeError(f"the state of {cell.label} must be a tensor, or a tuple of tensors")
        self.answers: Any = None

    def step(self, carry: Tensors, slices: Tensors) -> tuple[list[Tensor], list[Tensor]]:
        """One step: the cell's, held still in the rows that have ended."""
        n = len(self.leaves)
        counted = self._fed_back or self._lengths is not None
        inputs = slices[:-1] if counted else slices
        x = carry[n] if self._fed_back else pytree.tree_unflatten(list(inputs), self._tree)
        answer = self._cell(x, pytree.tree_unflatten(list(carry[:n]), self.states))
        y, state = _split(self._cell, answer, n)
        ys, self.answers = pytree.tree_flatten(y)
        after = [*pytree.tree_leaves(state), *([ys[0]] if self._fed_back else [])]
        if self._fed_back and ys[0].shape[1:] != carry[n].shape[1:]:
            raise ValueError(
                f"{self._cell.label} answers {list(ys[0].shape)}, which cannot be fed back as its "
                f"input {list(carry[n].shape)}"
            )
        if self._lengths is None:
            return after, ys
        live = slices[-1] < self._lengths  # [batch]
        held = [_where(live, new, old) for new, old in zip(after, carry, strict=True)]
        return held, [_where(live, each, torch.zeros_like(each)) for each in ys]


def _where(live: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(live.reshape(-1, *[1] * (new.dim() - 1)), new, old)


def _inputs(
    cell: Any, x: Any, steps: Any, start: Tensor | None, state: Any, reverse: bool, counted: bool
) -> tuple[tuple[Tensor, ...], Any, Any]:
    """What the loop runs over, its nesting, the first input; a count of steps comes last."""
    if x is not None:
        if steps is not None or start is not None:
            raise ValueError("steps and start are for x=None, which feeds the answer back")
        leaves, tree = pytree.tree_flatten(x)
        if not all(isinstance(leaf, Tensor) and leaf.dim() > 1 for leaf in leaves):
            raise ValueError("x must be a tensor [batch, time, …], or a tuple of such")
        across = tuple(leaf.transpose(0, 1) for leaf in leaves)
        first = pytree.tree_unflatten([each[0] for each in across], tree)
        if not counted:
            return across, tree, first
        time = torch.arange(across[0].shape[0], device=across[0].device)
        return (*across, time), tree, first
    if steps is None:
        raise ValueError("x is None, which feeds the answer back: say for how many steps=…")
    if reverse:
        raise ValueError("what is fed back cannot run in reverse")
    first = _first_input(cell, state) if start is None else start
    count = steps.item() if isinstance(steps, Tensor) else steps
    if isinstance(count, torch.SymInt):
        torch._check(count >= 1)  # type: ignore[no-untyped-call]
    elif count < 1:
        raise ValueError(f"steps is {count}; at least one is needed")
    return (torch.arange(count, device=first.device),), None, first


def _first_input(cell: Any, state: Any) -> Tensor:
    size = getattr(cell, "input_size", None)
    if state is None or not isinstance(size, int):
        raise ValueError("x is None: give the first input as start=…, a tensor [batch, …]")
    leaf: Tensor = pytree.tree_leaves(state)[0]
    return leaf.new_zeros(leaf.shape[0], size)


def _first_state(cell: _Named, x: Any, state: Any) -> Any:
    """The state to begin from: the one given, the cell's own, or zeros like those it answers."""
    if state is not None:
        return state
    own = getattr(cell.cell, "initial_state", None)
    if own is not None:
        return own(x)
    outside = ASIDE.set(True)
    try:
        with torch.no_grad():
            answer = cell(x, None)
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{cell.label} does not run without a state ({error}): pass state=…, or give it a "
            "method initial_state(x_t) that makes one for x_t [batch, features]"
        ) from error
    finally:
        ASIDE.reset(outside)
    # sizes, not the answer itself: in a trace this step then leaves nothing behind
    return pytree.tree_map(lambda leaf: leaf.new_zeros(leaf.shape), _state_of(cell, answer))


def _state_of(cell: _Named, answer: Any) -> Any:
    """The state in the answer to a call without one."""
    if isinstance(answer, Tensor) or isinstance(cell.cell, nn.RNNCellBase):
        return answer
    if isinstance(answer, tuple) and len(answer) == 2 and not isinstance(answer[1], Tensor):
        return answer[1]
    raise ValueError(
        f"{cell.label} was given no state, and its answer does not tell a state from (y_t, state): "
        "pass state=…, or give it a method initial_state(x_t)"
    )


def _split(cell: _Named, answer: Any, state: int) -> tuple[Any, Any]:
    """``y_t`` and the next state, of which there are ``state`` tensors."""
    leaves = pytree.tree_leaves(answer)
    if all(isinstance(leaf, Tensor) for leaf in leaves):
        if len(leaves) == state:
            return leaves[0], answer
        pair = isinstance(answer, tuple | list) and len(answer) == 2
        if pair and len(pytree.tree_leaves(answer[1])) == state:
            return answer[0], answer[1]
    raise TypeError(
        f"{cell.label} answers neither its next state, of {state} tensors like the one it was "
        f"given, nor (y_t, state); it answers {_shown(answer)}"
    )


def _shown(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return f"a tensor {list(answer.shape)}"
    if isinstance(answer, tuple | list):
        return f"({', '.join(_shown(each) for each in answer)})"
    return type(answer).__name__
