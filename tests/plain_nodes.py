"""Recurrent layers as ONNX's own nodes, and sessions that give them to rnnport's provider."""

from dataclasses import replace

import onnxruntime
from native_layers import model_of
from onnx import helper

from rnnport.errors import UnavailableError
from rnnport.native.library import level
from rnnport.runtime.cpu import this_cpu
from rnnport.runtime.provider import PROVIDER, claimed_nodes, offer_provider

CPU = "CPUExecutionProvider"


def _is_measured():
    """Whether the provider's policy was measured on a processor like this one."""
    try:
        return level() == "avx2" and not this_cpu().features["avx512f"]
    except UnavailableError:
        return False  # without the library its tests are left out


MEASURED = _is_measured()


def plain_model(layer, given=("X",), *, opset=18, **attributes):
    """A model of one node with float32 weights, and with attributes as given; see ``model_of``."""
    model = model_of(replace(layer, precision="fp32"), given, body=False)
    (node,) = model.graph.node
    node.op_type, node.domain = layer.op, ""
    replaced = {"activation", *attributes}
    kept = [each for each in node.attribute if each.name not in replaced]
    del node.attribute[:], model.opset_import[:]
    node.attribute.extend([*kept, *(helper.make_attribute(*each) for each in attributes.items())])
    model.opset_import.append(helper.make_opsetid("", opset))
    return model


def provider_session(model, precision="fp32", *, threads=1, **how):
    """The model with the provider, which claims all that it carries unless ``how`` says less."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    missing = offer_provider(options, precision, **{"claim": "all", **how})
    assert not missing, missing
    source = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options)


def stock_session(model):
    """The model in ONNX Runtime as it comes, on one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CPU])


def answers_of(session, feeds):
    """The answers by output name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def run_plain(layer, feeds, **how):
    """What the provider answers for one node, which it must have claimed."""
    session = provider_session(plain_model(layer, tuple(feeds)), layer.precision, **how)
    assert PROVIDER in session.get_providers()
    assert claimed_nodes(session) == ([f"{layer.op} 'layer'"], [])
    return answers_of(session, feeds)
