"""Writing into a foreign ONNX file what it promises, so that running it never parses its graph."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import onnx

from rnnport.errors import RequestError, RnnportError, UnsupportedModelError, WriteError
from rnnport.files import refuse_existing, refuse_input, replacing
from rnnport.graph.axes import BATCH
from rnnport.graph.inference import holds_lengths, row_lengths, tensor_specs
from rnnport.graph.scopes import Reading
from rnnport.graph.sound import require_sound
from rnnport.graph.states import Pair, compatible, recognise
from rnnport.runtime.model_proto import load_proto
from rnnport.spec import METADATA_KEY, ModelSpec, StateSpec, TensorSpec, TimeSpec, parse

LARGEST_FILE = (1 << 31) - 1  # protobuf's own limit


@dataclass(frozen=True)
class Annotation:
    """The spec that was written, and the states that were recognised rather than told."""

    spec: ModelSpec
    recognised: tuple[Pair, ...]
    lost: tuple[str, ...]  # states that enter and never leave: the file cannot carry them on


def annotate_file(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    states: Mapping[str, str] | None = None,
    lengths: str | None = None,
    overwrite: bool = False,
) -> Annotation:
    """Recognise a file's states, axes and lengths and write them into a copy of it.

    Args:
        path: the ONNX file, from any exporter.
        output: the file to write; its graph is that of ``path``.
        states: state input → state output, where recognition needs help; they come first.
        lengths: the input with each row's length, where recognition needs help.
        overwrite: replace an existing output.

    Raises:
        RequestError: a name that the graph does not have, or states that do not fit together.
        UnsupportedModelError: it is unclear which output a state's successor is.
        ModelFileError: the file is not an ONNX model, or makes no sense.
        OutputExistsError, WriteError: the output cannot be written.
    """
    refuse_input(Path(output), Path(path))
    refuse_existing(Path(output), overwrite)
    model = load_proto(path)
    require_sound(model, os.fspath(path))
    reading = Reading(model)
    annotation = annotation_of(reading, states or {}, lengths)
    write_spec(model, annotation.spec)
    if model.ByteSize() > LARGEST_FILE:
        raise WriteError(f"{output}: the model is over 2 GB and does not fit one file")
    with replacing(Path(output), overwrite) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return annotation


def annotation_of(
    reading: Reading, told: Mapping[str, str], lengths: str | None = None
) -> Annotation:
    """What a model promises, as far as its graph shows and a person tells.

    Raises:
        RequestError: a name that the graph does not have, or states that do not fit together.
        UnsupportedModelError: it is unclear which output a state's successor is.
    """
    _require_fitting(reading, told)
    found = recognise(reading)
    kept = [p for p in found.pairs if p.input not in told and p.output not in told.values()]
    for entry, choices in found.unclear:
        if entry not in told:
            raise UnsupportedModelError(
                f"the successor of the state '{entry}' may be any of {', '.join(choices)}: "
                f"say which with --state {entry}={choices[0]}"
            )
    if lengths is not None and lengths not in reading.main.input_names:
        raise RequestError(_unknown("input", lengths, reading.main.input_names))
    if lengths is not None and not holds_lengths(reading, lengths):
        raise RequestError(
            f"the input '{lengths}' is {reading.main.dtype(lengths)}"
            f"{list(reading.main.shape(lengths) or ())}: lengths are int64 or int32, one a row"
        )
    pairs = [*(Pair(entry, output) for entry, output in told.items()), *kept]
    order = {name: index for index, name in enumerate(reading.main.input_names)}
    pairs.sort(key=lambda pair: order[pair.input])
    spec = _spec(reading, pairs, lengths or row_lengths(reading))
    lost = tuple(name for name in found.lost if name not in told)
    return Annotation(spec, tuple(kept), lost)


def write_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Put a spec into a model's metadata, in place of the one that is there."""
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=METADATA_KEY, value=spec.to_json())


def rename_in_spec(model: onnx.ModelProto, renamed: Mapping[str, str]) -> None:
    """Follow renamed inputs and outputs in a model's own description, where it has one."""
    spec = own_spec(model)
    if spec is None or not renamed:
        return

    def new(name: str) -> str:
        return renamed.get(name, name)

    write_spec(
        model,
        replace(
            spec,
            inputs=tuple(replace(t, name=new(t.name)) for t in spec.inputs),
            outputs=tuple(replace(t, name=new(t.name)) for t in spec.outputs),
            states=tuple(replace(s, input=new(s.input), output=new(s.output)) for s in spec.states),
            lengths=None if spec.lengths is None else new(spec.lengths),
        ),
    )


def refresh_spec(model: onnx.ModelProto) -> None:
    """Describe the inputs and outputs anew, after a repair added or took away some."""
    spec = own_spec(model)
    if spec is None:
        return
    inputs = {value.name for value in model.graph.input}
    outputs = {value.name for value in model.graph.output}
    told = {s.input: s.output for s in spec.states if s.input in inputs and s.output in outputs}
    write_spec(model, annotation_of(Reading(model), told).spec)


def own_spec(model: onnx.ModelProto) -> ModelSpec | None:
    """What a model says of itself; None where it says nothing that can be read."""
    text = next((e.value for e in model.metadata_props if e.key == METADATA_KEY), None)
    try:
        return None if text is None else parse(text)
    except RnnportError:
        return None  # the check of the metadata reports it


def _require_fitting(reading: Reading, told: Mapping[str, str]) -> None:
    main = reading.main
    for entry, output in told.items():
        if entry not in main.input_names:
            raise RequestError(_unknown("input", entry, main.input_names))
        if output not in main.output_names:
            raise RequestError(_unknown("output", output, main.output_names))
        one, other = main.shape(entry), main.shape(output)
        if not compatible(one, other) or main.dtype(entry) != main.dtype(output):
            raise RequestError(
                f"the state '{entry}' is {main.dtype(entry)}{list(one or ())} and '{output}' is "
                f"{main.dtype(output)}{list(other or ())}: a successor has the state's own form"
            )
    if len(set(told.values())) < len(told):
        raise RequestError("two states were given the same output")


def _unknown(what: str, name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, 1)
    hint = f"; nearest is '{near[0]}'" if near else ""
    return f"the model has no {what} '{name}'; it has {', '.join(names)}{hint}"


def _spec(reading: Reading, pairs: list[Pair], lengths: str | None) -> ModelSpec:
    inputs, outputs = tensor_specs(reading)
    entries = {pair.input for pair in pairs}
    inputs = tuple(_with_batch(t) if t.name in entries else t for t in inputs)
    by_name = {tensor.name: tensor for tensor in inputs}
    states = tuple(
        StateSpec(p.input, p.output, by_name[p.input].dtype, by_name[p.input].shape) for p in pairs
    )
    told = reading.metadata.get(METADATA_KEY)
    base = parse(told) if told else ModelSpec(inputs, outputs, provenance=_provenance(reading))
    spec = replace(base, inputs=inputs, outputs=outputs, states=states, lengths=lengths)
    return spec if told else replace(spec, time=_time(spec))


def _with_batch(state: TensorSpec) -> TensorSpec:
    """A state's one open axis is the batch, also where the graph does not show it."""
    unknown = [axis for axis, size in enumerate(state.shape) if isinstance(size, str)]
    if not unknown or (state.shape[unknown[0]] == BATCH and len(unknown) == 1):
        return state
    if len(unknown) > 1:
        raise UnsupportedModelError(
            f"the state '{state.name}' has the shape {list(state.shape)}: only the batch of a "
            "state may be open, its other axes need a fixed size"
        )
    shape = tuple(BATCH if axis == unknown[0] else size for axis, size in enumerate(state.shape))
    return replace(state, shape=shape, batch_axis=unknown[0])


def _time(spec: ModelSpec) -> TimeSpec:
    """A time that the graph fixes is the only one that it accepts."""
    for tensor in spec.data_inputs():
        if tensor.time_axis is not None:
            size = tensor.shape[tensor.time_axis]
            return TimeSpec(min=size, max=size) if isinstance(size, int) else TimeSpec()
    return TimeSpec()


def _provenance(reading: Reading) -> dict[str, str]:
    from rnnport import __version__

    return {
        "producer": f"{reading.model.producer_name} {reading.model.producer_version}".strip(),
        "annotated_by": f"rnnport {__version__}",
    }
