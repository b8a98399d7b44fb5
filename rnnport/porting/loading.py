"""A user's own module from the factory that makes it, with its weights."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.errors import MissingExtraError, ModelFileError, RequestError
from rnnport.porting.factory_name import FactoryName

_INSIDE = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the weights
_SHOWN = 6


def make_module(name: FactoryName, settings: Sequence[str] = ()) -> nn.Module:
    """Call a factory with its settings, each ``argument=value``.

    Raises:
        RequestError: the factory is not found, takes other arguments, raises, or gives no module.
    """
    with _importable(Path(name.where).parent if name.is_file else Path.cwd()):
        factory = _attribute(_imported(name), name)
        given = _settings(settings, factory, name)
        try:
            module = factory(**given)
        except (Exception, SystemExit) as error:
            raise RequestError(
                f"{name} raised {type(error).__name__}: {error}{_to_see_where()}"
            ) from error
    if not isinstance(module, nn.Module):
        raise RequestError(f"{name} gives {type(module).__name__}, not a torch.nn.Module")
    return module


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a state_dict from a .pt, .pth or .safetensors file into a module.

    Raises:
        RequestError: there is no such file, or its weights are not the module's.
        ModelFileError: the file cannot be read.
    """
    if not path.is_file():
        raise RequestError(f"there is no weights file {path}")
    given = _without_prefix(_read(path), module)
    own = module.state_dict()
    wrong = [
        f"missing: {_listed([name for name in own if name not in given])}",
        f"unexpected: {_listed([name for name in given if name not in own])}",
        f"of another shape: {_listed(_reshaped(own, given))}",
    ]
    wrong = [each for each in wrong if not each.endswith(": ")]
    if wrong:
        raise RequestError(
            f"the weights in {path} do not match {type(module).__name__}: {'; '.join(wrong)}"
        )
    module.load_state_dict(given)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let imports find what lies in a folder, as when Python runs a file there."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def _imported(name: FactoryName) -> ModuleType:
    path = Path(name.where)
    if name.is_file and not path.is_file():
        raise RequestError(f"there is no file {path}{_nearest(path.name, _python_files(path))}")
    try:
        return _run_file(path) if name.is_file else importlib.import_module(name.where)
    except (Exception, SystemExit) as error:  # a script may parse arguments of its own
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and not name.is_file and f"{name.where}.".startswith(f"{missing}."):
            raise RequestError(
                f"there is no module {missing} here; give the file instead: file.py:factory"
            ) from error
        raise RequestError(
            f"importing {name.where} raised {type(error).__name__}: {error}{_to_see_where()}"
        ) from error


def _run_file(path: Path) -> ModuleType:
    alias = f"rnnport_source_{path.stem}"
    spec = importlib.util.spec_from_file_location(alias, path)
    assert spec is not None  # the path ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module  # dataclasses and pickles look their module up
    spec.loader.exec_module(module)
    return module


def _python_files(path: Path) -> list[str]:
    return [each.name for each in path.parent.glob("*.py")] if path.parent.is_dir() else []


def _attribute(module: ModuleType, name: FactoryName) -> Any:
    if not hasattr(module, name.attribute):
        callables = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        near = _nearest(name.attribute, callables) or (
            f"; it has {_listed(callables)}" if callables else ""
        )
        raise RequestError(f"{name.where} has no '{name.attribute}'{near}")
    factory = getattr(module, name.attribute)
    if not callable(factory):
        raise RequestError(
            f"{name} is {type(factory).__name__}; a factory is a function or a class that gives "
            "a torch.nn.Module"
        )
    return factory


def _settings(texts: Sequence[str], factory: Any, name: FactoryName) -> dict[str, Any]:
    given = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip().isidentifier():
            raise RequestError(f"--set {text}: expected argument=value, such as --set hidden=128")
        given[key.strip()] = _value(value.strip())
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return given  # a built-in: it says itself what it does not take
    try:
        signature.bind(**given)
    except TypeError as error:
        raise RequestError(
            f"{name}{signature} cannot be called: {error}; --set argument=value gives an argument"
        ) from error
    return given


def _value(text: str) -> Any:
    """TOML's reading of a value, as in ``train --set``; what is none is the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError as error:
            raise MissingExtraError("safetensors", "train", "reading .safetensors") from error
        try:
            return load_file(path)
        except Exception as error:
            raise ModelFileError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise RequestError(
                f"{path} holds more than weights, and loading it could run foreign code; save "
                "module.state_dict() instead"
            ) from error
        raise ModelFileError(
            f"{path} is not a readable weights file: {type(error).__name__}: {error}"
        ) from error
    return _state_dict(found, path)


def _state_dict(found: Any, path: Path) -> dict[str, Tensor]:
    for key in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if isinstance(found, Mapping) and all(isinstance(each, Tensor) for each in found.values()):
        return dict(found)
    raise RequestError(f"{path} holds no state_dict: save module.state_dict()")


def _without_prefix(given: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Weights saved from a wrapped module, as data-parallel training leaves them, unwrapped."""
    own = module.state_dict()
    if given and all(name.startswith("module.") for name in given) and not given.keys() & own:
        return {name.removeprefix("module."): value for name, value in given.items()}
    return given


def _reshaped(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} {list(given[name].shape)} instead of {list(value.shape)}"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _nearest(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _to_see_where() -> str:
    return " (rnnport --debug export … shows where)"
