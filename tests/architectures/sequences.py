"""Sequence to sequence, documents and tags: attention over packed encoders, char-CNN taggers."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnport


class EncoderRNN(nn.Module):
    """A packed BiGRU whose directions are summed, as tutorials write it."""

    def __init__(self, vocabulary=30, hidden=12, layers=2, dropout=0.1):
        super().__init__()
        self.hidden, self.layers = hidden, layers
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.gru = nn.GRU(
            hidden, hidden, layers, dropout=(0 if layers == 1 else dropout), bidirectional=True
        )

    def forward(self, input_seq, input_lengths, hidden=None):
        embedded = self.embedding(input_seq)
        packed = pack_padded_sequence(embedded, input_lengths, enforce_sorted=False)
        outputs, hidden = self.gru(packed, hidden)
        outputs, _ = pad_packed_sequence(outputs)
        outputs = outputs[:, :, : self.hidden] + outputs[:, :, self.hidden :]
        return outputs, hidden


class LuongAttention(nn.Module):
    """Luong et al. 2015: dot, general and concat scores over [time, batch, hidden]."""

    def __init__(self, method, hidden):
        super().__init__()
        self.method, self.hidden = method, hidden
        if method == "general":
            self.attn = nn.Linear(hidden, hidden)
        elif method == "concat":
            self.attn = nn.Linear(hidden * 2, hidden)
            self.v = nn.Parameter(torch.linspace(-0.5, 0.7, hidden))

    def forward(self, hidden, encoder_outputs):
        if self.method == "dot":
            energies = torch.sum(hidden * encoder_outputs, dim=2)
        elif self.method == "general":
            energies = torch.sum(hidden * self.attn(encoder_outputs), dim=2)
        else:
            expanded = hidden.expand(encoder_outputs.size(0), -1, -1)
            energy = self.attn(torch.cat((expanded, encoder_outputs), 2)).tanh()
            energies = torch.sum(self.v * energy, dim=2)
        return energies.t()


class LuongTranslator(nn.Module):
    """Teacher forcing needs no loop: a GRU over the target, then attention for every step."""

    def __init__(self, method="general", vocabulary=30, hidden=12):
        super().__init__()
        self.encoder = EncoderRNN(vocabulary, hidden)
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.decoder = nn.GRU(hidden, hidden, 2)
        self.attention = nn.Linear(hidden, hidden, bias=False)
        self.concat = nn.Linear(2 * hidden, hidden)
        self.out = nn.Linear(hidden, vocabulary)

    def forward(self, source, source_lengths, target):
        memory, hidden = self.encoder(source, source_lengths)
        hidden = hidden[: self.decoder.num_layers]
        y, hidden = self.decoder(self.embedding(target), hidden)
        scores = torch.bmm(self.attention(y).transpose(0, 1), memory.permute(1, 2, 0))
        mask = torch.arange(memory.size(0), device=source.device)[None] >= source_lengths[:, None]
        scores = scores.masked_fill(mask.unsqueeze(1), -1e9)
        context = torch.bmm(scores.softmax(-1), memory.transpose(0, 1)).transpose(0, 1)
        return F.log_softmax(self.out(torch.tanh(self.concat(torch.cat((y, context), -1)))), -1)


class GreedyStep(nn.Module):
    """Bahdanau et al. 2014, one step of greedy decoding: the id fed back is the most likely one."""

    def __init__(self, vocabulary=30, hidden=12, memory=24):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.W1, self.W2 = nn.Linear(memory, hidden), nn.Linear(hidden, hidden)
        self.V = nn.Linear(hidden, 1)
        self.cell = nn.GRUCell(hidden + memory, hidden)
        self.out = nn.Linear(hidden, vocabulary)

    def forward(self, token, hidden, memory, mask):
        scores = self.V(torch.tanh(self.W1(memory) + self.W2(hidden).unsqueeze(1))).squeeze(2)
        weights = scores.masked_fill(mask, float("-inf")).softmax(-1)
        context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        hidden = self.cell(torch.cat([self.embedding(token), context], -1), hidden)
        logits = self.out(hidden)
        return (logits.argmax(-1), logits, weights), hidden


class BahdanauTranslator(nn.Module):
    """A packed BiLSTM encoder, and greedy decoding for a number of steps."""

    def __init__(self, vocabulary=30, hidden=12):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * hidden, hidden)
        self.decoder = rnnport.Recurrent(GreedyStep(vocabulary, hidden, 2 * hidden))

    def forward(self, source, lengths, steps):
        packed = pack_padded_sequence(
            self.embedding(source), lengths, batch_first=True, enforce_sorted=False
        )
        memory, (h, c) = self.encoder(packed)
        memory, _ = pad_packed_sequence(memory, batch_first=True)
        h = torch.tanh(self.bridge(torch.cat([h[0], h[1]], dim=-1)))
        mask = torch.arange(memory.size(1), device=source.device)[None, :] >= lengths[:, None]
        start = torch.ones(source.size(0), dtype=torch.long, device=source.device)
        (tokens, logits, weights), _ = self.decoder(
            None, h, steps=steps, start=start, memory=memory, mask=mask
        )
        return tokens, logits, weights


class HierarchicalAttention(nn.Module):
    """Yang et al. 2016: words to sentences to a document, ids [batch, sentences, words]."""

    def __init__(self, vocabulary=30, size=10, hidden=8, classes=4):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size, padding_idx=0)
        self.word_gru = nn.GRU(size, hidden, bidirectional=True, batch_first=True)
        self.word_proj = nn.Linear(2 * hidden, 2 * hidden)
        self.word_context = nn.Parameter(torch.linspace(-0.6, 0.6, 2 * hidden))
        self.sentence_gru = nn.GRU(2 * hidden, hidden, bidirectional=True, batch_first=True)
        self.sentence_proj = nn.Linear(2 * hidden, 2 * hidden)
        self.sentence_context = nn.Parameter(torch.linspace(0.6, -0.6, 2 * hidden))
        self.fc = nn.Linear(2 * hidden, classes)

    @staticmethod
    def attend(y, projection, context):
        weights = torch.softmax(torch.tanh(projection(y)) @ context, dim=1)
        return (weights.unsqueeze(-1) * y).sum(1), weights

    def forward(self, documents):
        batch, sentences, words = documents.size()
        x = self.embedding(documents.view(batch * sentences, words))
        y, _ = self.word_gru(x)
        vectors, word_weights = self.attend(y, self.word_proj, self.word_context)
        y, _ = self.sentence_gru(vectors.view(batch, sentences, -1))
        document, weights = self.attend(y, self.sentence_proj, self.sentence_context)
        return self.fc(document), weights, word_weights.view(batch, sentences, words)


class CharTagger(nn.Module):
    """Ma and Hovy 2016's emissions for a CRF: words, their characters, a packed BiLSTM."""

    def __init__(self, words=30, characters=20, tags=5):
        super().__init__()
        self.word_embedding = nn.Embedding(words, 10)
        self.char_embedding = nn.Embedding(characters, 6, padding_idx=0)
        self.char_cnn = nn.Conv1d(6, 8, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.lstm = nn.LSTM(18, 12, num_layers=1, bidirectional=True, batch_first=True)
        self.emissions = nn.Linear(24, tags)
        self.transitions = nn.Parameter(torch.linspace(-1, 1, tags * tags).view(tags, tags))

    def forward(self, words, characters, mask):
        b, t, c = characters.shape
        chars = self.char_embedding(characters.reshape(b * t, c)).transpose(1, 2)
        chars = F.max_pool1d(self.char_cnn(chars), kernel_size=c).squeeze(2).view(b, t, -1)
        x = self.dropout(torch.cat([self.word_embedding(words), chars], dim=-1))
        lengths = mask.sum(dim=1)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, _ = self.lstm(packed)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=t)
        return {"emissions": self.emissions(y), "transitions": self.transitions}


class Siamese(nn.Module):
    """Mueller and Thyagarajan 2016: one LSTM reads both sentences; Manhattan similarity."""

    def __init__(self, vocabulary=30, size=10, hidden=12):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size)
        self.lstm = nn.LSTM(size, hidden, batch_first=True)

    def encode(self, tokens, lengths):
        packed = pack_padded_sequence(
            self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        _, (h, _) = self.lstm(packed)
        return h.squeeze(0)

    def forward(self, left, left_lengths, right, right_lengths):
        one, two = self.encode(left, left_lengths), self.encode(right, right_lengths)
        return torch.exp(-torch.norm(one - two, p=1, dim=1))


class LastOfEach(nn.Module):
    """A classifier that gathers each row's last step by index, as forums answer."""

    def __init__(self, features=6, hidden=12, classes=3):
        super().__init__()
        self.rnn = nn.LSTM(features, hidden, 2, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x, lengths):
        y, _ = self.rnn(x)
        last = y[torch.arange(x.size(0), device=x.device), lengths - 1]
        index = (lengths - 1).view(-1, 1, 1).expand(-1, 1, y.size(2))
        again = y.gather(1, index).squeeze(1)
        return self.head(last + again)
