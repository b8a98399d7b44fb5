"""Small recurrent ONNX files, sound and faulty, for the tests of check and annotate."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
I = 3  # noqa: E741 - the field's own name
H = 4  # hidden units


def normal(*shape, seed=1, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def value(name, shape, dtype="float32"):
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
    )


def constant(name, array, dtype=None):
    return numpy_helper.from_array(np.asarray(array, dtype), name)


def weights(op, directions=1, features=I, dtype="float32", prefix="", seed=0):
    rows = GATES[op] * H
    shapes = {"W": (rows, features), "R": (rows, H), "B": (2 * rows,)}
    return [
        constant(prefix + name, 0.5 * normal(directions, *shape, seed=seed + index), dtype)
        for index, (name, shape) in enumerate(shapes.items())
    ]


def model(nodes, inputs, outputs, initializers=(), *, opset=18, functions=(), domains=()):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    made.ir_version = 8 if opset > 8 else 3
    made.producer_name = "somebody"
    return made


def recurrent(op="LSTM", *, states=(), batch="batch", time="time", opset=18, directions=1,
              dtype="float32", lengths=False, **attributes):  # fmt: skip
    """x [time, batch, I] → y [time, directions, batch, H]; states as names: ("h0", "hn", …)."""
    entering, leaving = list(states[::2]), list(states[1::2])
    if op == "GRU":
        attributes.setdefault("linear_before_reset", 1)
    if directions == 2:
        attributes["direction"] = "bidirectional"
    names = ["x", "W", "R", "B", "lengths" if lengths else "", *entering]
    while not names[-1]:
        names.pop()
    node = helper.make_node(
        op, names, ["y", *leaving], name=op.lower(), hidden_size=H,
        **{key: given for key, given in attributes.items() if given is not None},
    )  # fmt: skip
    inputs = [value("x", [time, batch, I], dtype)]
    inputs += [value("lengths", [batch], "int32")] if lengths else []
    inputs += [value(name, [directions, batch, H], dtype) for name in entering]
    outputs = [value("y", [time, directions, batch, H], dtype)]
    outputs += [value(name, [directions, batch, H], dtype) for name in leaving]
    made = model([node], inputs, outputs, weights(op, directions, dtype=dtype), opset=opset)
    if opset < 9:  # as files of that time are: each initializer is an input too
        made.graph.input.extend(value(t.name, list(t.dims)) for t in made.graph.initializer)
    return made


def states_of(op):
    return ("h0", "hn", "c0", "cn") if op == "LSTM" else ("h0", "hn")


def by_torch(made, version="2.10.0"):
    made.producer_name, made.producer_version = "pytorch", version
    return made


def save(made, path):
    path.write_bytes(made.SerializeToString())
    return path


def run(made, feeds):
    """What ONNX Runtime's CPU answers, by output name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    source = made.SerializeToString() if isinstance(made, onnx.ModelProto) else str(made)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def inside_if(made):
    """The same model with all its nodes in both branches of an If."""
    then, other = (
        helper.make_graph(
            list(made.graph.node), f"{name}_branch", [], list(made.graph.output)
        )
        for name in ("then", "else")
    )  # fmt: skip
    names = [output.name for output in made.graph.output]
    node = helper.make_node(
        "If", ["flag"], names, name="choice", then_branch=then, else_branch=other
    )
    inputs = [*made.graph.input, value("flag", [], "bool")]
    wrapped = model([node], inputs, made.graph.output, made.graph.initializer)
    wrapped.producer_name, wrapped.producer_version = made.producer_name, made.producer_version
    return wrapped


def inside_loop(made):
    """The same model with all its nodes in the body of a Loop that runs once."""
    names = [output.name for output in made.graph.output]
    body = helper.make_graph(
        [*made.graph.node, helper.make_node("Identity", ["go"], ["going"])], "body",
        [value("turn", [], "int64"), value("go", [], "bool")],
        [value("going", [], "bool"), *made.graph.output],
    )  # fmt: skip
    each = [f"{name}_each" for name in names]
    loop = helper.make_node("Loop", ["turns", "yes"], each, name="once", body=body)
    nodes = [loop, *_first_of(each, names)]
    given = [*made.graph.initializer, constant("turns", 1, np.int64), constant("yes", True)]
    return _as(made, nodes, made.graph.input, [*given, constant("front", [0], np.int64)])


def inside_scan(made):
    """The same model with all its nodes in the body of a Scan over one part of the first input."""
    x, *others = made.graph.input
    names = [output.name for output in made.graph.output]
    body = helper.make_graph(made.graph.node, "body", [x], made.graph.output)
    each = [f"{name}_each" for name in names]
    part = helper.make_node("Unsqueeze", ["whole", "front"], ["parts"])
    scan = helper.make_node("Scan", ["parts"], each, name="once", body=body, num_scan_inputs=1)
    whole = onnx.ValueInfoProto()
    whole.CopyFrom(x)
    whole.name = "whole"
    given = [*made.graph.initializer, constant("front", [0], np.int64)]
    return _as(made, [part, scan, *_first_of(each, names)], [whole, *others], given)


def _first_of(each, names):
    return [
        helper.make_node("Squeeze", [one, "front"], [name])
        for one, name in zip(each, names, strict=True)
    ]


def _as(made, nodes, inputs, initializers):
    wrapped = model(nodes, inputs, made.graph.output, initializers)
    wrapped.producer_name, wrapped.producer_version = made.producer_name, made.producer_version
    return wrapped


def inside_function(made):
    """The same model with its first node in the body of a local function."""
    node = made.graph.node[0]
    function = helper.make_function(
        "local", "Layer", [name for name in node.input if name], list(node.output),
        [node], [helper.make_opsetid("", 18)],
    )  # fmt: skip
    call = helper.make_node(
        "Layer", list(function.input), list(function.output), name="call", domain="local"
    )
    nodes = [call, *made.graph.node[1:]]
    wrapped = model(
        nodes, made.graph.input, made.graph.output, made.graph.initializer,
        functions=[function], domains=["local"],
    )  # fmt: skip
    wrapped.producer_name, wrapped.producer_version = made.producer_name, made.producer_version
    return wrapped
