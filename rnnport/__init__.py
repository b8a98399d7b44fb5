"""Recurrent networks from PyTorch to one ONNX file that runs the same everywhere."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnnport.errors import RnnportError

if TYPE_CHECKING:
    from rnnport.parity.report import ParityReport
    from rnnport.pipeline.export import export
    from rnnport.pipeline.quantize import quantize
    from rnnport.pipeline.verify import verify
    from rnnport.porting.recurrent import Recurrent
    from rnnport.runtime.session import Session, load
    from rnnport.runtime.stream import Stream
    from rnnport.spec import ModelSpec

__version__ = "0.1.0.dev0"
__all__ = [
    "ModelSpec",
    "ParityReport",
    "Recurrent",
    "RnnportError",
    "Session",
    "Stream",
    "__version__",
    "export",
    "load",
    "quantize",
    "verify",
]

_LATE = {
    "ModelSpec": "rnnport.spec",
    "ParityReport": "rnnport.parity.report",
    "Recurrent": "rnnport.porting.recurrent",
    "Session": "rnnport.runtime.session",
    "Stream": "rnnport.runtime.stream",
    "export": "rnnport.pipeline.export",
    "load": "rnnport.runtime.session",
    "quantize": "rnnport.pipeline.quantize",
    "verify": "rnnport.pipeline.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'rnnport' has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
