"""The command ``rnnport inspect``, which prints what a model file promises."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnport.cli.ending import ends_well

if TYPE_CHECKING:
    from rnnport.graph.inspect import Inspection, RecurrentFacts
    from rnnport.spec import ModelSpec, TensorSpec

SCHEMA_VERSION = 1


@ends_well
def inspect(
    model: Annotated[Path, typer.Argument(help="The model file (.onnx).")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print inputs, outputs, states, task, recurrent nodes, sizes and provenance of a file.

    A file that rnnport did not write shows what can be inferred from its graph.
    """
    from rnnport.graph.inspect import inspect_file

    found = inspect_file(model)
    if json:
        print(json_text.dumps(_document(found), ensure_ascii=False, allow_nan=False))
    else:
        print("\n".join(_lines(found)))


def _document(found: Inspection) -> dict[str, Any]:
    from dataclasses import asdict

    return {"schema_version": SCHEMA_VERSION, **asdict(found)}


def _lines(found: Inspection) -> Iterator[str]:
    spec = found.spec
    yield f"{found.path}  {_bytes(found.file_bytes)}"
    for name, size in found.external.items():
        yield f"  weights in  {name}  {_bytes(size)}"
    opsets = ", ".join(f"{domain} {version}" for domain, version in found.opsets.items())
    yield f"  opset       {opsets} (IR {found.ir_version})"
    yield f"  producer    {found.producer or 'not named'}"
    yield f"  weights     {_weights(found)}"
    if found.inferred:
        yield "  spec        none in the file: what follows is inferred from the graph"
    elif spec.task:
        yield f"  task        {spec.task}"
    yield from _interface(spec)
    yield from _meaning(spec)
    for pair in found.pairs:
        yield f"  state?      {pair.input} → {pair.output} (looks like one)"
    for name in found.unclear:
        yield f"  state?      {name} (looks like one; its successor is not clear)"
    yield f"  nodes       {found.nodes}" + _functions(found)
    for facts in found.recurrent:
        yield f"  {facts.op:<11} {_node(facts)}"
    if not found.recurrent:
        yield "  recurrent   none: no LSTM, GRU or RNN node"
    for key, value in spec.provenance.items():
        yield f"  {key:<11} {_short(value)}"


def _interface(spec: ModelSpec) -> Iterator[str]:
    taken = {state.input for state in spec.states} | {spec.lengths}
    given = {state.output for state in spec.states}
    for tensor in spec.inputs:
        if tensor.name not in taken:
            yield f"  input       {_tensor(tensor)}"
        elif tensor.name == spec.lengths:
            yield f"  lengths     {_tensor(tensor)}"
    for tensor in spec.outputs:
        if tensor.name not in given:
            yield f"  output      {_tensor(tensor)}"
    for state in spec.states:
        axes = ", ".join(map(str, state.shape))
        yield f"  state       {state.input} → {state.output}  {state.dtype} [{axes}]"


def _meaning(spec: ModelSpec) -> Iterator[str]:
    time = spec.time
    if (time.min, time.multiple, time.max) != (1, 1, None):
        most = "any" if time.max is None else time.max
        yield f"  time        {time.min} to {most} steps, multiples of {time.multiple}"
    if spec.classes:
        yield f"  classes     {len(spec.classes)}: {_short(', '.join(spec.classes))}"
    if spec.series is not None:
        series = spec.series
        yield f"  columns     {_short(', '.join(series.columns))}"
        yield f"  targets     {_short(', '.join(series.targets))}"
        every = f", every {series.frequency}" if series.frequency else ""
        yield f"  window      {series.lookback} steps in, {series.horizon} out{every}"
    if spec.quantization is not None:
        yield f"  quantized   {_quantized(spec.quantization)}"
        yield from _drift(spec.quantization)


def _quantized(account: Mapping[str, Any]) -> str:
    """The file's own account of its quantization in one line."""
    words = [str(account.get("precision", "not said to what"))]
    nodes = account.get("nodes") or ()
    if nodes:
        words.append(f"{sum(not each.get('reason') for each in nodes)} of {len(nodes)} nodes")
    if "bytes_before" in account and "bytes_after" in account:
        words.append(f"{_bytes(account['bytes_before'])} before")
    if account.get("functions_version") is not None:
        words.append(f"functions of version {account['functions_version']}")
    return ", ".join(words)


def _drift(account: Mapping[str, Any]) -> Iterator[str]:
    from rnnport.parity.drift import from_record

    if account.get("drift") is None:
        return
    for name, drift in from_record(account["drift"]).items():
        yield f"  drift       {name}  {drift.describe()}"


def _weights(found: Inspection) -> str:
    sizes = [f"{kind} {_bytes(size)}" for kind, size in found.bytes_by_type.items()]
    return _bytes(found.weight_bytes) + (f": {', '.join(sizes)}" if len(sizes) > 1 else "")


def _tensor(tensor: TensorSpec) -> str:
    return f"{tensor.name}  {tensor.dtype} [{', '.join(map(str, tensor.shape))}]"


def _node(facts: RecurrentFacts) -> str:
    sizes = f"{_known(facts.input_size)} → {_known(facts.hidden_size)}"
    size = _bytes(facts.weight_bytes)
    size += f" in {facts.stored}" if facts.stored not in ("", "float32") else ""
    words = [facts.name, f"layer {facts.layer}", facts.direction, sizes, size]
    if facts.linear_before_reset is not None:
        words.append(f"linear_before_reset={int(facts.linear_before_reset)}")
    if facts.op == "RNN":
        words.append("+".join(facts.activations))
    words += ["lengths"] if facts.lengths else []
    words += ["initial states"] if facts.states else []
    words += [facts.function] if facts.function else []
    words += [] if facts.constant_weights else ["weights computed at run time"]
    return ", ".join(words)


def _functions(found: Inspection) -> str:
    return f", functions {', '.join(found.functions)}" if found.functions else ""


def _known(size: int | None) -> str:
    return "?" if size is None else str(size)


def _short(value: Any, most: int = 100) -> str:
    text = value if isinstance(value, str) else json_text.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _bytes(count: int) -> str:
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1e6:.2f} MB" if count >= 1_000_000 else f"{count / 1e3:.1f} kB"
