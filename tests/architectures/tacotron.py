"""Tacotron's parts: CBHG and packed encoders, decoders with prenet and attention, run by steps."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnport


class BatchNormConv1d(nn.Module):
    """Convolution, activation, batch norm."""

    def __init__(self, inputs, outputs, kernel, padding, activation=None):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=padding, bias=False)
        self.bn = nn.BatchNorm1d(outputs, momentum=0.99, eps=1e-3)
        self.activation = activation

    def forward(self, x):
        x = self.conv(x)
        if self.activation is not None:
            x = self.activation(x)
        return self.bn(x)


class Highway(nn.Module):
    """Srivastava et al. 2015."""

    def __init__(self, size):
        super().__init__()
        self.H = nn.Linear(size, size)
        self.T = nn.Linear(size, size)
        self.T.bias.data.fill_(-1)

    def forward(self, x):
        t = self.T(x).sigmoid()
        return F.relu(self.H(x)) * t + x * (1.0 - t)


class CBHG(nn.Module):
    """Wang et al. 2017: a bank of convolutions, highway layers and a BiGRU."""

    def __init__(self, size=12, K=5, projections=(12, 12)):
        super().__init__()
        self.size = size
        self.relu = nn.ReLU()
        self.bank = nn.ModuleList(
            BatchNormConv1d(size, size, k, k // 2, self.relu) for k in range(1, K + 1)
        )
        self.pool = nn.MaxPool1d(kernel_size=2, stride=1, padding=1)
        sizes = [K * size, *projections[:-1]]
        activations = [self.relu] * (len(projections) - 1) + [None]
        self.projections = nn.ModuleList(
            BatchNormConv1d(i, o, 3, 1, a) for i, o, a in zip(sizes, projections, activations)
        )
        self.pre_highway = nn.Linear(projections[-1], size, bias=False)
        self.highways = nn.ModuleList(Highway(size) for _ in range(4))
        self.gru = nn.GRU(size, size, 1, batch_first=True, bidirectional=True)

    def forward(self, inputs, input_lengths=None):
        x = inputs
        if x.size(-1) == self.size:
            x = x.transpose(1, 2)
        T = x.size(-1)
        x = torch.cat([conv(x)[:, :, :T] for conv in self.bank], dim=1)
        x = self.pool(x)[:, :, :T]
        for conv in self.projections:
            x = conv(x)
        x = x.transpose(1, 2)
        if x.size(-1) != self.size:
            x = self.pre_highway(x)
        x = x + inputs
        for highway in self.highways:
            x = highway(x)
        if input_lengths is not None:
            x = pack_padded_sequence(x, input_lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = self.gru(x)
        if input_lengths is not None:
            outputs, _ = pad_packed_sequence(outputs, batch_first=True)
        return outputs


class Prenet(nn.Module):
    """Two small layers; its dropout is for training here."""

    def __init__(self, inputs, sizes=(12, 12)):
        super().__init__()
        widths = [inputs, *sizes[:-1]]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths, sizes))

    def forward(self, x):
        for linear in self.layers:
            x = F.dropout(F.relu(linear(x)), p=0.5, training=self.training)
        return x


class TextEncoder(nn.Module):
    """Tacotron 1's: embedding, prenet, CBHG."""

    def __init__(self, symbols=30, size=12):
        super().__init__()
        self.embedding = nn.Embedding(symbols, size)
        self.prenet = Prenet(size, (size, size))
        self.cbhg = CBHG(size)

    def forward(self, text, input_lengths=None):
        return self.cbhg(self.prenet(self.embedding(text)), input_lengths)


class ConvolvedEncoder(nn.Module):
    """Tacotron 2's: three convolutions and a packed BiLSTM."""

    def __init__(self, symbols=30, size=12):
        super().__init__()
        self.embedding = nn.Embedding(symbols, size)
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.Conv1d(size, size, 5, padding=2), nn.BatchNorm1d(size))
            for _ in range(3)
        )
        self.lstm = nn.LSTM(size, size // 2, 1, batch_first=True, bidirectional=True)

    def forward(self, text, input_lengths):
        x = self.embedding(text).transpose(1, 2)
        for conv in self.convolutions:
            x = F.dropout(F.relu(conv(x)), 0.5, self.training)
        x = x.transpose(1, 2)
        x = pack_padded_sequence(
            x, input_lengths.cpu().numpy(), batch_first=True, enforce_sorted=False
        )
        self.lstm.flatten_parameters()
        outputs, _ = self.lstm(x)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True)
        return outputs


class LocationAttention(nn.Module):
    """Chorowski et al. 2015, with the weights so far and their sum convolved over positions."""

    def __init__(self, query=16, memory=12, size=10, filters=4, kernel=7):
        super().__init__()
        self.query_layer = nn.Linear(query, size, bias=False)
        self.memory_layer = nn.Linear(memory, size, bias=False)
        self.v = nn.Linear(size, 1, bias=False)
        self.conv = nn.Conv1d(2, filters, kernel, padding=(kernel - 1) // 2, bias=False)
        self.dense = nn.Linear(filters, size, bias=False)

    def forward(self, query, memory, processed_memory, weights_cat, mask):
        location = self.dense(self.conv(weights_cat).transpose(1, 2))
        energies = self.v(
            torch.tanh(self.query_layer(query.unsqueeze(1)) + location + processed_memory)
        ).squeeze(-1)
        if mask is not None:
            energies.data.masked_fill_(mask, -float("inf"))
        weights = F.softmax(energies, dim=1)
        context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        return context, weights


class DecoderStep(nn.Module):
    """One frame: prenet, attention LSTM, location-sensitive attention, decoder LSTM."""

    def __init__(self, mels=6, memory=12, hidden=16):
        super().__init__()
        self.hidden, self.memory, self.mels = hidden, memory, mels
        self.prenet = Prenet(mels, (12, 12))
        self.attention_rnn = nn.LSTMCell(12 + memory, hidden)
        self.attention_layer = LocationAttention(hidden, memory)
        self.decoder_rnn = nn.LSTMCell(hidden + memory, hidden)
        self.linear_projection = nn.Linear(hidden + memory, mels)
        self.gate_layer = nn.Linear(hidden + memory, 1)

    def forward(self, frame, state, memory, processed_memory, mask):
        ah, ac, dh, dc, weights, cumulated, context = state
        x = torch.cat((self.prenet(frame), context), -1)
        ah, ac = self.attention_rnn(x, (ah, ac))
        ah = F.dropout(ah, 0.1, self.training)
        both = torch.cat((weights.unsqueeze(1), cumulated.unsqueeze(1)), dim=1)
        context, weights = self.attention_layer(ah, memory, processed_memory, both, mask)
        cumulated = cumulated + weights
        dh, dc = self.decoder_rnn(torch.cat((ah, context), -1), (dh, dc))
        out = torch.cat((dh, context), dim=1)
        answer = (self.linear_projection(out), self.gate_layer(out).squeeze(-1), weights)
        return answer, (ah, ac, dh, dc, weights, cumulated, context)


class Tacotron2(nn.Module):
    """Shen et al. 2017: text to mel frames for a number of steps, with a postnet."""

    def __init__(self, mels=6, size=12, hidden=16):
        super().__init__()
        self.encoder = ConvolvedEncoder(size=size)
        self.step = DecoderStep(mels, size, hidden)
        self.decoder = rnnport.Recurrent(self.step)
        self.postnet = nn.Sequential(
            nn.Conv1d(mels, 8, 5, padding=2),
            nn.BatchNorm1d(8),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Conv1d(8, mels, 5, padding=2),
            nn.BatchNorm1d(mels),
        )

    def begin(self, memory):
        B, T = memory.size(0), memory.size(1)
        hidden = [memory.new_zeros(B, self.step.hidden) for _ in range(4)]
        places = [memory.new_zeros(B, T) for _ in range(2)]
        return (*hidden, *places, memory.new_zeros(B, self.step.memory))

    def forward(self, text, lengths, steps):
        memory = self.encoder(text, lengths)
        ids = torch.arange(memory.size(1), device=text.device)
        mask = ids.unsqueeze(0) >= lengths.unsqueeze(1)
        (mel, gate, alignments), _ = self.decoder(
            None,
            self.begin(memory),
            steps=steps,
            start=memory.new_zeros(memory.size(0), self.step.mels),
            memory=memory,
            processed_memory=self.step.attention_layer.memory_layer(memory),
            mask=mask,
        )
        mel_post = mel + self.postnet(mel.transpose(1, 2)).transpose(1, 2)
        return mel, mel_post, torch.sigmoid(gate), alignments


class TeacherForced(nn.Module):
    """Tacotron 1's decoder on given frames: attention GRU, Bahdanau's attention, residual GRUs."""

    class Step(nn.Module):
        def __init__(self, mels=6, size=12):
            super().__init__()
            self.size = size
            self.prenet = Prenet(mels, (size, size))
            self.attention_rnn = nn.GRUCell(2 * size, size)
            self.query = nn.Linear(size, size, bias=False)
            self.v = nn.Linear(size, 1, bias=False)
            self.project = nn.Linear(2 * size, size)
            self.decoder_rnns = nn.ModuleList(nn.GRUCell(size, size) for _ in range(2))
            self.mel = nn.Linear(size, mels)

        def forward(self, frame, state, memory, keys):
            attention, context, hiddens = state
            attention = self.attention_rnn(torch.cat((self.prenet(frame), context), -1), attention)
            energy = self.v(torch.tanh(self.query(attention).unsqueeze(1) + keys)).squeeze(-1)
            weights = F.softmax(energy, dim=-1)
            context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
            x = self.project(torch.cat((attention, context), -1))
            hiddens = list(hiddens)
            for i, rnn in enumerate(self.decoder_rnns):
                hiddens[i] = rnn(x, hiddens[i])
                x = hiddens[i] + x
            return {"mel": self.mel(x), "weights": weights}, (attention, context, tuple(hiddens))

    def __init__(self, mels=6, size=12):
        super().__init__()
        self.encoder = TextEncoder(size=size)
        self.keys = nn.Linear(2 * size, size, bias=False)
        self.memory = nn.Linear(2 * size, size)
        self.decoder = rnnport.Recurrent(self.Step(mels, size))

    def forward(self, text, mels):
        encoded = self.encoder(text)
        memory = self.memory(encoded)
        zero = memory.new_zeros(memory.size(0), memory.size(2))
        state = (zero, zero, (zero, zero))
        answers, _ = self.decoder(mels, state, memory=memory, keys=self.keys(encoded))
        return answers
