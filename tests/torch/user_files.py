"""Files as users write them, which know nothing of hal."""

CNN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width: int = 4, classes: int = 10):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2))
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(16 * width, classes)

    def forward(self, x):
        return self.head(self.drop(self.body(x).flatten(1)))
"""

POINTS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

class Points(Dataset):
    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(count, 4, generator=generator)
        self.y = self.x[:, :1] * 2

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index] + 0.01 * torch.randn(4), self.y[index]

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))

    def forward(self, x):
        return self.layers(x)

def loss(outputs, batch):
    return nn.functional.mse_loss(outputs, batch[1])

def metrics(outputs, batch):
    return {"error": (outputs - batch[1]).abs().mean()}

def data():
    return DataLoader(Points(64, 0), batch_size=4), Points(32, 1)
"""

PAIRS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.out = nn.Linear(8, 20, bias=False)
        self.out.weight = self.words.weight
        self.register_buffer("scale", torch.full((1,), 2.0), persistent=False)

    def forward(self, ids, mask, labels=None):
        hidden = (self.words(ids) * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        logits = self.out(hidden) * self.scale
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}

def example_inputs(batch):
    ids = torch.randint(0, 20, (batch, 5))
    return dict(ids=ids, mask=torch.ones(batch, 5), labels=ids[:, 0])
"""

GAN = """
import torch
from torch import nn

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, images):
        return self.critic(images)

def _loss(logits, real):
    return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))

def _fakes(net, images):
    return net.generator(torch.randn(images.shape[0], 4, device=images.device))

losses = {
    "critic": lambda net, batch: _loss(net.critic(batch[0]), 1.0)
    + _loss(net.critic(_fakes(net, batch[0]).detach()), 0.0),
    "generator": lambda net, batch: _loss(net.critic(_fakes(net, batch[0])), 1.0),
}

def example_inputs(batch):
    return torch.rand(batch, 1, 8, 8)
"""

SLOPES = POINTS.replace(
    "        return self.layers(x)",
    """        if not x.requires_grad:
            x = x.clone().requires_grad_()
        energy = self.layers(x).square().sum()
        return torch.autograd.grad(energy, x, create_graph=self.training)[0][:, :1]""",
)
"""Its outputs are derivatives."""

ALIKE = PAIRS.replace("ids", "tokens").replace("ones(batch, 5)", "ones(batch, 5, dtype=torch.long)")
"""Two inputs of one shape and type, whose names are not in the order of the arguments."""

MANY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, *parts):
        return self.head(sum(part * (index + 1) for index, part in enumerate(parts)))

def example_inputs(batch):
    return *(torch.rand(batch, 2) for _ in range(11)), torch.randint(0, 3, (batch,))
"""
"""More than ten inputs by position."""
