"""Recognising every recurrent call of a module's forward, whoever makes it."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnport.errors import UnsupportedModelError
from rnnport.porting.cells import CELLS, as_layer
from rnnport.porting.recurrent import ASIDE, RUNNER, Loop, run

KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
LOOP = "loop"  # the kind of a run of a cell by Recurrent
STATE_LETTERS = {"lstm": ("h", "c"), "gru": ("h",), "rnn_tanh": ("h",), "rnn_relu": ("h",)}


@dataclass(frozen=True)
class RecurrentCall:
    """The arguments of one ``torch.lstm``, ``gru``, ``rnn_tanh`` or ``rnn_relu`` call.

    A bare call of a cell is a layer over one step. ``x`` is [time, batch, features],
    [batch, time, features] where ``batch_first``, or a packed sequence's data [rows, features]
    where ``batch_sizes`` is given; ``states`` are [layers × directions, batch, hidden].
    """

    kind: str
    path: str  # the calling module's path, "" for the exported module itself
    occurrence: int  # 0 for the first call from that path, 1 for the second, …
    x: Tensor
    batch_sizes: Tensor | None
    states: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    has_bias: bool
    layers: int
    dropout: float
    train: bool
    bidirectional: bool
    batch_first: bool
    batched: bool = True  # False: nn.LSTM and its like were given [time, features]
    cell: bool = False

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def projected(self) -> bool:
        """Whether it is an LSTM with ``proj_size``, so that its h is narrower than its c."""
        per_layer = (4 if self.has_bias else 2) * self.directions
        return len(self.weights) != per_layer * self.layers

    @property
    def label(self) -> str:
        """How a message names the calling module."""
        return f"'{self.path}'" if self.path else "the module itself"

    def require_layers(self) -> None:
        """Refuse states for another number of layers, on which torch ends the process.

        Raises:
            ValueError: a state's first axis is not layers × directions.
        """
        wanted = self.layers * self.directions
        for state in self.states:
            if state.shape[0] != wanted:
                raise ValueError(
                    f"{self.label} has {wanted} layers × directions and is given a state for "
                    f"{state.shape[0]}"
                )

    def layer_weights(self, layer: int) -> list[tuple[Tensor, ...]]:
        """Torch's weights of each direction of a layer: w_ih, w_hh, b_ih, b_hh, w_hr.

        The biases and the projection w_hr are there where the call has them.
        """
        per_direction = (4 if self.has_bias else 2) + (1 if self.projected else 0)
        first = layer * self.directions
        starts = [(first + d) * per_direction for d in range(self.directions)]
        return [self.weights[start : start + per_direction] for start in starts]

    def taken(self, state: Tensor) -> Tensor:
        """A file's state [batch, …] as the call takes it: [layers × directions, batch, hidden]."""
        return state.unsqueeze(0) if self.cell else state.transpose(0, 1)

    def given(self, final: Tensor) -> Tensor:
        """A final state as a file gives it: [batch, layers × directions, hidden].

        A cell's lacks the axis in the middle.
        """
        return final.squeeze(0) if self.cell else final.transpose(0, 1)

    def arguments(self, states: Sequence[Tensor]) -> tuple[Any, ...]:
        """The call's arguments for torch's own function, with other states."""
        hx = tuple(states) if self.kind == "lstm" else states[0]
        settings = (self.has_bias, self.layers, self.dropout, self.train, self.bidirectional)
        if self.batch_sizes is not None:
            return (self.x, self.batch_sizes, hx, list(self.weights), *settings)
        return (self.x, hx, list(self.weights), *settings, self.batch_first)


@dataclass(frozen=True)
class LoopCall:
    """One run of a cell over time by ``Recurrent``."""

    path: str
    occurrence: int
    loop: Loop

    @property
    def label(self) -> str:
        """How a message names it."""
        return f"the Recurrent '{self.path}'" if self.path else "the Recurrent itself"

    @property
    def states(self) -> tuple[Tensor, ...]:
        """The states that it begins from, each [batch, …]."""
        return self.loop.carry[: self.loop.state]


class RecurrentMode(TorchFunctionMode):
    """Sees every torch function call of this thread, and hands recurrent ones to ``recurrent``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # by their attributes: where a module has two names, torch's tracer hands out proxies of
        # every module, which share these
        self._paths: dict[int, str] = {}
        for path, each in module.named_modules():
            self._paths.setdefault(id(vars(each)), path)
        self._seen: Counter[str] = Counter()
        self._in_loop = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in KINDS and inspect.isbuiltin(func):
            self._refuse_in_loop(name)
            call = self._call(name, args, kwargs or {})
            call.require_layers()
            return self.recurrent(call, func)
        if name in CELLS and inspect.isbuiltin(func) and not (self._in_loop or ASIDE.get()):
            _, *finals = self.recurrent(self._cell_call(name, args), as_layer(func))
            states = tuple(final.squeeze(0) for final in finals)
            return states if CELLS[name] == "lstm" else states[0]
        return self.other(name, func, tuple(args), dict(kwargs or {}))

    def recurrent(self, call: RecurrentCall, func: Callable[..., Any]) -> Any:
        """Answer a recurrent call."""
        raise NotImplementedError

    def other(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer any other call."""
        return func(*args, **kwargs)

    def __enter__(self) -> Self:
        self._token = RUNNER.set(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        RUNNER.reset(self._token)
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def loop(self, loop: Loop) -> tuple[list[Tensor], list[Tensor]]:
        """Answer a ``Recurrent``; one inside another's cell is part of its step."""
        path, _ = self._caller()
        if self._in_loop or loop.aside:
            return self.nested(loop)
        call = LoopCall(path, self._seen[path], loop)
        self._seen[path] += 1
        self._in_loop = True
        try:
            return self.looped(call)
        finally:
            self._in_loop = False

    def looped(self, call: LoopCall) -> tuple[list[Tensor], list[Tensor]]:
        """Answer a run of a cell over time."""
        return run(call.loop)

    def nested(self, loop: Loop) -> tuple[list[Tensor], list[Tensor]]:
        """Answer a run that is part of another's step, or only asked for its shapes."""
        return run(loop)

    def _refuse_in_loop(self, kind: str) -> None:
        if self._in_loop:
            name = kind.upper().split("_")[0]
            raise UnsupportedModelError(
                f"the cell of a Recurrent calls a whole {name}; a step takes nn.{name}Cell"
            )

    def _call(self, kind: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> RecurrentCall:
        if kwargs:
            raise UnsupportedModelError(
                f"torch.{kind} is called with keyword arguments; pass them by position"
            )
        path, batched = self._caller()
        occurrence = self._seen[path]
        self._seen[path] += 1
        # the packed overload has batch_sizes second, where the other one has the states
        packed = isinstance(args[3], list | tuple)
        x, batch_sizes = args[0], args[1] if packed else None
        hx, weights, *settings = args[2:] if packed else args[1:]
        states = tuple(hx) if isinstance(hx, list | tuple) else (hx,)
        batch_first = False if packed else settings.pop()
        has_bias, layers, dropout, train, bidirectional = settings
        return RecurrentCall(
            kind=kind,
            path=path,
            occurrence=occurrence,
            x=x,
            batch_sizes=batch_sizes,
            states=states,
            weights=tuple(weights),
            has_bias=has_bias,
            layers=layers,
            dropout=dropout,
            train=train,
            bidirectional=bidirectional,
            batch_first=batch_first,
            batched=batched,
        )

    def _cell_call(self, name: str, args: Sequence[Any]) -> RecurrentCall:
        x, hx, *weights = args
        path, batched = self._caller()
        occurrence = self._seen[path]
        self._seen[path] += 1
        given = [weight for weight in weights if weight is not None]
        states = hx if isinstance(hx, list | tuple) else (hx,)
        return RecurrentCall(
            kind=CELLS[name],
            path=path,
            occurrence=occurrence,
            x=x.unsqueeze(0),
            batch_sizes=None,
            states=tuple(self.viewed(state, state.unsqueeze(0)) for state in states),
            weights=tuple(given),
            has_bias=len(given) > 2,
            layers=1,
            dropout=0.0,
            train=False,
            bidirectional=False,
            batch_first=False,
            batched=batched,
            cell=True,
        )

    def viewed(self, tensor: Tensor, view: Tensor) -> Tensor:
        """Take note that two tensors hold the same values; the view."""
        return view

    def _caller(self) -> tuple[str, bool]:
        """The path of the innermost module whose method is running, and whether it has a batch."""
        frame = sys._getframe(2)
        while frame is not None:
            candidate = frame.f_locals.get("self")
            if isinstance(candidate, nn.Module) and id(vars(candidate)) in self._paths:
                # nn.LSTM, GRU and RNN note in this local that they made a batch of one
                return self._paths[id(vars(candidate))], frame.f_locals.get("is_batched", True)
            frame = frame.f_back  # type: ignore[assignment]
        return "", True
