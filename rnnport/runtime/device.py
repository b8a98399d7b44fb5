"""Choosing the device that a model runs on, and holding to it: CUDA means CUDA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnnport.errors import DeviceError, RequestError
from rnnport.runtime import cuda
from rnnport.spec import FUNCTION_DOMAIN

DEVICES = ("auto", "cpu", "cuda")
RECURRENT = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"


@dataclass(frozen=True)
class Placement:
    """Where a model runs, ``cpu`` or ``cuda``, and why there.

    ``kernels`` says, where a precision was asked for, which of the recurrent nodes run in the
    native kernels, or why none does.
    """

    device: str
    reason: str
    kernels: str = ""


def check_device(device: str) -> None:
    """Refuse a device that there is no such name for.

    Raises:
        RequestError: ``device`` is none of auto, cpu, cuda.
    """
    if device not in DEVICES:
        raise RequestError(f"unknown device '{device}'; there are {', '.join(DEVICES)}")


def require_cuda() -> None:
    """Refuse CUDA where it cannot work, with all that is missing by name.

    Raises:
        DeviceError: no CUDA provider, no driver, no GPU, or libraries that cannot be loaded.
    """
    reason = cuda.obstacle()
    if reason is None:
        return
    missing = [name for name in cuda.missing_libraries() if name not in reason]
    if missing:
        reason += f"; also missing: {', '.join(missing)} ({cuda.remedy()})"
    raise DeviceError(f"the device cuda cannot be used: {reason}; --device cpu works everywhere")


def recurrent_elsewhere(session: Any) -> list[str]:
    """The recurrent nodes that a session would not run on CUDA, as ``LSTM 'name' (provider)``.

    ONNX Runtime inlines a call of one of rnnport's functions before it places nodes, so that the
    recurrent node of its body is placed like any other. A call that is left is one for a kernel
    that is registered for it: it counts as the recurrent node that it is.

    The session must have been made with ``RECORD_PLACEMENT`` switched on.
    """
    return [
        f"{node.op_type} '{node.name}' ({part.ep_name})"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != cuda.PROVIDER
        for node in part.get_nodes()
        if node.op_type in RECURRENT or node.domain == FUNCTION_DOMAIN
    ]
