"""Exporting what a user has, a run folder or a module, to one model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnport.errors import MissingExtraError, RequestError
from rnnport.spec import Dim

if TYPE_CHECKING:
    from torch import nn

    from rnnport.porting.report import ExportReport

_DEFAULT_OPSET = 18


def export(
    source: str | Path | nn.Module,
    args: Any = None,
    path: str | Path | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    inputs: Sequence[str] | Mapping[str, Sequence[Dim]] | None = None,
    outputs: Sequence[str] | None = None,
    lengths: str | None = None,
    stream: bool = False,
    states: Mapping[str, str] | None = None,
    opset: int = _DEFAULT_OPSET,
    verify: bool = True,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model file from a run folder or from a module, and prove it.

    A run folder brings its own example, names and task: only ``path``, ``stream``, ``opset``,
    ``verify`` and ``overwrite`` concern it, and the file goes beside the checkpoint by default
    (``model.onnx``, or ``model.stream.onnx``). For a module see
    ``rnnport.porting.export.export_module``.

    Raises:
        MissingExtraError: torch, onnx or onnxscript is not installed.
        RequestError, CheckFailedError, WriteError: as ``export_module``.
    """
    try:
        from rnnport.porting.export import export_module
    except ImportError as error:
        raise MissingExtraError.of(error, "exporting") from error
    if isinstance(source, str | Path):
        given = {"args": args, "kwargs": kwargs, "inputs": inputs, "outputs": outputs}
        _refuse_given(given | {"lengths": lengths, "states": states})
        return _export_run(Path(source), path, stream, opset, verify, overwrite)
    if args is None and kwargs is None:
        raise RequestError("a module needs example arguments: export(module, (x,), 'model.onnx')")
    if path is None:
        raise RequestError("a module needs a file to go to: export(module, (x,), 'model.onnx')")
    return export_module(
        source,
        () if args is None else args,
        path,
        kwargs=kwargs,
        inputs=inputs,
        outputs=outputs,
        lengths=lengths,
        stream=stream,
        states=states,
        opset=opset,
        verify=verify,
        overwrite=overwrite,
    )


def export_factory(
    source: str,
    path: str | Path | None,
    *,
    inputs: Sequence[str],
    settings: Sequence[str] = (),
    weights: str | Path | None = None,
    float32: bool = False,
    stream: bool = False,
    states: Mapping[str, str] | None = None,
    opset: int = _DEFAULT_OPSET,
    verify: bool = True,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model file from ``path/to/file.py:factory`` or ``package.module:factory``.

    Args:
        source: a function or class that gives the module.
        path: the file to write.
        inputs: each input described, ``x=float32[batch,time,39]``; the example is made from them.
        settings: the factory's arguments, ``name=value``.
        weights: a ``.pt`` or ``.safetensors`` file with the module's state_dict.
        float32: convert a module in float64, for which runtimes have no recurrent kernels.
        stream: as for ``export``.
        states: as for ``export``.
        opset: as for ``export``.
        verify: as for ``export``.
        overwrite: as for ``export``.

    Raises:
        RequestError: the factory, its weights or the inputs do not fit; else as ``export``.
    """
    try:
        from rnnport.files import refuse_existing
        from rnnport.porting.export import export_module
        from rnnport.porting.factory_name import factory_name
        from rnnport.porting.input_spec import lengths_among, make_example, read_inputs
        from rnnport.porting.loading import load_weights, make_module
    except ImportError as error:
        raise MissingExtraError.of(error, "exporting") from error
    name = factory_name(source)
    if name is None:
        raise RequestError(f"{source} names no factory; expected file.py:factory")
    if path is None:
        raise RequestError("a module needs a file to go to: -o model.onnx")
    refuse_existing(Path(path), overwrite)  # before anything is loaded, which takes longer
    specs = read_inputs(inputs)
    module = make_module(name, settings)
    if weights is not None:
        load_weights(module, Path(weights))
    if float32:
        module.float()
    return export_module(
        module,
        make_example(specs),
        path,
        inputs={spec.name: spec.axes for spec in specs},
        lengths=lengths_among(specs),
        stream=stream,
        states=states,
        opset=opset,
        verify=verify,
        overwrite=overwrite,
    )


def export_source(
    source: str,
    path: str | Path | None,
    *,
    inputs: Sequence[str] = (),
    weights: str | Path | None = None,
    settings: Sequence[str] = (),
    states: Mapping[str, str] | None = None,
    float32: bool = False,
    **wishes: Any,
) -> ExportReport:
    """Write a model file from what the command line names: a run folder, or a factory."""
    from rnnport.porting.factory_name import factory_name

    if factory_name(source) is not None and not Path(source).exists():
        return export_factory(
            source,
            path,
            inputs=inputs,
            settings=settings,
            weights=weights,
            states=states,
            float32=float32,
            **wishes,
        )
    given = {"--input": inputs or None, "--weights": weights, "--set": settings or None}
    _refuse_given(given | {"--state": states, "--float32": float32 or None})
    return export(source, path=path, **wishes)


def default_path(folder: Path, stream: bool) -> Path:
    """Where a run's model file goes when nothing else is said."""
    return folder / ("model.stream.onnx" if stream else "model.onnx")


def _export_run(
    folder: Path, path: str | Path | None, stream: bool, opset: int, verify: bool, overwrite: bool
) -> ExportReport:
    from rnnport.files import refuse_existing
    from rnnport.porting.export import export_module
    from rnnport.training.run import load_run

    target = default_path(folder, stream) if path is None else Path(path)
    if folder.is_dir():
        refuse_existing(target, overwrite)  # before the run is loaded, which takes longer
    run = load_run(folder)
    return export_module(
        run.streaming if stream else run.module,
        run.example,
        target,
        stream=stream,
        opset=opset,
        verify=verify,
        overwrite=overwrite,
        facts=run.spec,
    )


def _refuse_given(given: Mapping[str, Any]) -> None:
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise RequestError(
            f"a run folder brings its own {', '.join(names)}; they are for exporting a module"
        )
