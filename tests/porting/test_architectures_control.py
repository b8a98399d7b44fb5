"""Policies, forecasters and cells of one's own as papers describe them, at other shapes."""

import pytest
import torch
from architectures import cells, forecasting, policies
from architectures.proof import carried, drawn, ids, streamed

PIECES = (4, 1, 1, 3)


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.onnx"


def clip(batch, time):
    return {"frames": drawn(batch, time, 1, 8, 6)}


def narrow(batch, time):
    return {"x": drawn(batch, time, 6)}


def wide(batch, time):
    return {"x": drawn(batch, time, 12)}


def test_a_policy_of_one_step_forgets_where_an_episode_starts(path):
    def given(batch):
        return {
            "observation": drawn(batch, 6),
            "state": (drawn(1, batch, 16), drawn(1, batch, 16, seed=1)),
            "episode_start": ids(batch, high=2).float(),
        }

    report = carried(path, policies.StepPolicy(), given, (3,), [(1,), (7,)])
    assert all(each.time_axis is None for each in report.spec.inputs)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_a_policy_of_rollouts_resets_its_state_within_them(path, dtype):
    def given(batch, time):
        return {
            "obs": drawn(batch, time, 6),
            "dones": ids(batch, time, high=2).to(dtype),
            "hidden": drawn(batch, 16),
        }

    carried(path, policies.SequencePolicy(), given, (3, 5), [(1, 1), (7, 33)])


@pytest.mark.parametrize("example", [(5, 3), (1, 3)])
def test_a_policy_sees_pixels_with_its_last_action_and_reward(path, example):
    def given(time, batch):
        return {
            "frame": ids(time, batch, 1, 16, 16, high=256).to(torch.uint8),
            "last_action": ids(time, batch, high=4),
            "reward": drawn(time, batch),
            "core_state": (drawn(2, batch, 16), drawn(2, batch, 16, seed=1)),
        }

    carried(path, policies.PixelPolicy(), given, example, [(1, 1), (7, 2)])


def test_a_deep_ar_scales_its_series_and_gives_mu_and_sigma(path):
    def given(batch, time):
        return {
            "target": drawn(batch, time) * 5 + 3,
            "covariates": drawn(batch, time, 3),
            "item": ids(batch, high=5),
        }

    carried(path, forecasting.DeepAR(), given, (4, 9), [(1, 1), (2, 33)])


def test_a_deep_ar_of_one_step_takes_hidden_and_cell(path):
    def given(time, batch):
        states = {"hidden": drawn(3, batch, 16), "cell": drawn(3, batch, 16, seed=1)}
        return {"x": drawn(time, batch, 4)} | states

    carried(path, forecasting.StreamedDeepAR(), given, (1, 4), [(1, 2), (1, 7)])


def test_a_forecaster_feeds_its_mean_back_over_any_horizon(path):
    def given(batch, time, steps):
        return {"past": drawn(batch, time, 1) * 4 + 2, "steps": torch.tensor(steps)}

    carried(path, forecasting.HorizonForecaster(), given, (3, 9, 4), [(1, 2, 1), (4, 33, 30)])


def test_a_conv_lstm_predicts_frames_and_streams(path):
    carried(path, cells.ConvLSTM(), clip, (3, 5), [(1, 1), (2, 12)])
    streamed(path.with_name("stream.onnx"), cells.ConvLSTM(), clip, (3, 5), PIECES, 1)


def test_a_qrnn_shifts_its_input_and_streams(path):
    carried(path, cells.QRNN(), narrow, (3, 5), [(1, 1), (2, 12)])
    stream = path.with_name("stream.onnx")
    streamed(stream, cells.QRNN(), narrow, (3, 5), PIECES, (1, [1, None]))


def test_an_sru_stack_answers_any_length(path):
    carried(path, cells.SRU(), wide, (3, 5), [(1, 1), (2, 12)])


@pytest.mark.slow
def test_an_sru_stack_streams(path):
    streamed(path, cells.SRU(), wide, (3, 5), PIECES, (1, [1, None]))


def test_a_min_gru_answers_any_length_and_streams(path):
    carried(path, cells.MinGRU(), narrow, (3, 5), [(1, 1), (2, 12)])
    streamed(path.with_name("stream.onnx"), cells.MinGRU(), narrow, (3, 5), PIECES, 1)


@pytest.mark.slow
def test_a_wave_rnn_draws_samples_for_frames(path):
    def given(batch, time, steps):
        return {"mels": drawn(batch, time, 5), "steps": torch.tensor(steps)}

    carried(path, cells.WaveRNN(), given, (3, 5, 20), [(1, 1, 1), (2, 12, 40)])


def test_zoneout_is_the_expected_state_with_states_in_and_out(path):
    def given(batch, time):
        states = {"h": drawn(batch, 12), "c": drawn(batch, 12, seed=1)}
        return narrow(batch, time) | states

    carried(path, cells.Zoneout(), given, (3, 5), [(1, 1), (2, 12)])
