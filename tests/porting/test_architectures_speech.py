"""Speech and sound as papers describe it: each file answers as its module at other shapes."""

import pytest
import torch
from architectures import denoisers, keywords, reading, separation, tacotron, voice_activity
from architectures.proof import carried, drawn, ids, ragged, streamed
from torch import nn

import rnnport
from rnnport.errors import UnsupportedModelError

PIECES = (5, 1, 1, 3, 9)


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.onnx"


def image(batch, width):
    return {"images": drawn(batch, 1, 16, width)}


def spectrogram(batch, time):
    return {"x": drawn(batch, 1, 21, time), "lengths": ragged(batch, time)}


def magnitudes(batch, time):
    return {"x": drawn(batch, 2, 17, time).abs()}


def mel(batch, time):
    return {"mel": drawn(batch, time, 20)}


def text(batch, time):
    return {"text": ids(batch, time, high=30)}


def counted(batch, time, name="input_lengths"):
    lengths = ragged(batch, time)
    lengths[0] = time
    return text(batch, time) | {name: lengths}


def parts(batch, time):
    return {"spec": drawn(batch, 2, time, 17)}


def complex_bands(batch, time):
    return {"spec": drawn(batch, 17, time, 2)}


def test_a_crnn_reads_text_lines_of_any_width(path):
    report = carried(path, reading.CRNN(), image, (3, 60), [(1, 16), (2, 33), (5, 140)])
    assert report.spec.inputs[0].shape == ("batch", 1, 16, "time")  # not the channel


def test_a_crnn_says_from_which_width_on_it_reads(path):
    report = rnnport.export(reading.CRNN(), image(3, 60), path, verify=False)
    assert report.spec.time.min == 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_deep_speech_2_counts_its_lengths_through_the_strides(path, kind):
    module = reading.DeepSpeech2(kind=kind)
    carried(path, module, spectrogram, (3, 20), [(1, 1), (2, 7), (5, 61)])


@pytest.mark.parametrize("unidirectional", [False, True])
def test_open_unmix_separates_any_number_of_frames(path, unidirectional):
    module = separation.OpenUnmix(unidirectional=unidirectional)
    carried(path, module, magnitudes, (3, 9), [(1, 1), (2, 61)])


def test_open_unmix_in_one_direction_streams(path):
    module = separation.OpenUnmix(unidirectional=True)
    streamed(path, module, magnitudes, (3, 9), PIECES, 3)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_keyword_spotter_hears_its_last_step(path, bidirectional):
    module = keywords.CRNNKeywords(bidirectional=bidirectional)
    carried(path, module, mel, (3, 50), [(1, 17), (2, 100)])


@pytest.mark.parametrize("with_lengths", [False, True])
def test_a_keyword_spotter_attends_to_all_steps(path, with_lengths):
    def given(batch, time):
        lengths = {"lengths": ragged(batch, time)} if with_lengths else {}
        return mel(batch, time) | lengths

    carried(path, keywords.AttentionKeywords(), given, (3, 9), [(1, 1), (2, 33)])


def test_a_causal_keyword_spotter_streams(path):
    streamed(path, keywords.CausalKeywords(), mel, (3, 9), PIECES, 1)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (keywords.CRNNKeywords(bidirectional=False), "'conv' cannot stream: it strides by 2"),
        (keywords.CRNNKeywords(), "the bidirectional GRU of 'gru' cannot stream"),
        (keywords.AttentionKeywords(), "softmax in the module itself cannot stream: it looks"),
    ],
)
def test_what_needs_the_whole_recording_does_not_stream(path, module, reason):
    with pytest.raises(UnsupportedModelError, match=reason):
        rnnport.export(module, mel(3, 50), path, stream=True)


@pytest.mark.parametrize("given", [text, counted])
def test_a_cbhg_encoder_pools_and_crops(path, given):
    carried(path, tacotron.TextEncoder(), given, (3, 9), [(1, 1), (7, 33)])


@pytest.mark.slow
def test_tacotron_2_speaks_for_a_number_of_steps(path):
    def given(batch, time, steps):
        return counted(batch, time, "lengths") | {"steps": torch.tensor(steps)}

    carried(path, tacotron.Tacotron2(), given, (3, 9, 5), [(1, 1, 1), (5, 33, 20)])


@pytest.mark.slow
def test_a_forced_tacotron_takes_a_text_and_frames_of_unequal_lengths(path):
    def given(batch, time, frames):
        return text(batch, time) | {"mels": drawn(batch, frames, 6)}

    report = carried(path, tacotron.TeacherForced(), given, (3, 9, 5), [(1, 1, 1), (5, 33, 20)])
    assert [each.shape[1] for each in report.spec.inputs] == ["time", "mels_time"]


def test_a_denoiser_of_grouped_grus_answers_any_length(path):
    carried(path, denoisers.GroupedDenoiser(), parts, (3, 5), [(1, 1), (2, 33)])


def test_a_denoiser_of_grouped_grus_streams(path):
    streamed(path, denoisers.GroupedDenoiser(), parts, (3, 5), PIECES, 2)


@pytest.mark.slow
def test_a_dual_path_denoiser_answers_any_length(path):
    carried(path, denoisers.DualPathDenoiser(), complex_bands, (3, 6), [(1, 1), (2, 33)])


@pytest.mark.slow
def test_a_dual_path_denoiser_streams_with_a_state_for_every_band(path):
    module = denoisers.DualPathDenoiser()
    report = streamed(path, module, complex_bands, (3, 6), PIECES, 2)
    shapes = {state.input: state.shape for state in report.spec.states}
    assert shapes["state.paths.0.inter.h"] == ("batch", 5, 1, 8)
    assert "state.paths.0.intra.h" not in shapes  # it runs along the bands, anew at each step


def test_a_deep_filter_streams(path):
    def given(batch, time):
        return {"spec": drawn(batch, 1, time, 24, 2)}

    streamed(path, denoisers.DeepFilter(), given, (3, 5), PIECES, 2)


def test_a_voice_detector_hears_chunks_of_samples_with_its_state(path):
    def given(batch, samples=64):
        return {"x": drawn(batch, samples), "state": drawn(2, batch, 16)}

    carried(path, voice_activity.LayeredDetector(), given, (3,), [(1,), (2, 128)])


def test_a_voice_detector_that_keeps_its_state_streams(path):
    def given(batch, time):
        return {"x": drawn(batch, time, 17)}

    streamed(path, voice_activity.FrameDetector(), given, (3, 5), PIECES, 1)
