"""Whether a parsed ONNX file makes sense at all, decided without believing any size it declares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto, external_data_helper, helper

from rnnport.errors import ModelFileError
from rnnport.graph.schema import STANDARD, require_forms

MAX_RANK = 64
MAX_EXPANDED_NODES = 2_000_000  # functions that call functions can stand for more than any memory

Body = onnx.GraphProto | onnx.FunctionProto
FunctionKey = tuple[str, str]


def require_sound(model: onnx.ModelProto, where: str) -> None:
    """Refuse a file in which names, tensors or calls contradict each other.

    Raises:
        ModelFileError: nothing to run, a value that nothing makes or that two nodes make, a cycle,
            a tensor whose data does not fill its dimensions, or functions that call each other.
    """
    try:
        if not model.graph.node and not model.graph.output:
            raise ModelFileError("it holds no graph")
        opset = standard_opset(model.opset_import)
        if opset < 1:
            raise ModelFileError("it names no ONNX operator set (opset_import)")
        _require_finite_calls(model)
        _require_body(model.graph, frozenset(), opset)
        for function in model.functions:
            _require_body(function, frozenset(), standard_opset(function.opset_import))
    except ModelFileError as error:
        raise ModelFileError(f"{where} is not a usable ONNX file: {error}") from error


def standard_opset(imports: Iterable[onnx.OperatorSetIdProto]) -> int:
    """The version of the standard operator set among those that a model or function imports."""
    return max((entry.version for entry in imports if entry.domain in STANDARD), default=0)


def subgraphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """The graphs that a node carries in its attributes, with the attributes' names."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.name, attribute.g
        for index, graph in enumerate(attribute.graphs):
            yield f"{attribute.name}[{index}]", graph


def _require_body(body: Body, outer: frozenset[str], opset: int) -> None:
    require_forms(body.node, opset)
    given = _given(body)
    makers: dict[str, int] = {}
    for index, node in enumerate(body.node):
        if not node.op_type:
            raise ModelFileError(f"node {index} ('{node.name}') has no operator")
        for name in filter(None, node.output):
            if name in makers or name in given:
                raise ModelFileError(f"the value '{name}' is made twice")
            makers[name] = index
    visible = outer | given | makers.keys()
    needs = [_needs(node, visible, opset) for node in body.node]
    for output in body.output:
        name = output if isinstance(output, str) else output.name
        if name not in visible:
            raise ModelFileError(f"the output '{name}' is made by no node")
    _require_acyclic(body, needs, makers)
    for tensor in _tensors(body):
        _require_tensor(tensor)


def _given(body: Body) -> frozenset[str]:
    if isinstance(body, onnx.FunctionProto):
        return frozenset(body.input)
    names = {value.name for value in body.input}
    names.update(tensor.name for tensor in body.initializer)
    names.update(sparse.values.name for sparse in body.sparse_initializer)
    return frozenset(names)


def _needs(node: onnx.NodeProto, visible: frozenset[str], opset: int) -> set[str]:
    names = {name for name in node.input if name}
    for name in names - visible:
        raise ModelFileError(
            f"the {node.op_type} node '{node.name}' reads '{name}', which nothing makes"
        )
    for _, graph in subgraphs(node):
        _require_body(graph, visible, opset)
        names |= _captured(graph)
    return names


def _captured(graph: onnx.GraphProto) -> set[str]:
    inside = set(_given(graph))
    used = {output.name for output in graph.output}
    for node in graph.node:
        inside.update(node.output)
        used.update(name for name in node.input if name)
        for _, inner in subgraphs(node):
            used |= _captured(inner)
    return used - inside


def _require_acyclic(body: Body, needs: list[set[str]], makers: dict[str, int]) -> None:
    waiting = [{makers[name] for name in names if name in makers} for names in needs]
    takers: dict[int, list[int]] = {}
    for index, sources in enumerate(waiting):
        for source in sources:
            takers.setdefault(source, []).append(index)
    left = [len(sources) for sources in waiting]
    ready = [index for index, count in enumerate(left) if count == 0]
    done = 0
    while ready:
        index = ready.pop()
        done += 1
        for taker in takers.get(index, ()):
            left[taker] -= 1
            if left[taker] == 0:
                ready.append(taker)
    if done < len(left):
        index = next(index for index, count in enumerate(left) if count)
        node = body.node[index]
        raise ModelFileError(f"the {node.op_type} node '{node.name}' waits for itself: a cycle")


def _tensors(body: Body) -> Iterator[TensorProto]:
    if isinstance(body, onnx.GraphProto):
        yield from body.initializer
        for sparse in body.sparse_initializer:
            yield sparse.values
            yield sparse.indices
    for node in body.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _require_tensor(tensor: TensorProto) -> None:
    elements = element_count(tensor.dims, f"the tensor '{tensor.name}'")
    if external_data_helper.uses_external_data(tensor):
        return
    try:
        held, wanted = _storage(tensor, elements)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"the tensor '{tensor.name}' has the unknown type {tensor.data_type}"
        ) from error
    if held != wanted:
        raise ModelFileError(
            f"the tensor '{tensor.name}' declares the shape {list(tensor.dims)} "
            f"but holds {held} of {wanted} pieces of data"
        )


def element_count(dims: Iterable[int], what: str) -> int:
    """How many elements a declared shape stands for; nothing is allocated."""
    sizes = list(dims)
    if len(sizes) > MAX_RANK or any(size < 0 for size in sizes):
        raise ModelFileError(f"{what} declares an impossible shape ({len(sizes)} axes)")
    return math.prod(sizes)


def _storage(tensor: TensorProto, elements: int) -> tuple[int, int]:
    kind = tensor.data_type
    if kind == TensorProto.STRING:
        return len(tensor.string_data), elements
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data), -(-elements * _bits(kind) // 8)
    field = getattr(tensor, helper.tensor_dtype_to_field(kind))
    if kind in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        return len(field), elements * 2
    packed = max(1, 8 // _bits(kind))  # four-bit and two-bit elements share a byte
    return len(field), -(-elements // packed)


def _bits(kind: int) -> int:
    name = TensorProto.DataType.Name(kind)
    for suffix, bits in (("INT2", 2), ("INT4", 4), ("FLOAT4E2M1", 4)):
        if name.endswith(suffix):
            return bits
    return int(helper.tensor_dtype_to_np_dtype(kind).itemsize) * 8


def _require_finite_calls(model: onnx.ModelProto) -> None:
    bodies = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[FunctionKey, int] = {}

    def size(key: FunctionKey, above: tuple[FunctionKey, ...]) -> int:
        if key in above or len(above) > 200:
            raise ModelFileError(f"the function '{key[1]}' calls itself")
        if key not in sizes:
            sizes[key] = _expanded(bodies[key], (*above, key))
        return sizes[key]

    def _expanded(body: Body, above: tuple[FunctionKey, ...]) -> int:
        total = 0
        for node in body.node:
            total += 1
            key = (node.domain, node.op_type)
            total += size(key, above) if key in bodies else 0
            total += sum(_expanded(graph, above) for _, graph in subgraphs(node))
        if total > MAX_EXPANDED_NODES:
            raise ModelFileError("its functions expand to more nodes than can be handled")
        return total

    for key in bodies:
        size(key, ())
    _expanded(model.graph, ())
