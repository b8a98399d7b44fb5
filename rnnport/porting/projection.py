"""LSTMs with projection (``proj_size``) as plain ones, which is what ONNX has.

With P < H, torch's LSTM hands on h = W_hr·m, where m = o·tanh(c) (Sak et al. 2014,
https://arxiv.org/abs/1402.1128). With m as the hidden state it is a plain LSTM whose recurrent
matrix is R·W_hr, followed by a product with W_hrᵀ. A given h enters as pinv(W_hr)·h, exactly
where the rows of W_hr are independent: R·W_hr·pinv(W_hr)·h = R·h.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnport.errors import UnsupportedModelError
from rnnport.porting.calls import RecurrentCall


def plain_weights(weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One direction's weights w_ih, w_hh [4H, P], …, w_hr [P, H] as w_ih, w_hh·w_hr, …."""
    w_ih, w_hh, *biases, w_hr = weights
    recurrent = w_hh.double() @ w_hr.double()  # one rounding instead of P
    return (w_ih, recurrent.to(w_hh.dtype), *biases)


def projected_answer(call: RecurrentCall, layer: int, m: Tensor) -> Tensor:
    """A layer's h [time, batch, directions × P] of its m [time, batch, directions × H]."""
    projections = [weights[-1] for weights in call.layer_weights(layer)]
    if len(projections) == 1:
        return m @ projections[0].T
    hidden = m.shape[-1] // 2
    halves = (m.narrow(-1, i * hidden, hidden) @ w.T for i, w in enumerate(projections))
    return torch.cat(list(halves), -1)


def projected_state(call: RecurrentCall, m: Tensor) -> Tensor:
    """States h [layers × directions, batch, P] of states m [layers × directions, batch, H]."""
    return m @ _projections(call).transpose(1, 2)


def inverse_projections(call: RecurrentCall) -> Tensor:
    """pinv(W_hr) of every layer and direction: [layers × directions, H, P].

    Raises:
        UnsupportedModelError: some W_hr has dependent rows, so that no m stands for every h.
    """
    projections = _projections(call).detach().double()
    ranks = torch.linalg.matrix_rank(projections)
    if int(ranks.min()) < projections.shape[1]:
        raise UnsupportedModelError(
            f"the LSTM of {call.label} is given an initial state, and its projection of "
            f"{projections.shape[1]} has rank {int(ranks.min())} only, so the state cannot be "
            "carried; leave the initial state out"
        )
    inverses: Tensor = torch.linalg.pinv(projections)
    return inverses.to(call.x.dtype)


def _projections(call: RecurrentCall) -> Tensor:
    """W_hr of every layer and direction: [layers × directions, P, H]."""
    layers = (call.layer_weights(layer) for layer in range(call.layers))
    return torch.stack([weights[-1] for layer in layers for weights in layer])
