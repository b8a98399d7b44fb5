"""Recurrent policies for reinforcement learning: states in and out, reset where episodes begin."""

import torch
import torch.nn.functional as F
from torch import nn

import rnnport


class StepPolicy(nn.Module):
    """One step of an environment: (observation, state, episode_start) to an action and a state."""

    def __init__(self, observations=6, hidden=16, actions=3):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(observations, 16), nn.Tanh())
        self.lstm = nn.LSTM(16, hidden)
        self.actor = nn.Linear(hidden, actions)
        self.critic = nn.Linear(hidden, 1)
        self.log_std = nn.Parameter(torch.full((actions,), -0.5))

    def forward(self, observation, state, episode_start):
        h, c = state
        keep = (1.0 - episode_start).view(1, -1, 1)
        features = self.features(observation).unsqueeze(0)
        y, state = self.lstm(features, (keep * h, keep * c))
        y = y.squeeze(0)
        mean = torch.tanh(self.actor(y))
        return {
            "action": torch.clamp(mean, -1.0, 1.0),
            "std": self.log_std.exp().expand_as(mean),
            "value": self.critic(y).squeeze(-1),
            "state": state,
        }


class ResettingGRUCell(nn.Module):
    """A GRU cell whose state is wiped where an episode begins."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.cell = nn.GRUCell(inputs, hidden)

    def forward(self, x, state):
        features, start = x
        state = state * (1.0 - start.float()).unsqueeze(1)
        return self.cell(features, state)


class SequencePolicy(nn.Module):
    """Rollouts [batch, time, …] with done masks within them, discrete actions."""

    def __init__(self, observations=6, hidden=16, actions=4):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(observations, 16), nn.LayerNorm(16), nn.ELU(), nn.Linear(16, 16), nn.ELU()
        )
        self.memory = rnnport.Recurrent(ResettingGRUCell(16, hidden))
        self.pi = nn.Linear(hidden, actions)
        self.v = nn.Linear(hidden, 1)

    def forward(self, obs, dones, hidden):
        y, hidden = self.memory((self.encoder(obs), dones), hidden)
        logits = self.pi(y)
        return {
            "logits": F.log_softmax(logits, -1),
            "action": logits.argmax(-1),
            "value": self.v(y).squeeze(-1),
            "hidden": hidden,
        }


class PixelPolicy(nn.Module):
    """Mirowski et al. 2016-like: a convolution over frames [T, B, C, H, W], last reward, LSTM."""

    def __init__(self, actions=4, hidden=16):
        super().__init__()
        self.actions = actions
        self.conv = nn.Sequential(
            nn.Conv2d(1, 4, 4, stride=2), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU()
        )
        self.fc = nn.Linear(8 * 3 * 3, 16)
        self.core = nn.LSTM(16 + actions + 1, hidden, num_layers=2)
        self.policy = nn.Linear(hidden, actions)
        self.baseline = nn.Linear(hidden, 1)

    def forward(self, frame, last_action, reward, core_state):
        T, B, *_ = frame.shape
        x = torch.flatten(frame, 0, 1).float() / 255.0
        x = self.conv(x)
        x = x.view(T * B, -1)
        x = F.relu(self.fc(x))
        one_hot = F.one_hot(last_action.view(T * B), self.actions).float()
        clipped = torch.clamp(reward, -1, 1).view(T * B, 1)
        core_input = torch.cat([x, clipped, one_hot], dim=-1).view(T, B, -1)
        core_output, core_state = self.core(core_input, core_state)
        core_output = torch.flatten(core_output, 0, 1)
        logits = self.policy(core_output)
        action = torch.argmax(logits, dim=1)
        return (
            dict(
                policy_logits=logits.view(T, B, self.actions),
                baseline=self.baseline(core_output).view(T, B),
                action=action.view(T, B),
            ),
            core_state,
        )
