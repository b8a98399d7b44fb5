"""The yardstick for training: mnist-lstm as a bare PyTorch loop, with nothing around it."""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import Tensor, nn

from rnnport.data.load import load_classify


class Bare(nn.Module):
    """Three LSTM layers of 50 over 28 rows, dropout 0.2 after each, ten classes."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        layer = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
        self.recurrent = layer(28, 50, 3, batch_first=True, dropout=0.2)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 28, 28] → logits [batch, 10]."""
        last: Tensor = self.recurrent(x)[0][:, -1]
        logits: Tensor = self.head(self.dropout(last))
        return logits


def train(cell: str, seed: int, epochs: int, limit: int) -> dict[str, float]:
    """Train and test once.

    Returns:
        accuracy on the test images, and the seconds that the epochs took.
    """
    data = load_classify("mnist")
    assert data.train.y is not None
    x = torch.from_numpy(data.train.x[:limit]).float() / 255
    y = torch.from_numpy(data.train.y[:limit])
    torch.manual_seed(seed)
    model = Bare(cell)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = time.perf_counter()
    for _ in range(epochs):
        model.train()
        for batch in torch.split(torch.randperm(len(x)), 128):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    seconds = time.perf_counter() - start
    model.eval()
    with torch.inference_mode():
        guess = model(torch.from_numpy(data.test.x).float() / 255).argmax(-1)
    right = (guess == torch.from_numpy(data.test.y)).float().mean().item()
    return {"accuracy": right, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", default="lstm", choices=["lstm", "gru", "rnn"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=int, default=60_000)
    options = parser.parse_args()
    print(json.dumps(train(options.cell, options.seed, options.epochs, options.limit)))


if __name__ == "__main__":
    main()
