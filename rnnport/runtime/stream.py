"""Running a streaming file piece by piece, its states kept from one piece to the next."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rnnport.errors import DataError, RequestError, StreamError
from rnnport.runtime import inputs
from rnnport.runtime.engine import Array, Arrays
from rnnport.runtime.ort import OrtEngine
from rnnport.spec import TensorSpec


@dataclass(frozen=True)
class Snapshot:
    """The states of a stream at one moment, by input name: read-only copies."""

    states: Mapping[str, Array]


class Keeper(Protocol):
    """Where a stream's states are kept between two calls; none is ever changed in place."""

    def keep(self, arrays: Arrays) -> Mapping[str, Any]:
        """Take states from host arrays."""
        ...

    def show(self, states: Mapping[str, Any]) -> dict[str, Array]:
        """Give states as host arrays."""
        ...

    def step(
        self, feeds: Arrays, states: Mapping[str, Any]
    ) -> tuple[dict[str, Array], Mapping[str, Any]]:
        """Run once: the answers, and the successors of the states."""
        ...


class HostKeeper:
    """Keeps states as NumPy arrays."""

    def __init__(self, engine: OrtEngine) -> None:
        self._engine = engine
        self._pairs = [(state.output, state.input) for state in engine.spec().states]

    def keep(self, arrays: Arrays) -> Mapping[str, Any]:
        return dict(arrays)

    def show(self, states: Mapping[str, Any]) -> dict[str, Array]:
        return dict(states)

    def step(
        self, feeds: Arrays, states: Mapping[str, Any]
    ) -> tuple[dict[str, Array], Mapping[str, Any]]:
        outputs = self._engine.run({**feeds, **states})
        return outputs, {name: outputs.pop(successor) for successor, name in self._pairs}


class DeviceKeeper:
    """Keeps states on the engine's device, by ONNX Runtime's IO binding: no copy between calls."""

    def __init__(self, engine: OrtEngine) -> None:
        self._engine = engine
        self._pairs = {state.output: state.input for state in engine.spec().states}

    def keep(self, arrays: Arrays) -> Mapping[str, Any]:
        return {name: self._engine.place(array) for name, array in arrays.items()}

    def show(self, states: Mapping[str, Any]) -> dict[str, Array]:
        return {name: value.numpy() for name, value in states.items()}

    def step(
        self, feeds: Arrays, states: Mapping[str, Any]
    ) -> tuple[dict[str, Array], Mapping[str, Any]]:
        return self._engine.run_bound(feeds, states, self._pairs)


class Stream:
    """A batch of sequences that arrive over time; it belongs to one thread.

    A refused or failed ``push`` leaves the states as they were.
    """

    def __init__(self, engine: OrtEngine, batch: int = 1, keeper: Keeper | None = None) -> None:
        """Begin at the initial states; see :meth:`rnnport.runtime.session.Session.stream`."""
        self.spec = engine.spec()
        if not self.spec.streaming:
            raise RequestError(
                "this model file holds no states and cannot stream; "
                "'rnnport export RUN --stream' writes one that can"
            )
        self.batch = _whole_number(batch)
        inputs.refuse_batch(self.spec, self.batch)
        self._data = self.spec.data_inputs()
        self._answers = self.spec.answers()
        on_host = engine.device == "cpu"
        self._keeper = keeper or (HostKeeper(engine) if on_host else DeviceKeeper(engine))
        self._states = self._keeper.keep(self._initial())

    def push(self, x: Array | Arrays, lengths: Array | None = None) -> Array | dict[str, Array]:
        """Feed the next piece of every sequence and answer it.

        Numbers are not checked for NaN: ONNX Runtime's LSTM on the CPU may swallow one and give a
        finite, plausible answer, where PyTorch gives NaN. (Files of data are checked as they are
        read.)

        Args:
            x: ``[batch, time, features]``, a piece; ``[batch, features]``, one step; or
                ``[features]``, one step of the only sequence. Several inputs come by name.
            lengths: where the file takes them, each row's steps in this piece ``[batch]``; a row
                of length 0 keeps its state.

        Returns:
            the answer, in the form of ``x``: with a time axis for a piece, without for one step;
            a dict by name where the file gives several.

        Raises:
            StreamError: batch, width, dtype, time or lengths do not fit; the states are untouched.
            UnavailableError: the engine failed while it ran; the states are untouched.
        """
        try:
            feeds, left_out = self._feeds(x, lengths)
            outputs, states = self._keeper.step(feeds, self._states)
        except DataError as error:
            raise StreamError(str(error)) from error
        self._states = self._with_ended(feeds, states)
        answers = {
            tensor.name: _in_form(outputs[tensor.name], tensor, left_out)
            for tensor in self._answers
        }
        return answers if len(answers) > 1 else next(iter(answers.values()))

    def reset(self, rows: Sequence[int] | Array | None = None) -> None:
        """Begin anew: all sequences, or those of these rows.

        Args:
            rows: row numbers, or a mask of booleans ``[batch]`` that is true for rows to reset.

        Raises:
            StreamError: a row is not one of 0 … batch - 1, or the file does not say which axis of
                a state its rows are; the states are untouched.
        """
        fresh = self._initial()
        if rows is not None:
            chosen = self._rows(rows)
            fresh = self._mixed(self._keeper.show(self._states), fresh, chosen)
        self._states = self._keeper.keep(fresh)

    def snapshot(self) -> Snapshot:
        """The states as they are now, to go back to with :meth:`restore`."""
        states = {name: np.array(value) for name, value in self._keeper.show(self._states).items()}
        for array in states.values():
            array.flags.writeable = False
        return Snapshot(states)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of this stream, or of another of the same model and batch.

        Raises:
            StreamError: it is no snapshot, or of another model or batch; the states are untouched.
        """
        if not isinstance(snapshot, Snapshot):
            raise StreamError(
                f"restore takes what snapshot() gave, and not {type(snapshot).__name__}"
            )
        expected = {name: (value.shape, value.dtype) for name, value in self._initial().items()}
        found = {name: (value.shape, value.dtype) for name, value in snapshot.states.items()}
        if found != expected:
            raise StreamError(
                f"the snapshot holds {_listed(found)}; this stream has {_listed(expected)}"
            )
        self._states = self._keeper.keep({n: np.array(v) for n, v in snapshot.states.items()})

    def _initial(self) -> dict[str, Array]:
        return {s.input: inputs.initial_state(s, self.batch) for s in self.spec.states}

    def _with_ended(self, feeds: Arrays, states: Mapping[str, Any]) -> Mapping[str, Any]:
        """The new states, but the old ones of rows without a step, which not every file keeps."""
        if self.spec.lengths is None or feeds[self.spec.lengths].all():
            return states
        ended = np.flatnonzero(feeds[self.spec.lengths] == 0).tolist()
        before, after = self._keeper.show(self._states), self._keeper.show(states)
        return self._keeper.keep(self._mixed(after, before, ended))

    def _mixed(self, states: Arrays, others: Arrays, rows: list[int]) -> dict[str, Array]:
        """The states, with these rows from the others."""
        mixed: dict[str, Array] = {}
        for state in self.spec.states:
            axis = self.spec.batch_axis(state)
            if axis is None:
                raise StreamError(
                    f"the file does not say which axis of the state '{state.input}' its rows are, "
                    "so that no single row can end or begin anew; reset() begins all of them anew"
                )
            place: tuple[Any, ...] = (*(slice(None),) * axis, rows)
            mixed[state.input] = states[state.input].copy()
            mixed[state.input][place] = others[state.input][place]
        return mixed

    def _rows(self, rows: Sequence[int] | Array) -> list[int]:
        try:
            array = np.asarray(rows)
        except ValueError as error:
            raise StreamError(f"rows: NumPy makes no array of it: {error}") from error
        if array.dtype.kind == "b" and array.shape == (self.batch,):
            array = np.flatnonzero(array)
        if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
            raise StreamError(
                f"rows are {array.dtype} {list(array.shape)}; expected a list of row numbers, or a "
                f"mask of booleans [{self.batch}]"
            )
        chosen: list[int] = array.tolist()
        for row in chosen:
            if not 0 <= row < self.batch:
                raise StreamError(
                    f"there is no row {row}; the stream has rows 0 to {self.batch - 1}"
                )
        return chosen

    def _feeds(self, x: Array | Arrays, lengths: Array | None) -> tuple[dict[str, Array], int]:
        """The arrays to run with, and how many axes (time, then batch) the caller left out."""
        given = dict(x) if isinstance(x, Mapping) else {self._data[0].name: x}
        inputs.named(given, {tensor.name: tensor for tensor in self._data})
        feeds: dict[str, Array] = {}
        forms: set[int] = set()
        for tensor in self._data:
            if tensor.name not in given:
                raise StreamError(f"the input '{tensor.name}' is missing: give a dict by name")
            array = inputs.exact(given[tensor.name], tensor)
            feeds[tensor.name], left_out = self._whole(array, tensor)
            forms |= set() if tensor.time_axis is None else {left_out}
        if len(forms) > 1:
            raise StreamError("some inputs are a piece and some are one step; give all alike")
        time = inputs.time_of(feeds, self.spec, self._data) or 1
        if self.spec.lengths is not None:
            dtype = next(t.dtype for t in self.spec.inputs if t.name == self.spec.lengths)
            feeds[self.spec.lengths] = (
                inputs.full_lengths(self.batch, time, dtype)
                if lengths is None
                else inputs.lengths_of(lengths, self.batch, time, least=0, dtype=dtype)
            )
        elif lengths is not None:
            raise StreamError("lengths were given, but the model has no such input")
        return feeds, forms.pop() if forms else 0

    def _whole(self, array: Array, tensor: TensorSpec) -> tuple[Array, int]:
        left_out = len(tensor.shape) - array.ndim
        axes = tuple(a for a in (tensor.time_axis, tensor.batch_axis)[:left_out] if a is not None)
        if 0 < left_out <= (2 if self.batch == 1 else 1) and len(axes) == left_out:
            array = np.expand_dims(array, axes)
        else:
            left_out = 0
        inputs.shaped(array, tensor)
        if tensor.batch_axis is not None and array.shape[tensor.batch_axis] != self.batch:
            found = array.shape[tensor.batch_axis]
            raise StreamError(
                f"the input '{tensor.name}' has batch {found}; this stream has batch {self.batch}: "
                f"session.stream(batch={found}) begins another"
            )
        return np.ascontiguousarray(array), left_out


def _whole_number(batch: int) -> int:
    try:
        number = operator.index(batch)
    except TypeError:
        number = 0
    if number < 1:
        raise RequestError(f"the stream's batch is {batch}; expected 1 or more, a whole number")
    return number


def _in_form(answer: Array, tensor: TensorSpec, left_out: int) -> Array:
    """Take the axes out of an answer that the caller left out of the input."""
    axes = (tensor.time_axis, tensor.batch_axis)[:left_out]
    return np.squeeze(answer, tuple(a for a in axes if a is not None and answer.shape[a] == 1))


def _listed(states: Mapping[str, tuple[tuple[int, ...], Any]]) -> str:
    return ", ".join(f"{name} {list(shape)} {dtype}" for name, (shape, dtype) in states.items())
