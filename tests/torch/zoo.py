"""Small versions of the architectures that people have, made from configurations: nothing is downloaded."""

import itertools

import torch
from torch import nn
from torch.nn import functional


class SmallCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.25)
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.norm(self.conv(x))), 2)
        return self.head(self.drop(torch.flatten(x, 1)))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return functional.relu(self.body(x) + self.down(x), inplace=True)


class ResNet18(nn.Module):
    """Of an eighth of the channels."""

    def __init__(self):
        super().__init__()
        widths = [8, 8, 16, 32, 64]
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.layers = nn.Sequential(
            *(
                nn.Sequential(Block(a, b, 1 if index == 0 else 2), Block(b, b, 1))
                for index, (a, b) in enumerate(itertools.pairwise(widths))
            )
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(self.layers(self.stem(x)), 1), 1))


class Excite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.squeeze, self.expand = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1)

    def forward(self, x):
        scale = self.expand(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(x, 1))))
        return x * functional.hardsigmoid(scale)


class Inverted(nn.Module):
    """An inverted bottleneck of MobileNetV3 (Howard et al., arXiv 1905.02244)."""

    def __init__(self, inputs, middle, outputs, kernel, stride, activation):
        super().__init__()
        self.same = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, middle, 1, bias=False),
            nn.BatchNorm2d(middle, eps=1e-3, momentum=0.01),
            activation(inplace=True),
            nn.Conv2d(middle, middle, kernel, stride, kernel // 2, groups=middle, bias=False),
            nn.BatchNorm2d(middle, eps=1e-3, momentum=0.01),
            Excite(middle),
            activation(inplace=True),
            nn.Conv2d(middle, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        )

    def forward(self, x):
        return x + self.body(x) if self.same else self.body(x)


class MobileNetV3(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
            Inverted(8, 16, 8, 3, 1, nn.ReLU),
            Inverted(8, 24, 16, 5, 2, nn.Hardswish),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 32),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(32, 10),
        )

    def forward(self, x):
        return self.net(x)


class EfficientNet(nn.Module):
    """Inverted bottlenecks as in Tan and Le, arXiv 1905.11946."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.SiLU(inplace=True),
            Inverted(8, 8, 8, 3, 1, nn.SiLU),
            Inverted(8, 48, 16, 3, 2, nn.SiLU),
            Inverted(16, 96, 16, 5, 1, nn.SiLU),
            nn.Conv2d(16, 32, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.SiLU(inplace=True),
        )
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.drop(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1)))


class Recurrent(nn.Module):
    def __init__(self, cell, *, layers=1, both=False):
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.cell = cell(8, 12, num_layers=layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(24 if both else 12, 5)

    def forward(self, ids):
        return self.head(self.cell(self.words(ids))[0][:, -1])


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(8, 16, 4, 1, 0, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(8, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.net(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(8, 16, 4, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(16, 1, 4, 1, 0, bias=False),
            nn.Flatten(),
        )

    def forward(self, x):
        return self.net(x)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, ids):
        return self.head(self.layers(self.words(ids)).mean(1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = self.double(3, 8), self.double(8, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.after, self.out = self.double(24, 8), nn.Conv2d(8, 4, 1)

    @staticmethod
    def double(inputs, outputs):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(4, outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )

    def forward(self, x):
        high = self.down1(x)
        low = self.down2(functional.max_pool2d(high, 2))
        smooth = functional.interpolate(low[:, :8], scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(self.after(torch.cat([high, self.up(low), smooth], 1)))


def without_dropout(module):
    """The module, none of whose parts drops anything."""
    for part in module.modules():
        for name, value in vars(part).items():
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def of_transformers(name, config, **keys):
    """A model of the package transformers with random weights."""

    def make():
        import transformers

        return getattr(transformers, name)(getattr(transformers, config)(**keys))

    return make


SMALL = {"vocab_size": 60, "max_position_embeddings": 32}
BERT = {**SMALL, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def images(channels=3, size=32):
    return lambda batch: {"": torch.rand(batch, channels, size, size)}


def ids(vocabulary=50, length=6, **more):
    def drawn(batch):
        found = torch.randint(0, vocabulary, (batch, length))
        return {"": found}

    return drawn


def named_ids(*, labels="classes", decoder=False):
    def drawn(batch):
        found = torch.randint(1, 60, (batch, 8))
        mask = torch.ones_like(found)
        mask[0, 5:] = 0
        own = torch.randint(0, 3, (batch,)) if labels == "classes" else found.clone()
        more = {"decoder_input_ids": found.roll(1, 1)} if decoder else {}
        return {"input_ids": found, "attention_mask": mask, **more, "labels": own}

    return drawn


def named_images(size=32):
    return lambda batch: {"pixel_values": torch.rand(batch, 3, size, size), "labels": torch.randint(0, 3, (batch,))}


# Name: what makes the module, and what makes its inputs: one tensor, or tensors by the names of arguments.
ZOO = {
    "small CNN": (SmallCNN, images(1, 8)),
    "ResNet18": (ResNet18, images()),
    "MobileNetV3": (MobileNetV3, images()),
    "EfficientNet": (EfficientNet, images()),
    "ConvNeXt": (
        of_transformers(
            "ConvNextForImageClassification", "ConvNextConfig", hidden_sizes=[8, 16], depths=[1, 2], num_stages=2,
            num_labels=3,
        ),
        named_images(),
    ),
    "ViT": (
        of_transformers(
            "ViTForImageClassification", "ViTConfig", hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32, image_size=32, patch_size=8, num_labels=3,
        ),
        named_images(),
    ),
    "Swin": (
        of_transformers(
            "SwinForImageClassification", "SwinConfig", image_size=32, patch_size=2, embed_dim=8, depths=[1, 2],
            num_heads=[1, 2], window_size=4, num_labels=3,
        ),
        named_images(),
    ),
    "LSTM": (lambda: Recurrent(nn.LSTM, layers=2), ids()),
    "BiLSTM": (lambda: Recurrent(nn.LSTM, both=True), ids()),
    "GRU": (lambda: Recurrent(nn.GRU), ids()),
    "DCGAN generator": (Generator, lambda batch: {"": torch.randn(batch, 8, 1, 1)}),
    "DCGAN discriminator": (Discriminator, images(1, 16)),
    "nn.TransformerEncoder": (Encoder, ids()),
    "BERT": (of_transformers("BertForSequenceClassification", "BertConfig", num_labels=3, **BERT), named_ids()),
    "DistilBERT": (
        of_transformers(
            "DistilBertForSequenceClassification", "DistilBertConfig", dim=16, n_layers=2, n_heads=2, hidden_dim=32,
            num_labels=3, **SMALL,
        ),
        named_ids(),
    ),
    "GPT-2": (
        of_transformers(
            "GPT2LMHeadModel", "GPT2Config", vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=32,
            use_cache=False,
        ),
        named_ids(labels="next"),
    ),
    "Llama": (
        of_transformers("LlamaForCausalLM", "LlamaConfig", num_key_value_heads=1, use_cache=False, **BERT),
        named_ids(labels="next"),
    ),
    "T5": (
        of_transformers(
            "T5ForConditionalGeneration", "T5Config", vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=2,
            num_heads=2, decoder_start_token_id=0, use_cache=False,
        ),
        named_ids(labels="next", decoder=True),
    ),
    "U-Net": (UNet, images(3, 16)),
}  # fmt: skip
