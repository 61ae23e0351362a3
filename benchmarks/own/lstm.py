"""A classifier of sequences by an LSTM, as its author would have it: it knows nothing of hal."""

import torch
from torch import nn

__all__ = ["Net", "example_inputs"]


class Net(nn.Module):
    """Embedding, LSTM, dense."""

    def __init__(self, vocabulary: int = 100, units: int = 128, classes: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 64)
        self.lstm = nn.LSTM(64, units, batch_first=True)
        self.head = nn.Linear(units, classes)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        return self.head(self.lstm(self.embedding(ids))[0][:, -1])


def example_inputs(batch: int) -> torch.Tensor:
    """Ids (batch, 64)."""
    return torch.randint(0, 100, (batch, 64))
