"""The plug-in execution provider: it runs a file's own LSTM, GRU and RNN nodes in our kernels.

The library of native kernels offers ONNX Runtime, from version 1.24 on, a provider that goes ahead
of its CPU provider and claims the recurrent nodes that it runs faster.
"""

from __future__ import annotations

import threading
from typing import Any

from rnnport.errors import RequestError, UnavailableError
from rnnport.native.library import library_path
from rnnport.runtime.device import RECORD_PLACEMENT
from rnnport.runtime.installed import onnxruntime

PROVIDER = "rnnport"  # the name of the registration and of the provider
PRECISIONS = ("fp32", "bf16")
SINCE = (1, 24)  # the first ONNX Runtime that takes kernels from a plug-in
NODES = frozenset({"LSTM", "GRU", "RNN"})

_REGISTERING = threading.Lock()


def check_precision(precision: str | None, device: str) -> None:
    """Refuse a precision that there is no such name for, or that the device has no kernels for.

    Raises:
        RequestError: ``precision`` is none of fp32, bf16 and None, or the device is ``cuda``.
    """
    if precision is None:
        return
    if precision not in PRECISIONS:
        raise RequestError(f"unknown precision '{precision}'; there are {', '.join(PRECISIONS)}")
    if device == "cuda":
        raise RequestError(
            f"the precision {precision} is one of the native kernels, which run on the CPU: leave "
            "it out, or take the device cpu"
        )


def offer_provider(
    options: Any, precision: str, *, one_row: bool = False, claim: str = "faster"
) -> str:
    """Let a session's recurrent nodes run in the native kernels.

    Args:
        options: the ``onnxruntime.SessionOptions`` of a session to be made without ``providers``.
        precision: in which the kernels keep weights, ``fp32`` or ``bf16``; sums are float32.
        one_row: whether the batch will be 1, where more nodes gain.
        claim: ``faster`` for the nodes that gain by it, ``all`` for whatever the kernels carry.

    Returns:
        why that cannot be, and the options are as they were; empty where it was done.

    Raises:
        RequestError: RNNPORT_NATIVE has a value that is unknown here.
        MissingExtraError: ONNX Runtime is not installed.
    """
    ort = onnxruntime()
    if _version(ort) < SINCE:
        wanted = ".".join(map(str, SINCE))
        return f"onnxruntime {ort.__version__} takes no kernels from a plug-in; {wanted} does"
    try:
        devices = _devices(ort)
    except UnavailableError as missing:
        return str(missing)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no base class of their own
        return f"this ONNX Runtime cannot use the native kernels: {error}"
    if not devices:
        return "this ONNX Runtime knows of no CPU to give the native kernels to"
    options.add_session_config_entry(RECORD_PLACEMENT, "1")
    chosen = {"precision": precision, "batch": "1" if one_row else "any", "claim": claim}
    options.add_provider_for_devices(devices, chosen)
    return ""


def claimed_nodes(session: Any) -> tuple[list[str], list[str]]:
    """The recurrent nodes that run in the native kernels, and those that run elsewhere, by name."""
    ours: list[str] = []
    others: list[str] = []
    for part in session.get_provider_graph_assignment_info():
        nodes = [node for node in part.get_nodes() if node.op_type in NODES]
        names = [f"{node.op_type} '{node.name}'" for node in nodes]
        (ours if part.ep_name == PROVIDER else others).extend(names)
    return ours, others


def told_placement(session: Any, precision: str) -> str:
    """In words, which recurrent nodes of a session with the provider run in the native kernels."""
    ours, others = claimed_nodes(session)
    count = len(ours) + len(others)
    if not count:
        return "the file has no LSTM, GRU or RNN node for the native kernels"
    text = f"{len(ours)} of {count} recurrent nodes run in the native kernels, in {precision}"
    if others:
        text += f"; the kernels do not carry, or are no faster with: {', '.join(others)}"
    return text


def _devices(ort: Any) -> list[Any]:
    """The provider's devices; the library is registered where this process has not done so yet."""
    path = str(library_path())
    with _REGISTERING:
        if not _known_devices(ort):
            ort.register_execution_provider_library(PROVIDER, path)
        return _known_devices(ort)


def _known_devices(ort: Any) -> list[Any]:
    return [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]


def _version(ort: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in ort.__version__.split(".")[:2])
