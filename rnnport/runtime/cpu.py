"""What this machine's processor can do: instruction sets that matter to inference, and threads."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "neon")
_MACOS = {  # sysctl's name of a feature
    "avx2": "hw.optional.avx2_0",
    "fma": "hw.optional.fma",
    "avx512f": "hw.optional.avx512f",
    "neon": "hw.optional.neon",
}
_WINDOWS = {"neon": 19, "avx2": 40, "avx512f": 41}  # IsProcessorFeaturePresent's numbers


@dataclass(frozen=True)
class Cpu:
    """The processor: ``features`` by name, None where this system does not tell; threads for us."""

    name: str
    features: dict[str, bool | None]
    threads: int


def this_cpu() -> Cpu:
    """The processor that this process runs on."""
    found = _READERS.get(sys.platform, dict)()
    features = {name: found.get(name) for name in FEATURES}
    return Cpu(_name(), features, usable_threads())


def usable_threads() -> int:
    """The logical processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _linux() -> dict[str, bool | None]:
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    if not flags:
        return {}
    # 64-bit ARM calls its NEON "asimd"
    return {name: name in flags or (name == "neon" and "asimd" in flags) for name in FEATURES}


def _cpuinfo(key: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")


def _macos() -> dict[str, bool | None]:
    return {feature: _sysctl(name) == "1" for feature, name in _MACOS.items()}


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _windows() -> dict[str, bool | None]:
    kernel: Any = ctypes.CDLL("kernel32")
    return {name: bool(kernel.IsProcessorFeaturePresent(n)) for name, n in _WINDOWS.items()}


def _name() -> str:
    if sys.platform == "linux":
        named = _cpuinfo("model name")
    elif sys.platform == "darwin":
        named = _sysctl("machdep.cpu.brand_string")
    else:
        named = platform.processor()
    return named or platform.machine()


_READERS: dict[str, Callable[[], dict[str, bool | None]]] = {
    "linux": _linux,
    "darwin": _macos,
    "win32": _windows,
}
