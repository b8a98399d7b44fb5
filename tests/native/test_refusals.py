"""What does not fit ends in an error that says so, never in a crash; what is odd but right runs."""

import ctypes

import numpy as np
import onnxruntime
import pytest
from native_layers import Layer, expected, model_of, random_call, session_of
from onnx import helper, numpy_helper

InvalidArgument = onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument
ALL_INPUTS = ("X", "sequence_lens", "initial_h", "initial_c")


@pytest.fixture(scope="module")
def session():
    return session_of(model_of(Layer(), ALL_INPUTS))


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("X", np.zeros((4, 3, 6), np.float32), r"X is \[4, 3, 6\]; expected \[4, 3, 5\]"),
        ("initial_h", np.zeros((1, 2, 7), np.float32), r"initial_h is .*expected \[1, 3, 7\]"),
        ("initial_c", np.zeros((2, 3, 7), np.float32), "initial_c is"),
        ("sequence_lens", np.zeros(2, np.int32), r"sequence_lens is \[2\]; expected \[3\]"),
        ("sequence_lens", np.array([0, 5, 1], np.int32), "sequence_lens has 5; expected 0 to 4"),
        ("sequence_lens", np.array([0, -1, 1], np.int32), "sequence_lens has -1"),
    ],
)
def test_an_input_that_does_not_fit_is_named(session, name, wrong, said):
    feeds = random_call(Layer(), 4, 3, lengths=True, states=True)
    with pytest.raises(InvalidArgument, match=said):
        session.run(None, {**feeds, name: wrong})


def changed(change, op="LSTM"):
    model = model_of(Layer(op))
    change(model.graph)
    return model


def set_attribute(name, value):
    def change(graph):
        node = graph.node[0]
        kept = [each for each in node.attribute if each.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def replace_weight(name, array):
    def change(graph):
        (tensor,) = (each for each in graph.initializer if each.name == name)
        tensor.CopyFrom(numpy_helper.from_array(array, name))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_attribute("hidden_size", 0), "hidden_size is 0"),
        (set_attribute("hidden_size", 8), "W is"),
        (set_attribute("direction", "sideways"), "direction is 'sideways'"),
        (set_attribute("direction", "bidirectional"), "W is"),
        (replace_weight("W", np.zeros((1, 28), np.int8)), "W is"),
        (replace_weight("W", np.zeros((1, 28, 0), np.int8)), "W is"),
        (replace_weight("R", np.zeros((1, 28, 8), np.int8)), "R is"),
        (replace_weight("W_scale", np.zeros((1, 27, 1), np.float32)), "W_scale is"),
        (replace_weight("B", np.zeros((1, 28), np.float32)), "B is"),
        (replace_weight("R", np.zeros((1, 1, 28, 7), np.int8)), "more than 3 axes"),
        (replace_weight("R", np.zeros((1, 28, 7), np.float32)), "tensor.float."),
    ],
)
def test_a_node_that_does_not_fit_is_refused_when_it_is_loaded(change, said):
    with pytest.raises(Exception, match=said):
        session_of(changed(change))


def test_an_activation_that_the_kernel_does_not_have_is_refused():
    model = changed(set_attribute("activation", "Elu"), "RNN")
    with pytest.raises(Exception, match="activation is 'Elu'"):
        session_of(model)


def test_weights_that_are_fed_in_every_run_are_used():
    layer = Layer("GRU", direction="bidirectional")
    feeds, stored = random_call(layer, 4, 3), layer.stored()
    model = model_of(layer)
    del model.graph.initializer[:]
    for name, array in stored.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        model.graph.input.append(helper.make_tensor_value_info(name, kind, list(array.shape)))
    session = session_of(model)
    answer = session.run(["Y"], {**feeds, **stored})[0]
    np.testing.assert_allclose(answer, expected(layer, feeds)["Y"], 0, 3e-4)
    zero = session.run(["Y"], {**feeds, **stored, "R": stored["R"] * 0})[0]
    assert np.abs(zero - answer).max() > 1e-3


def test_an_output_that_nobody_reads_is_not_made():
    layer = Layer()
    model = model_of(layer)
    model.graph.node[0].output[:] = ["", "Y_h", ""]
    del model.graph.output[2], model.graph.output[0]
    feeds = random_call(layer, 4, 3)
    (answer,) = session_of(model).run(None, feeds)
    np.testing.assert_allclose(answer, expected(layer, feeds)["Y_h"], 0, 3e-4)


def test_an_empty_batch_gives_empty_answers():
    feeds = {"X": np.zeros((4, 0, 5), np.float32)}
    answers = session_of(model_of(Layer())).run(None, feeds)
    assert [answer.shape for answer in answers] == [(4, 1, 0, 7), (1, 0, 7), (1, 0, 7)]


def test_a_runtime_that_is_too_old_is_told_so_in_its_own_terms(library):
    said = []
    create_status = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(
        lambda code, message: said.append((code, message.decode())) or 1
    )
    table = (ctypes.c_void_p * 1)(ctypes.cast(create_status, ctypes.c_void_p))
    get_api = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(
        lambda version: ctypes.addressof(table) if version == 1 else None
    )
    base = (ctypes.c_void_p * 2)(ctypes.cast(get_api, ctypes.c_void_p), None)
    register = ctypes.CDLL(str(library)).RegisterCustomOps
    register.restype = ctypes.c_void_p
    assert register(None, base) == 1
    assert said == [(1, "rnnport needs ONNX Runtime 1.17 or newer")]


def test_a_runtime_whose_table_is_another_is_refused_before_it_is_used(library):
    said = []
    answer = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(
        lambda code, message: said.append(message.decode()) or 1
    )
    wrong = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: -1)  # whatever is asked
    table = (ctypes.c_void_p * 400)(*[ctypes.cast(wrong, ctypes.c_void_p).value] * 400)
    table[0] = ctypes.cast(answer, ctypes.c_void_p).value
    get_api = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(lambda _: ctypes.addressof(table))
    base = (ctypes.c_void_p * 2)(ctypes.cast(get_api, ctypes.c_void_p), None)
    register = ctypes.CDLL(str(library)).RegisterCustomOps
    register.restype = ctypes.c_void_p
    assert register(None, base) == 1
    assert said[-1] == "rnnport: this ONNX Runtime's statuses are not what was expected"
