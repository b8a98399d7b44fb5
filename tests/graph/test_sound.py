"""Malformed, hostile and absurd files end in one clear error, soon and in little memory."""

import struct
import subprocess
import sys
import time

import numpy as np
import onnx
import psutil
import pytest
from graph_models import constant, model, normal, recurrent, save, states_of, value
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from rnnport.errors import ModelFileError, RequestError
from rnnport.graph import shapes
from rnnport.graph.annotate import annotation_of
from rnnport.graph.check.run import check_file, findings, targets_of
from rnnport.graph.check.table import RULES
from rnnport.graph.reading import open_reading

ALL = targets_of(["ort-cpu", "ort-cuda", "openvino", "rten", "tract"])
node = helper.make_node


def cycle():
    made = recurrent("LSTM")
    made.graph.node[0].input[0] = "loop"
    made.graph.node.append(node("Relu", ["y"], ["back"]))
    made.graph.node.append(node("Transpose", ["back"], ["loop"]))
    return made


def missing():
    made = recurrent("LSTM")
    made.graph.node[0].input[1] = "nowhere"
    return made


def missing_inside():
    body = helper.make_graph([node("Relu", ["nowhere"], ["b"])], "b", [], [value("b", [1])])
    choice = node("If", ["flag"], ["y"], then_branch=body, else_branch=body)
    return model([choice], [value("flag", [], "bool")], [value("y", [1])])


def twice():
    made = recurrent("LSTM")
    made.graph.node.append(node("Relu", ["x"], ["y"]))
    return made


def huge_weight(*dims):
    made = recurrent("LSTM")
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend(dims)
    return made


def huge_constant():
    made = recurrent("LSTM")
    tensor = constant("t", [1.0])
    tensor.dims[0] = 1 << 62
    made.graph.node.insert(0, node("Constant", [], ["unused"], value=tensor))
    return made


def calling_each_other():
    made = recurrent("LSTM")
    for name, other in (("A", "B"), ("B", "A")):
        made.functions.append(
            helper.make_function(
                "local", name, ["p"], ["q"], [node(other, ["p"], ["q"], domain="local")],
                [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)],
            )
        )  # fmt: skip
    made.opset_import.append(helper.make_opsetid("local", 1))
    made.graph.node.append(node("A", ["y"], ["z"], domain="local"))
    return made


def billion_laughs(levels=40):
    made = recurrent("LSTM")
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    for level in range(levels):
        inner, domain = (f"F{level - 1}", "local") if level else ("Relu", "")
        calls = [
            node(inner, ["p"], ["m"], domain=domain),
            node(inner, ["m"], ["q"], domain=domain),
        ]
        made.functions.append(
            helper.make_function("local", f"F{level}", ["p"], ["q"], calls, imports)
        )
    made.opset_import.append(helper.make_opsetid("local", 1))
    made.graph.node.append(node(f"F{levels - 1}", ["y"], ["z"], domain="local"))
    return made


def nothing():
    return onnx.ModelProto(ir_version=8)


def no_opset():
    made = recurrent("LSTM")
    del made.opset_import[:]
    return made


def unknown_type():
    made = recurrent("LSTM")
    made.graph.initializer[0].data_type = 77
    return made


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (cycle(), "waits for itself"),
        (missing(), "reads 'nowhere', which nothing makes"),
        (missing_inside(), "reads 'nowhere', which nothing makes"),
        (twice(), "is made twice"),
        (huge_weight(1 << 62, 1 << 62, 4), "declares the shape"),
        (huge_weight(-1, 12, 3), "impossible shape"),
        (huge_weight(*[1] * 5000), "impossible shape"),
        (huge_constant(), "declares the shape"),
        (calling_each_other(), "calls itself"),
        (billion_laughs(), "more nodes than can be handled"),
        (nothing(), "not an ONNX model"),
        (no_opset(), "names no ONNX operator set"),
        (unknown_type(), "unknown type 77"),
    ],
)
def test_a_file_without_sense_is_refused_with_the_reason(made, says, tmp_path):
    with pytest.raises(ModelFileError, match=r"bad\.onnx") as caught:
        check_file(save(made, tmp_path / "bad.onnx"), RULES, ALL)
    assert says in str(caught.value)


def nested_bytes(levels):
    """Hand-made bytes of graphs in attributes of nodes in graphs …"""
    inner = b""
    for _ in range(levels):
        attribute = b"\x0a\x01g" + b"\x32" + varint(len(inner)) + inner
        one = b"\x2a" + varint(len(attribute)) + attribute
        inner = b"\x0a" + varint(len(one)) + one
    return b"\x08\x08\x3a" + varint(len(inner)) + inner


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize(
    "content",
    [b"", b"not an onnx file at all", b"\xff" * 4096, nested_bytes(30), nested_bytes(20_000)],
    ids=["empty", "text", "ones", "nested", "megabytes of nesting"],
)
def test_garbage_is_refused(content, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"bad\.onnx"):
        check_file(tmp_path / "bad.onnx", RULES, ALL)


def test_a_folder_and_a_missing_file_are_wrong_requests(tmp_path):
    for path in (tmp_path, tmp_path / "missing.onnx"):
        with pytest.raises(RequestError):
            check_file(path, RULES, ALL)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_declared_sizes_are_never_allocated(kind, tmp_path):
    made = recurrent("LSTM", batch=1 << 40, time=1 << 40)
    huge = constant("huge", [1 << 20, 1 << 20, 1 << 20])
    made.graph.initializer.append(huge)
    fill = helper.make_tensor("f", onnx.TensorProto.FLOAT, [1], [0.0])
    made.graph.node.append(node("ConstantOfShape", ["huge"], ["filled"], value=fill))
    made.graph.initializer.append(constant("one", [1], kind))
    made.graph.node.append(node("Expand", ["one", "huge"], ["spread"]))
    for index in range(60):  # doubles each time
        source = "one" if index == 0 else f"d{index - 1}"
        made.graph.node.append(node("Concat", [source, source], [f"d{index}"], axis=0))
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    check_file(save(made, tmp_path / "absurd.onnx"), RULES, ALL)
    assert time.perf_counter() - began < 20
    assert psutil.Process().memory_info().rss - before < 1.5e9


def test_an_input_of_absurd_length_is_not_followed_as_a_shape(tmp_path):
    made = recurrent("LSTM", lengths=True, batch=1 << 62)
    made.graph.node.insert(0, node("Cast", ["lengths"], ["wide"], to=onnx.TensorProto.INT64))
    made.graph.node.append(node("Expand", ["y", "wide"], ["z"]))
    made.graph.output.append(value("z", None))
    path = save(made, tmp_path / "absurd.onnx")
    check_file(path, RULES, targets_of([]))
    assert not shapes._vectors_stay_small(made)


def negative(kind):
    """A size that comes out negative in front of a Slice, where onnx's inference aborts."""
    ends = [constant("s", [0]), constant("e", [1]), constant("a", [0])]
    slicing = node("Slice", ["v", "s", "e", "a"], ["z"])
    if kind == "declared":
        return model([slicing], [value("v", [-5, 3])], [value("z", None)], ends)
    target = {"Pad": [-9, 0, 0, 0], "Expand": [-4, 3], "Split": [-5, 7]}[kind]
    nodes = [node("Slice", ["x", "s", "e", "a"], ["u"]), node(kind, ["u", "target"], ["v"])]
    given = [*ends, constant("target", target, np.int64)]
    return model([*nodes, slicing], [value("x", [2, 3])], [value("z", None)], given, opset=13)


@pytest.mark.parametrize("kind", ["declared", "Pad", "Expand", "Split"])
def test_a_negative_size_does_not_abort_the_process(kind, tmp_path):
    path = save(negative(kind), tmp_path / "negative.onnx")
    program = (
        "import sys; from rnnport.graph.check.run import check_file, targets_of; "
        "from rnnport.graph.check.table import RULES; "
        "check_file(sys.argv[1], RULES, targets_of([]))"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_long_chain_is_walked_and_not_recursed(tmp_path):
    made = recurrent("LSTM")
    chain = [node("Relu", ["y" if i == 0 else f"r{i - 1}"], [f"r{i}"]) for i in range(5000)]
    constants = [node("Neg", ["n" if i == 0 else f"n{i - 1}"], [f"n{i}"]) for i in range(3000)]
    made.graph.initializer.append(constant("n", [1.0]))
    made.graph.node.extend([*chain, *constants])
    assert {f.rule for f in check_file(save(made, tmp_path / "long.onnx"), RULES, ALL).findings}


SEEDS = [
    recurrent("GRU", states=states_of("GRU"), linear_before_reset=0).SerializeToString(),
    recurrent("LSTM", batch=2, time=5, lengths=True).SerializeToString(),
]


@settings(max_examples=300)
@given(data=st.data(), seed=st.sampled_from(SEEDS))
def test_mutated_bytes_are_checked_or_refused_and_never_crash(data, seed, tmp_path_factory):
    content = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.sampled_from(["byte", "cut", "drop", "double", "size"]))
        if change == "byte":
            content[place] = data.draw(st.integers(0, 255))
        elif change == "cut" and place:
            del content[place:]
        elif change == "drop":
            del content[place : place + data.draw(st.integers(1, 8))]
        elif change == "double":
            content[place:place] = content[place : place + 16]
        else:
            content[place : place + 8] = struct.pack("<q", 1 << 62)
        if not content:
            break
    path = tmp_path_factory.getbasetemp() / "mutated.onnx"
    path.write_bytes(content)
    try:
        check_file(path, RULES, ALL)
        annotation_of(open_reading(path), {})
    except (ModelFileError, RequestError):
        pass  # what a broken file should end in


OPERATORS = [
    *("LSTM", "GRU", "RNN", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Gather", "Slice"),
    *("Concat", "Split", "Expand", "MatMul", "Gemm", "Add", "Mul", "Where", "Identity", "Loop"),
    *("Scan", "If", "Constant", "Shape", "ConstantOfShape", "ReduceSum", "Conv", "Pad", "Cast"),
]


def scrambled(draw, made):
    """A model with some operators, names, attributes and shapes changed at random."""
    graph = made.graph
    graph.node.extend(node(draw(st.sampled_from(OPERATORS)), ["y"], [f"more{i}"]) for i in range(3))
    names = [*(t.name for t in graph.initializer), *(v.name for v in graph.input), "y", "more1", ""]
    for _ in range(draw(st.integers(1, 5))):
        one = graph.node[draw(st.integers(0, len(graph.node) - 1))]
        change = draw(st.sampled_from(["op", "input", "attribute", "shape", "weight"]))
        if change == "op":
            one.op_type = draw(st.sampled_from(OPERATORS))
        elif change == "input":
            one.input.append(draw(st.sampled_from(names)))
        elif change == "attribute":
            key = draw(st.sampled_from(["axis", "axes", "perm", "to", "num_scan_inputs", "layout"]))
            number = draw(st.sampled_from([-5, -1, 0, 1, 7, 1 << 62]))
            given_ = [number] if draw(st.booleans()) else number
            one.attribute.append(helper.make_attribute(key, given_))
        elif change == "shape":
            dims = graph.input[0].type.tensor_type.shape.dim
            dims.add(dim_value=draw(st.sampled_from([0, 1, 2, -1, 1 << 62])))
        else:
            tensor = graph.initializer[draw(st.integers(0, len(graph.initializer) - 1))]
            array = draw(st.sampled_from([np.zeros(0), np.zeros((2, 2)), np.asarray(1), np.eye(3)]))
            tensor.CopyFrom(constant(tensor.name, array))
    return made


@settings(max_examples=300)
@given(data=st.data(), seed=st.sampled_from(SEEDS))
def test_scrambled_models_are_checked_or_refused_and_never_crash(data, seed, tmp_path_factory):
    made = scrambled(data.draw, onnx.load_from_string(seed))
    path = save(made, tmp_path_factory.getbasetemp() / "scrambled.onnx")
    try:
        reading = open_reading(path)
        findings(reading, RULES, ALL)
        annotation_of(reading, {})
    except (ModelFileError, RequestError):
        pass


def test_a_file_of_10_megabytes_is_checked_in_two_seconds(tmp_path):
    width = 512
    made = recurrent("LSTM")
    del made.graph.initializer[:]
    made.graph.initializer.extend(
        [
            constant("W", normal(1, 4 * width, width)),
            constant("R", normal(1, 4 * width, width)),
            constant("B", normal(1, 8 * width)),
        ]
    )
    made.graph.node[0].attribute[0].i = width
    made.graph.input[0].CopyFrom(value("x", ["time", "batch", width]))
    made.graph.output[0].CopyFrom(value("y", ["time", 1, "batch", width]))
    made.graph.initializer.append(constant("head", normal(width, 1100)))
    for index in range(300):
        source = "y" if index == 0 else f"r{index - 1}"
        made.graph.node.append(node("Relu", [source], [f"r{index}"]))
    path = save(made, tmp_path / "large.onnx")
    assert path.stat().st_size > 10e6
    check_file(path, RULES, ALL)  # the first call imports what it needs
    began = time.perf_counter()
    check_file(path, RULES, ALL)
    assert time.perf_counter() - began < 2
