"""A small BERT that classifies, as its author would have it: it knows nothing of hal."""

import torch
from transformers import BertConfig, BertForSequenceClassification

__all__ = ["Net", "example_inputs"]


def Net(layers: int = 2, width: int = 128) -> torch.nn.Module:
    """With random weights."""
    size = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 4 * width}
    return BertForSequenceClassification(BertConfig(vocab_size=1000, **size))


def example_inputs(batch: int) -> dict[str, torch.Tensor]:
    """Ids (batch, 32) with a mask, and labels."""
    ids = torch.randint(0, 1000, (batch, 32))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}
