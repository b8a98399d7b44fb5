"""Text, translation and transducers as papers describe them, at shapes other than the example's."""

import pytest
import torch
from architectures import language, sequences, transducer
from architectures.proof import carried, drawn, ids, ragged, streamed

import rnnport
from rnnport.errors import UnsupportedModelError

PIECES = (5, 1, 1, 3, 9)


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.onnx"


def tokens(batch, time):
    return {"text": ids(batch, time, high=20)}


def frames(batch, time):
    return {"x": drawn(batch, time, 10)}


def longest_first(batch, time):
    lengths = ragged(batch, time)
    lengths[0] = time
    return lengths


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN_TANH", "RNN_RELU"])
def test_the_word_model_takes_and_gives_its_hidden_state(path, kind):
    def given(time, batch):
        h, c = drawn(2, batch, 16), drawn(2, batch, 16, seed=2)
        return {"tokens": ids(time, batch, high=30), "hidden": (h, c) if kind == "LSTM" else h}

    carried(path, language.WordModel(kind), given, (5, 3), [(1, 1), (35, 2)])


def test_the_word_model_streams_from_zeros_given_twice(path):
    def given(batch, time):
        zeros = torch.zeros(2, batch, 16)
        return {"tokens": ids(time, batch, high=30), "hidden": (zeros, zeros)}

    axes = ([0, None, None], [0, None, None])
    streamed(path, language.WordModel(), given, (3, 5), PIECES, axes)


def test_a_character_model_answers_with_and_without_a_state(path):
    def begun(batch, time):
        return tokens(batch, time) | {"hidden": (drawn(2, batch, 16), drawn(2, batch, 16, seed=1))}

    carried(path, language.CharacterModel(), begun, (3, 5), [(1, 1), (7, 33)])
    fresh = path.with_name("fresh.onnx")
    carried(fresh, language.CharacterModel(), tokens, (3, 5), [(1, 1), (7, 33)])


def test_a_character_model_streams(path):
    streamed(path, language.CharacterModel(), tokens, (3, 5), PIECES, (1, [1, None, None]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_elmo_mixes_projected_language_models_of_both_directions(path):
    def given(batch, time):
        return {"characters": ids(batch, time, 6, high=30)}

    carried(path, language.ELMo(), given, (3, 5), [(1, 1), (7, 33)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_transducer_s_encoder_stacks_frames(path):
    module = transducer.Encoder()
    carried(path, module, frames, (3, 8), [(1, 1), (2, 33), (5, 40)])


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_an_encoder_that_drops_a_frame_begins_at_two(path):
    module = transducer.Encoder(rest="drop")
    report = carried(path, module, frames, (3, 8), [(1, 2), (2, 33)])
    assert report.spec.time.min == 2


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_an_encoder_that_pads_by_a_branch_is_refused_with_its_line(path):
    with pytest.raises(UnsupportedModelError, match=r"decides by a size at transducer.py.*elif"):
        rnnport.export(transducer.Encoder(rest="branch"), frames(3, 8), path)
    assert not path.exists()


def test_a_transducer_s_packed_encoder_halves_its_lengths(path):
    def given(batch, time):
        return frames(batch, time) | {"lengths": ragged(batch, time)}

    carried(path, transducer.PackedEncoder(), given, (3, 8), [(1, 1), (2, 33)])


@pytest.mark.parametrize("example", [(3, 8), (1, 1)])
def test_a_transducer_s_predictor_carries_its_states(path, example):
    def given(batch, time):
        states = drawn(2, batch, 16), drawn(2, batch, 16, seed=1)
        return {"y": ids(batch, time, high=20), "states": states}

    carried(path, transducer.Predictor(), given, example, [(1, 1), (2, 33)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_transducer_joins_every_frame_with_every_label(path):
    def given(batch, time, labels):
        return {
            "features": drawn(batch, time, 10),
            "labels": ids(batch, labels, high=20, low=1),
        }

    report = carried(path, transducer.Transducer(), given, (3, 8, 5), [(1, 1, 1), (2, 33, 7)])
    features, labels = (tensor.shape[1] for tensor in report.spec.inputs[:2])
    assert {features, labels} in ({"time", "features_time"}, {"time", "labels_time"})


def test_luong_s_translator_attends_to_a_packed_source(path):
    def given(time, batch, target):
        return {
            "source": ids(time, batch, high=30),
            "source_lengths": longest_first(batch, time),
            "target": ids(target, batch, high=30),
        }

    report = carried(path, sequences.LuongTranslator(), given, (6, 3, 4), [(1, 1, 1), (33, 5, 12)])
    assert report.spec.lengths == "source_lengths"


def test_bahdanau_s_translator_decodes_greedily_for_a_number_of_steps(path):
    def given(batch, time, steps):
        return {
            "source": ids(batch, time, high=30),
            "lengths": longest_first(batch, time),
            "steps": torch.tensor(steps),
        }

    carried(path, sequences.BahdanauTranslator(), given, (3, 6, 4), [(1, 1, 1), (5, 33, 12)])


def test_hierarchical_attention_reads_any_number_of_sentences_and_words(path):
    def given(batch, sentences, words):
        return {"documents": ids(batch, sentences, words, high=30)}

    module = sequences.HierarchicalAttention()
    carried(path, module, given, (3, 4, 5), [(1, 1, 1), (5, 7, 12)])


def test_a_tagger_with_characters_gives_emissions(path):
    def given(batch, time, characters):
        mask = torch.arange(time)[None] < longest_first(batch, time)[:, None]
        return {
            "words": ids(batch, time, high=30),
            "characters": ids(batch, time, characters, high=20),
            "mask": mask,
        }

    carried(path, sequences.CharTagger(), given, (3, 5, 7), [(1, 1, 7), (4, 33, 7)])


def test_siamese_sentences_have_lengths_of_their_own(path):
    def given(batch, left, right):
        return {
            "left": ids(batch, left, high=30),
            "left_lengths": ragged(batch, left),
            "right": ids(batch, right, high=30, seed=1),
            "right_lengths": ragged(batch, right, seed=1),
        }

    carried(path, sequences.Siamese(), given, (3, 5, 7), [(1, 1, 1), (4, 33, 4)])


def test_a_classifier_gathers_each_row_s_last_step(path):
    def given(batch, time):
        return {"x": drawn(batch, time, 6), "lengths": ragged(batch, time)}

    carried(path, sequences.LastOfEach(), given, (3, 5), [(1, 1), (4, 33)])
