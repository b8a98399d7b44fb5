"""Whether standard operators have the operands and attributes that the standard gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx
from onnx import AttributeProto

from rnnport.errors import ModelFileError

STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class Form:
    """What one version of an operator takes: the kinds of its attributes, its fewest operands."""

    attributes: dict[str, int]
    required: tuple[str, ...]
    inputs: int
    outputs: int


def require_forms(nodes: Sequence[onnx.NodeProto], opset: int) -> None:
    """Refuse standard operators with attributes of a wrong kind or too few operands.

    An operator that the standard does not have at this opset is left to the rules.

    Raises:
        ModelFileError: the node, and what is wrong with it.
    """
    for node in nodes:
        form = _form(node.op_type, opset) if node.domain in STANDARD else None
        if form is not None:
            _require_form(node, form)


def _require_form(node: onnx.NodeProto, form: Form) -> None:
    where = f"the {node.op_type} node '{node.name}'"
    given = {attribute.name: attribute for attribute in node.attribute}
    for name, attribute in given.items():
        kind = form.attributes.get(name, attribute.type)
        if attribute.type != kind or kind == AttributeProto.UNDEFINED:
            raise ModelFileError(
                f"{where} has the attribute '{name}' as {_kind(attribute.type)}, "
                f"expected {_kind(kind)}"
            )
    missing = [name for name in form.required if name not in given]
    if missing:
        raise ModelFileError(f"{where} lacks the attribute '{missing[0]}'")
    if len(node.input) < form.inputs or len(node.output) < form.outputs:
        raise ModelFileError(
            f"{where} has {len(node.input)} inputs and {len(node.output)} outputs, "
            f"expected {form.inputs} and {form.outputs} or more"
        )


@cache
def _form(op: str, opset: int) -> Form | None:
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except (onnx.defs.SchemaError, ValueError, TypeError, OverflowError):
        return None
    attributes = schema.attributes.values()
    return Form(
        {each.name: _number(each.type) for each in attributes},
        tuple(each.name for each in attributes if each.required),
        int(schema.min_input),
        int(schema.min_output),
    )


def _number(kind: Any) -> int:
    """The file's number of a schema's kind of attribute."""
    return int(AttributeProto.AttributeType.Value(kind.name))


def _kind(kind: int) -> str:
    try:
        return str(AttributeProto.AttributeType.Name(kind))
    except ValueError:
        return f"kind {kind}"
