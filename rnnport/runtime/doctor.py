"""Finding out what works on this machine, by running a recurrent node on everything there is."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from rnnport.errors import MissingExtraError, RnnportError, UnavailableError
from rnnport.native import library
from rnnport.runtime import cuda
from rnnport.runtime.cpu import Cpu, this_cpu
from rnnport.runtime.device import RECORD_PLACEMENT
from rnnport.runtime.engine import ENGINES, Arrays, open_engine
from rnnport.runtime.installed import installed_wheels, onnxruntime
from rnnport.runtime.probe import probe_answer, probe_feeds, probe_model
from rnnport.runtime.provider import PROVIDER, offer_provider

SCHEMA_VERSION = 1
CPU_ENGINES = ("ort-cpu", "openvino")  # the reference evaluator is for comparison, not for use
PACKAGES = ("numpy", "onnx", "torch", "pyarrow", "openvino")
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Trial:
    """What came of running an LSTM node on an engine or a provider."""

    name: str
    works: bool
    detail: str  # the placement or the answer's error where it works, else the reason


@dataclass(frozen=True)
class Health:
    """What works on this machine, and what stands in the way of the rest."""

    versions: dict[str, str]
    wheels: dict[str, str]
    engines: tuple[Trial, ...]
    providers: tuple[Trial, ...]
    gpus: tuple[cuda.Gpu, ...]
    missing_libraries: tuple[str, ...]
    cpu: Cpu
    kernels: Trial
    provider: Trial
    advice: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether an engine for the CPU works."""
        return any(trial.works for trial in self.engines if trial.name in CPU_ENGINES)

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"schema_version": SCHEMA_VERSION, "ok": self.ok, **asdict(self)}


def examine() -> Health:
    """Run an LSTM node on every engine and every provider, and look at what they need."""
    wheels = installed_wheels()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        path.write_bytes(probe_model())
        provider = _try("execution provider", partial(_run_plain_node, path))
        engines = tuple(_try(name, partial(_run, name, path)) for name in ENGINES)
        providers = tuple(_providers(path, {trial.name: trial for trial in engines}))
    try:
        missing = cuda.missing_libraries()
    except RnnportError:
        missing = ()
    return Health(
        versions=_versions(wheels),
        wheels=wheels,
        engines=engines,
        providers=providers,
        gpus=cuda.gpus(),
        missing_libraries=missing,
        cpu=this_cpu(),
        kernels=_try(library.NAME, _kernels),
        provider=provider,
        advice=tuple(_advice(wheels, engines)),
    )


def _try(name: str, run: Callable[[], str]) -> Trial:
    try:
        return Trial(name, True, run())
    except MissingExtraError as error:
        return Trial(name, False, f"not installed: {error}")
    except RnnportError as error:
        return Trial(name, False, str(error))
    except Exception as error:  # noqa: BLE001 - a diagnosis outlives what broken packages raise
        return Trial(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _run(name: str, path: Path) -> str:
    return _judge(open_engine(name, str(path)).run(probe_feeds()))


def _kernels() -> str:
    """Load the library, and let ONNX Runtime take it."""
    level, path = library.level(), library.library_path()
    try:
        onnxruntime().SessionOptions().register_custom_ops_library(str(path))
    except MissingExtraError:
        return f"level {level}; no ONNX Runtime to use it in"
    return f"level {level}"


def _run_plain_node(path: Path) -> str:
    """Let the provider claim an LSTM node of ONNX's own, and run it."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if missing := offer_provider(options, "fp32", claim="all"):
        raise UnavailableError(missing)
    session = ort.InferenceSession(str(path), options)
    said = _judge({"y": session.run(None, dict(probe_feeds()))[0]})
    return said + _placed(session, PROVIDER)


def _judge(outputs: Arrays) -> str:
    error = float(np.max(np.abs(outputs["y"] - probe_answer())))
    if not error <= TOLERANCE:
        raise RnnportError(f"it runs an LSTM wrongly: its answer is off by {error:.1e}")
    return f"runs an LSTM, within {error:.0e}"


def _providers(path: Path, engines: dict[str, Trial]) -> Iterator[Trial]:
    """ONNX Runtime's providers; a listed one need not work."""
    try:
        ort = onnxruntime()
    except RnnportError:
        return
    known = {"CPUExecutionProvider": "ort-cpu", cuda.PROVIDER: "ort-cuda"}
    for name in ort.get_available_providers():
        if name in known:
            yield Trial(name, engines[known[name]].works, engines[known[name]].detail)
        else:
            yield _try(name, partial(_run_provider, ort, name, path))


def _run_provider(ort: Any, name: str, path: Path) -> str:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(RECORD_PLACEMENT, "1")
    with _quiet(ort):
        session = ort.InferenceSession(str(path), options, [name], enable_fallback=0)
    if name not in session.get_providers():
        raise RnnportError("listed, but its library cannot be loaded")
    said = _judge({"y": session.run(None, dict(probe_feeds()))[0]})
    return said + _placed(session, name)


def _placed(session: Any, name: str) -> str:
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return ", but this onnxruntime does not show where"
    taken = {part.ep_name for part in session.get_provider_graph_assignment_info()}
    return "" if name in taken else f", but on {', '.join(sorted(taken))}"


@contextmanager
def _quiet(ort: Any) -> Iterator[None]:
    """Keep ONNX Runtime's own complaints off stderr: the report says it in one line."""
    ort.set_default_logger_severity(4)
    try:
        yield
    finally:
        ort.set_default_logger_severity(2)


def _versions(wheels: dict[str, str]) -> dict[str, str]:
    from rnnport import __version__

    found = {"rnnport": __version__, "python": platform.python_version(), **wheels}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found["platform"] = platform.platform()
    return found


def _advice(wheels: dict[str, str], engines: tuple[Trial, ...]) -> Iterator[str]:
    if len(wheels) > 1:
        names = " ".join(wheels)
        yield (
            f"{' and '.join(wheels)} are both installed and own the same folder: pip uninstall "
            f"{names}, then pip install 'rnnport[gpu]' or 'rnnport[cpu]', one of them"
        )
    if not wheels:
        yield "ONNX Runtime is not installed: pip install 'rnnport[cpu]', or 'rnnport[gpu]'"
    works = {trial.name: trial.works for trial in engines}
    if cuda.gpus() and not works["ort-cuda"]:
        yield "there is a GPU, but no model can run on it; the line of ort-cuda says why"
