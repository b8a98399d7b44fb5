"""The engine that runs model files by ONNX Runtime, on CPU and on CUDA."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnport.errors import (
    DataError,
    DeviceError,
    ModelFileError,
    RnnportError,
    UnavailableError,
)
from rnnport.runtime import cuda
from rnnport.runtime.device import RECORD_PLACEMENT, recurrent_elsewhere, require_cuda
from rnnport.runtime.engine import Array, Arrays
from rnnport.runtime.inputs import check_feeds
from rnnport.runtime.installed import onnxruntime
from rnnport.runtime.kernels import refuse_level, register_kernels
from rnnport.runtime.metadata import read_spec
from rnnport.runtime.provider import offer_provider, told_placement
from rnnport.spec import Dim, ModelSpec, TensorSpec

DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
    **{
        f"tensor({sign}int{bits})": f"{sign}int{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
CUDA_OPTIONS = {
    "use_tf32": "0",  # TensorFloat-32 keeps 10 bits of a product: no parity within 1e-5
    "cudnn_conv_algo_search": "HEURISTIC",  # the default searches anew for every length
    "arena_extend_strategy": "kSameAsRequested",  # lengths vary: grow by what is needed
}
FATAL = 4  # ONNX Runtime's log level; errors reach the user as exceptions, once


class OrtEngine:
    """A model file opened by ONNX Runtime; any number of threads may run it at once.

    ``without_kernels`` says why rnnport's functions run as their bodies on the CPU, if they do;
    ``kernels``, where a precision was asked for, which of the recurrent nodes run in the native
    kernels, or why none does.
    """

    def __init__(
        self,
        path: str,
        device: str = "cpu",
        threads: int | None = None,
        precision: str | None = None,
    ) -> None:
        """Open a model file; see :func:`open_cpu` and :func:`open_cuda` for what it raises."""
        self.name = f"ort-{device}"
        self.device = device
        self._path = path
        found = read_spec(path)
        if device == "cuda":
            require_cuda()
        if threads is None and found is not None and found.streaming:
            threads = 1
        one_row = found is not None and found.streaming
        self._session, self.without_kernels, self.kernels = _open(
            path, device, threads, precision, one_row
        )
        self._spec = _spec_of(self._session) if found is None else found
        self._output_names = [tensor.name for tensor in self._session.get_outputs()]
        _check_names(self._spec, self._session, path)

    def spec(self) -> ModelSpec:
        """What the file promises; for a file without metadata, what its graph shows."""
        return self._spec

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """Every graph output by name.

        Raises:
            DataError: the feeds do not fit the graph, or an array is empty.
            UnavailableError: ONNX Runtime failed while it ran.
        """
        _refuse_empty(feeds)
        try:
            answers = self._session.run(None, feeds)
        except Exception as error:
            check_feeds(self._spec, feeds)  # what does not fit is told better than by the kernel
            raise _mapped(error, self._path) from error
        return dict(zip(self._output_names, answers, strict=True))

    def place(self, array: Array) -> Any:
        """A copy of an array on the engine's device, as an OrtValue."""
        return onnxruntime().OrtValue.ortvalue_from_numpy(array, self.device, 0)

    def run_bound(
        self, feeds: Arrays, states: Mapping[str, Any], successors: Mapping[str, str]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Run with states that stay on the device.

        Args:
            feeds: arrays of the host, by input name.
            states: OrtValues on the device, by input name; they are only read.
            successors: state output → state input.

        Returns:
            the other outputs as arrays, and the new states on the device, by input name.
        """
        _refuse_empty(feeds)
        try:
            binding = self._session.io_binding()
            for name, array in feeds.items():
                binding.bind_cpu_input(name, array)
            for name, value in states.items():
                binding.bind_ortvalue_input(name, value)
            for name in self._output_names:
                binding.bind_output(name, self.device if name in successors else "cpu")
            self._session.run_with_iobinding(binding)
            outputs = dict(zip(self._output_names, binding.get_outputs(), strict=True))
        except Exception as error:
            raise _mapped(error, self._path) from error
        after = {successors[name]: outputs.pop(name) for name in successors}
        return {name: value.numpy() for name, value in outputs.items()}, after


def open_cpu(path: str | os.PathLike[str], threads: int | None = None) -> OrtEngine:
    """Open a model file on the CPU; a streaming file gets one thread that never spins.

    Raises:
        RequestError: there is no file of that name.
        ModelFileError: the file cannot be read, or ONNX Runtime does not accept its graph.
        SpecVersionError: the file was written for a newer rnnport.
        MissingExtraError: ONNX Runtime is not installed.
    """
    return OrtEngine(os.fspath(path), "cpu", threads)


def open_cuda(path: str | os.PathLike[str], threads: int | None = None) -> OrtEngine:
    """Open a model file on the first CUDA GPU, every recurrent node there.

    Raises:
        DeviceError: CUDA does not work here, or a recurrent node would run elsewhere.
        RequestError, ModelFileError, SpecVersionError, MissingExtraError: as for the CPU.
    """
    return OrtEngine(os.fspath(path), "cuda", threads)


def _open(
    path: str, device: str, threads: int | None, precision: str | None, one_row: bool
) -> tuple[Any, str, str]:
    """The session, why our functions run as their bodies, and what runs in the kernels."""
    ort = onnxruntime()
    providers: list[Any] | None = ["CPUExecutionProvider"]
    if device == "cuda":  # ONNX Runtime adds its CPU provider by itself, for nodes about shapes
        cuda.preload()
        providers = [(cuda.PROVIDER, CUDA_OPTIONS)]
    options = _options(ort, threads)
    bodies = register_kernels(options, path) if device == "cpu" else ""
    kernels = offer_provider(options, precision, one_row=one_row) if precision else ""
    if precision and not kernels:
        providers = None  # those of the options, before the CPU's
    watched = hasattr(ort.InferenceSession, "get_provider_graph_assignment_info")
    if device == "cuda":  # an older ONNX Runtime shows no placement: let it refuse any other
        options.add_session_config_entry(
            RECORD_PLACEMENT if watched else "session.disable_cpu_ep_fallback", "1"
        )
    try:
        session = ort.InferenceSession(path, options, providers, enable_fallback=0)
    except Exception as error:
        if device == "cuda":
            raise DeviceError(f"{path} cannot be opened on cuda: {_text(error)}") from error
        refuse_level(error)
        raise ModelFileError(f"ONNX Runtime does not accept {path}: {_text(error)}") from error
    if device == "cuda":
        _insist_on_cuda(session, path, watched)
    if precision and providers is None:
        kernels = told_placement(session, precision)
    return session, bodies, kernels


def _options(ort: Any, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    # A memory pattern is kept for every shape ever seen: with varying lengths that only grows.
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if threads == 1:  # the preset for streams: an idle thread that spins burns a core
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _insist_on_cuda(session: Any, path: str, watched: bool) -> None:
    if cuda.PROVIDER not in session.get_providers():
        raise DeviceError(f"ONNX Runtime opened {path} without its CUDA provider")
    elsewhere = recurrent_elsewhere(session) if watched else []
    if elsewhere:
        raise DeviceError(
            f"{path} cannot run on cuda: ONNX Runtime would run {', '.join(elsewhere)} elsewhere; "
            "its CUDA kernels know no relu RNN, GRU with linear_before_reset=0, peepholes or clip"
        )


def _spec_of(session: Any) -> ModelSpec:
    return ModelSpec(
        inputs=tuple(_tensor(value) for value in session.get_inputs()),
        outputs=tuple(_tensor(value) for value in session.get_outputs()),
    )


def _tensor(value: Any) -> TensorSpec:
    # An axis that the file leaves unnamed comes as None.
    shape: tuple[Dim, ...] = tuple(
        axis if isinstance(axis, int | str) else f"{value.name}.{index}"
        for index, axis in enumerate(value.shape)
    )
    return TensorSpec(
        name=value.name,
        dtype=DTYPES.get(value.type, value.type),
        shape=shape,
        batch_axis=shape.index("batch") if "batch" in shape else None,
        time_axis=shape.index("time") if "time" in shape else None,
    )


def _check_names(spec: ModelSpec, session: Any, path: str) -> None:
    for promised, graph in (
        (spec.inputs, session.get_inputs()),
        (spec.outputs, session.get_outputs()),
    ):
        names, found = {tensor.name for tensor in promised}, {value.name for value in graph}
        if names != found:
            raise ModelFileError(
                f"{path}: its metadata promises {sorted(names)}, its graph has {sorted(found)}: "
                "it was changed after its export; export it again"
            )


def _refuse_empty(feeds: Arrays) -> None:
    for name, array in feeds.items():
        if array.size == 0:  # ONNX Runtime's GRU was seen to abort the process at time 0
            raise DataError(f"the input '{name}' is empty: its shape is {list(array.shape)}")


def _mapped(error: Exception, path: str) -> RnnportError:
    """ONNX Runtime's errors while running, in rnnport's terms."""
    if isinstance(error, ValueError | TypeError) or type(error).__name__ == "InvalidArgument":
        return DataError(f"the input does not fit {path}: {_text(error)}")
    return UnavailableError(f"ONNX Runtime failed to run {path}: {_text(error)}")


def _text(error: Exception) -> str:
    """The message without ONNX Runtime's code and its place in the source in front of it."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", text)
    return re.sub(r"/onnxruntime_src/\S+:\d+ [^)]*\) ?", "", text)
