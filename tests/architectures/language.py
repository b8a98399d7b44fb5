"""Language models: the word-level one with its hidden state, and ELMo's two directions."""

import torch
import torch.nn.functional as F
from torch import nn


class WordModel(nn.Module):
    """The well-known example: tokens [time, batch] and a hidden state, tied weights."""

    def __init__(
        self, rnn_type="LSTM", ntoken=30, ninp=16, nhid=16, nlayers=2, dropout=0.5, tie=True
    ):
        super().__init__()
        self.ntoken = ntoken
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(ntoken, ninp)
        if rnn_type in ["LSTM", "GRU"]:
            self.rnn = getattr(nn, rnn_type)(ninp, nhid, nlayers, dropout=dropout)
        else:
            nonlinearity = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}[rnn_type]
            self.rnn = nn.RNN(ninp, nhid, nlayers, nonlinearity=nonlinearity, dropout=dropout)
        self.decoder = nn.Linear(nhid, ntoken)
        if tie:
            if nhid != ninp:
                raise ValueError("When using the tied flag, nhid must be equal to emsize")
            self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        self.rnn_type, self.nhid, self.nlayers = rnn_type, nhid, nlayers

    def forward(self, tokens, hidden):
        emb = self.drop(self.encoder(tokens))
        output, hidden = self.rnn(emb, hidden)
        output = self.drop(output)
        decoded = self.decoder(output)
        decoded = decoded.view(-1, self.ntoken)
        return F.log_softmax(decoded, dim=1), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters())
        if self.rnn_type == "LSTM":
            return (
                weight.new_zeros(self.nlayers, bsz, self.nhid),
                weight.new_zeros(self.nlayers, bsz, self.nhid),
            )
        return weight.new_zeros(self.nlayers, bsz, self.nhid)


class CharacterModel(nn.Module):
    """Batch first, one-hot characters, a hidden state that may be left out."""

    def __init__(self, vocabulary=20, hidden=16):
        super().__init__()
        self.vocabulary = vocabulary
        self.lstm = nn.LSTM(vocabulary, hidden, 2, dropout=0.5, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(hidden, vocabulary)

    def forward(self, text, hidden=None):
        x = F.one_hot(text, self.vocabulary).float()
        if hidden is None:
            hidden = self.init_hidden(x.size(0))
        out, hidden = self.lstm(x, hidden)
        out = self.dropout(out)
        return self.fc(out), hidden

    def init_hidden(self, batch):
        weight = next(self.parameters()).data
        shape = (self.lstm.num_layers, batch, self.lstm.hidden_size)
        return (weight.new(*shape).zero_(), weight.new(*shape).zero_())


class ELMo(nn.Module):
    """Peters et al. 2018: char-CNN with highway, two-layer language models each way, mixed."""

    def __init__(self, characters=30, width=16, layers=2):
        super().__init__()
        self.embed = nn.Embedding(characters, 8, padding_idx=0)
        self.filters = nn.ModuleList(nn.Conv1d(8, 8, k) for k in (1, 2, 3))
        self.gate, self.transform = nn.Linear(24, 24), nn.Linear(24, 24)
        self.project = nn.Linear(24, width)
        self.forward_layers = nn.ModuleList(
            nn.LSTM(width, 2 * width, proj_size=width, batch_first=True) for _ in range(layers)
        )
        self.backward_layers = nn.ModuleList(
            nn.LSTM(width, 2 * width, proj_size=width, batch_first=True) for _ in range(layers)
        )
        self.scalars = nn.Parameter(torch.linspace(-0.3, 0.4, layers + 1))
        self.gamma = nn.Parameter(torch.tensor([1.2]))

    def tokens(self, characters):
        batch, words, length = characters.shape
        x = self.embed(characters.view(batch * words, length)).transpose(1, 2)
        x = torch.cat([F.relu(conv(x).max(dim=-1)[0]) for conv in self.filters], dim=-1)
        gate = torch.sigmoid(self.gate(x))
        x = gate * F.relu(self.transform(x)) + (1 - gate) * x
        return self.project(x).view(batch, words, -1)

    def forward(self, characters):
        mask = (characters > 0).long().sum(-1) > 0  # [batch, words]
        x = self.tokens(characters)
        ahead, back = x, torch.flip(x, dims=[1])
        layers = [torch.cat([x, x], -1)]
        for i, (one, two) in enumerate(zip(self.forward_layers, self.backward_layers)):
            ahead_out, back_out = one(ahead)[0], two(back)[0]
            if i > 0:
                ahead_out, back_out = ahead_out + ahead, back_out + back
            ahead, back = ahead_out, back_out
            layers.append(torch.cat([ahead, torch.flip(back, dims=[1])], -1))
        weights = torch.softmax(self.scalars, 0)
        mixed = sum(w * layer for w, layer in zip(weights, layers))
        return self.gamma * mixed * mask.unsqueeze(-1).float()
