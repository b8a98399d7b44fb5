"""What stands between this process and a CUDA GPU, by name: wheel, driver, libraries."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnport.runtime.installed import onnxruntime

PROVIDER = "CUDAExecutionProvider"
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
PROVIDER_LIBRARY = {
    "linux": "libonnxruntime_providers_cuda.so",
    "win32": "onnxruntime_providers_cuda.dll",
}
CUDNN = {"linux": "libcudnn.so.9", "win32": "cudnn64_9.dll"}  # ONNX Runtime >= 1.20 takes cuDNN 9


@dataclass(frozen=True)
class Gpu:
    """A GPU that the NVIDIA driver sees; memory in bytes."""

    name: str
    memory: int


def obstacle() -> str | None:
    """Why no model can run on CUDA in this process; None where nothing speaks against it.

    The gpu wheel lists its CUDA provider on every machine, so a listed provider says nothing.
    """
    ort = onnxruntime()
    if PROVIDER not in ort.get_available_providers():
        return (
            f"the installed onnxruntime {ort.__version__} was built without CUDA; in its place: "
            "pip uninstall onnxruntime && pip install 'rnnport[gpu]'"
        )
    if _loads(DRIVER) is not None:
        return f"there is no NVIDIA driver: {DRIVER} cannot be loaded"
    if not gpus():
        return "the NVIDIA driver finds no GPU"
    missing = missing_libraries()
    if missing:
        return f"missing CUDA libraries: {', '.join(missing)}; {remedy()}"
    reason = _loads(str(_provider_library()))
    return None if reason is None else f"the CUDA provider cannot be loaded: {reason}"


def remedy() -> str:
    """What to install so that the CUDA provider finds its libraries."""
    built = str(getattr(onnxruntime(), "cuda_version", "")) or "the CUDA version it was built for"
    return (
        f"this onnxruntime needs CUDA {built} with cuDNN 9: "
        "pip install 'onnxruntime-gpu[cuda,cudnn]' brings them"
    )


@functools.cache
def missing_libraries() -> tuple[str, ...]:
    """The CUDA libraries that ONNX Runtime's CUDA provider needs and this process cannot load.

    Libraries from pip's ``nvidia`` packages are loaded first where they are installed. Empty where
    the installed onnxruntime has no CUDA provider.
    """
    library = _provider_library()
    if library is None or not library.exists():
        return ()
    preload()
    needed = [*_unresolved(library), CUDNN[sys.platform]]
    return tuple(dict.fromkeys(name for name in needed if _loads(name) is not None))


@functools.cache
def preload() -> None:
    """Load the CUDA and cuDNN libraries of installed ``nvidia`` packages into this process."""
    ort = onnxruntime()
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            ort.preload_dlls()


def _provider_library() -> Path | None:
    name = PROVIDER_LIBRARY.get(sys.platform)
    folder = Path(str(onnxruntime().__file__)).parent / "capi"
    return None if name is None else folder / name


def _unresolved(library: Path) -> list[str]:
    """What the dynamic linker does not find for a library; without ``ldd`` only the first."""
    try:
        done = subprocess.run(["ldd", library], capture_output=True, text=True, check=False)
        return re.findall(r"(\S+) => not found", done.stdout)
    except OSError:
        named = re.match(r"(\S+): cannot open shared object", _loads(str(library)) or "")
        return [named[1]] if named else []


def _loads(library: str) -> str | None:
    """Why a library cannot be loaded, or None when it is."""
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return str(error)
    return None


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs that the NVIDIA driver sees, asked through its own interface (CUDA driver API)."""
    if _loads(DRIVER) is not None:
        return ()
    driver: Any = ctypes.CDLL(DRIVER)
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_gpu(driver, index) for index in range(count.value))


def _gpu(driver: Any, index: int) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(name.value.decode(errors="replace"), memory.value)
