"""A loaded model file that answers whole sequences: ``load(path)``, then ``session(x)``."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rnnport.errors import DataError, DeviceError, RequestError
from rnnport.runtime import cuda, inputs
from rnnport.runtime.device import Placement, check_device
from rnnport.runtime.engine import Array, Arrays
from rnnport.runtime.metadata import read_spec
from rnnport.runtime.ort import OrtEngine
from rnnport.runtime.provider import check_precision
from rnnport.runtime.stream import Stream
from rnnport.spec import ModelSpec


def load(
    path: str | os.PathLike[str],
    device: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
) -> Session:
    """Open a model file.

    Args:
        path: the ``.onnx`` file.
        device: ``cpu``; ``cuda``, which is refused unless every recurrent node runs there; ``auto``
            takes CUDA where it works for this file (``session.placement`` says what it took, why).
        threads: threads of one call. By default a streaming file takes one that never spins, any
            other file as many as ONNX Runtime chooses.
        precision: ``fp32`` or ``bf16`` lets the native kernels run the file's LSTM, GRU and RNN
            nodes on the CPU, with weights kept in that precision, where they are faster;
            ``session.placement.kernels`` says which nodes they run, or why none. Without it those
            nodes stay with ONNX Runtime.

    Raises:
        RequestError: there is no such file, device, number of threads or precision.
        ModelFileError: the file cannot be read, or ONNX Runtime does not accept its graph.
        SpecVersionError: the file was written for a newer rnnport.
        DeviceError: the device cannot run the model; the message says why.
        MissingExtraError: ONNX Runtime is not installed.
    """
    check_device(device)
    check_precision(precision, device)
    if threads is not None and threads < 1:
        raise RequestError(f"threads is {threads}; expected 1 or more")
    path = os.fspath(path)
    if device == "auto":
        return _load_where_best(path, threads, precision)
    return _loaded(path, device, threads, precision, "it was asked for")


def _load_where_best(path: str, threads: int | None, precision: str | None) -> Session:
    spec = read_spec(path)
    if precision is not None:
        reason: str | None = f"the precision {precision} is one of the kernels on the CPU"
    elif spec is not None and spec.streaming:
        reason = "the file streams, and single steps are too little work for a GPU"
    else:
        reason = cuda.obstacle()
    if reason is None:
        try:
            return _loaded(path, "cuda", threads, None, "it works here")
        except DeviceError as error:
            reason = str(error)
    return _loaded(path, "cpu", threads, precision, reason)


def _loaded(
    path: str, device: str, threads: int | None, precision: str | None, reason: str
) -> Session:
    engine = OrtEngine(path, device, threads, precision)
    return Session(engine, Placement(device, reason, engine.kernels))


class Session:
    """Answers whole sequences; holds no state, so that threads may share it.

    ``spec`` says what the file promises, ``placement`` where it runs and why there.
    """

    def __init__(self, engine: OrtEngine, placement: Placement) -> None:
        self.engine = engine
        self.placement = placement
        self.spec: ModelSpec = engine.spec()
        self._tensors = {tensor.name: tensor for tensor in self.spec.inputs}
        self._data = self.spec.data_inputs()
        self._answers = tuple(tensor.name for tensor in self.spec.answers())

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.placement.device

    def __call__(self, x: Array | Arrays, lengths: Array | None = None) -> Array | dict[str, Array]:
        """Answer a batch of whole sequences; a streaming file starts from its initial states.

        Numbers are not checked for NaN: ONNX Runtime's LSTM on the CPU may swallow one and give a
        finite, plausible answer, where PyTorch gives NaN. (Files of data are checked as they are
        read.)

        Args:
            x: the one data input (``[batch, time, features]`` for our recipes), or several by name.
                Numbers of another dtype are cast (see :func:`rnnport.runtime.inputs.cast`).
            lengths: each row's true length ``[batch]``, 1 to time; without them every row is full.

        Returns:
            the answer, or a dict of them by name where the file gives several.

        Raises:
            DataError: a name, dtype, shape, time or length does not fit the file.
            UnavailableError: the engine failed while it ran.
        """
        feeds = dict(x) if isinstance(x, Mapping) else {self._only_input(): x}
        if lengths is not None:
            if self.spec.lengths is None:
                raise DataError("lengths were given, but the model has no such input")
            feeds[self.spec.lengths] = lengths
        outputs = self.run(feeds)
        if len(self._answers) == 1:
            return outputs[self._answers[0]]
        return {name: outputs[name] for name in self._answers}

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Every output by name, successors of states included.

        Args:
            feeds: arrays by input name; states and lengths that are left out take their
                initial values and the full time.

        Raises:
            DataError: a name, dtype, shape, time or length does not fit the file.
            UnavailableError: the engine failed while it ran.
        """
        return self.engine.run(self.prepared(feeds))

    def stream(self, batch: int = 1) -> Stream:
        """Begin streams of single steps or pieces, ``batch`` of them side by side.

        Raises:
            RequestError: the file holds no states, or ``batch`` is no positive whole number.
        """
        return Stream(self.engine, batch)

    def prepared(self, feeds: Arrays) -> dict[str, Array]:
        """Every graph input by name as the engine takes it; what :meth:`run` feeds, not yet run.

        Raises:
            DataError: a name, dtype, shape, time or length does not fit the file.
        """
        inputs.named(feeds, self._tensors)
        ready: dict[str, Array] = {}
        for tensor in self._data:
            if tensor.name not in feeds:
                raise DataError(f"the input '{tensor.name}' is missing")
        for name, values in feeds.items():
            tensor = self._tensors[name]
            if name != self.spec.lengths:
                ready[name] = inputs.cast(values, tensor)
                inputs.shaped(ready[name], tensor)
        batch = inputs.batch_of(ready, self.spec, self._data)
        inputs.refuse_batch(self.spec, batch)
        time = inputs.time_of(ready, self.spec, self._data)
        if self.spec.lengths is not None:
            ready[self.spec.lengths] = self._lengths(feeds.get(self.spec.lengths), batch, time or 1)
        for state in self.spec.states:
            if state.input not in ready:
                ready[state.input] = inputs.initial_state(state, batch)
        return ready

    def _lengths(self, given: Array | None, batch: int, time: int) -> Array:
        dtype = self._tensors[str(self.spec.lengths)].dtype
        if given is None:
            return inputs.full_lengths(batch, time, dtype)
        return inputs.lengths_of(given, batch, time, dtype=dtype)

    def _only_input(self) -> str:
        if len(self._data) != 1:
            names = ", ".join(f"'{tensor.name}'" for tensor in self._data)
            raise DataError(f"the model has the inputs {names}: give a dict of arrays by name")
        return self._data[0].name
