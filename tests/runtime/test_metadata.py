"""The metadata reader: it finds what ONNX Runtime finds, and refuses what is no ONNX file."""

import onnx
import onnxruntime
import pytest
import small_models
from onnx import helper

from rnnport.errors import ModelFileError, RequestError, SpecVersionError
from rnnport.runtime.metadata import read_metadata, read_spec

OPSET_BYTES = 6  # the field before the metadata: tag, length, domain "", version 18


def onnx_without_metadata(content):
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    return model.SerializeToString()


def test_reads_the_same_metadata_as_onnxruntime(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx", "GRU", streaming=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert read_metadata(path) == session.get_modelmeta().custom_metadata_map
    assert read_spec(path).classes == ("zero", "one", "two", "three", "four")


def test_a_file_without_metadata_has_no_spec(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx", spec=False)
    assert read_metadata(path) == {}
    assert read_spec(path) is None


def test_a_cut_anywhere_but_between_two_fields_is_refused(tmp_path):
    whole = small_models.classifier(tmp_path / "m.onnx").read_bytes()
    between = len(onnx_without_metadata(whole))
    cut = tmp_path / "cut.onnx"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        if length in (between, between - OPSET_BYTES):
            assert read_metadata(cut) == {}
            continue
        with pytest.raises(ModelFileError, match=r"cut\.onnx"):
            read_metadata(cut)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello, this is text\n", "not an ONNX model"),
        (b"\x89PNG\r\n\x1a\n" * 20, "not an ONNX model"),
        (b"\x08\x09", "holds no graph"),
    ],
)
def test_what_is_no_model_is_named(tmp_path, content, says):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=says):
        read_spec(path)


def test_a_missing_file_and_a_folder_are_wrong_requests(tmp_path):
    with pytest.raises(RequestError, match="does not exist"):
        read_spec(tmp_path / "m.onnx")
    with pytest.raises(RequestError, match="is a folder"):
        read_spec(tmp_path)


def test_a_newer_version_is_refused_with_the_way_out(tmp_path):
    path = small_models.classifier(tmp_path / "m.onnx")
    model = onnx.load(path)
    text = model.metadata_props[0].value
    helper.set_model_props(
        model, {"rnnport": text.replace('"format_version": 1', '"format_version": 99')}
    )
    onnx.save(model, path)
    with pytest.raises(SpecVersionError, match=r"99.*pip install --upgrade rnnport"):
        read_spec(path)
