"""What the backbones share: a chain of named blocks, and the two layers that only those for images use."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hal import nn, ops
from hal.types import Array, Tree

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Backbone", "Block", "Normalize", "ReLU6"]

Shape = tuple[int, ...]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalize(nn.Layer):
    """(x - mean) / std of each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The same shape."""
        mean, std = (
            ops.concat([ops.filled((1,), value, like=x) for value in values], axis=0)
            for values in (self.mean, self.std)
        )
        return (x - mean) / std, state


@dataclass(frozen=True)
class ReLU6(nn.Layer):
    """min(max(x, 0), 6) (Howard et al., arXiv 1704.04861)."""

    def apply(
        self, params: Tree, state: Tree, x: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """The same shape."""
        return ops.clip(x, 0, 6), state


@dataclass(frozen=True)
class Block:
    """A part of a backbone that is trained or frozen as a whole.

    Attributes:
        name: its place in the trees of parameters and state.
        layer: what it computes.
        sources: names of the same modules in a torch state dict, in the order in which they stand in the tree; several
            names where one module here computes side by side what are several there.
    """

    name: str
    layer: nn.Layer
    sources: tuple[str | tuple[str, ...], ...]


@dataclass(frozen=True)
class Backbone:
    """A classifier without its classes: blocks one after the other, then one vector of features for each sample.

    It always computes as in inference. Stage i is what block i gets; the last stage, after all blocks, is the pooled
    features (batch, features).

    Attributes:
        name: value of the key ``backbone``.
        blocks: from the image, in [0, 1], or the ids of a text to the last feature map.
        published_by: whose names ``Block.sources`` are, for error messages.
        kept: how many blocks are used unless the user says otherwise.
        pool: makes the features of the last feature map.
    """

    name: str
    blocks: tuple[Block, ...]
    published_by: str
    kept: int
    pool: nn.Layer = field(default_factory=nn.GlobalAvgPool)

    @property
    def takes_ids(self) -> bool:
        """Whether the backbone reads the ids of a text, not an image."""
        return self.blocks[0].layer.takes_ids

    def first(self, count: int) -> Backbone:
        """The backbone cut after some blocks."""
        return replace(self, blocks=self.blocks[:count])

    def shapes(self, shape: Shape) -> list[Shape]:
        """Shapes of all stages for an image of a shape (height, width, channels), or a text of a shape (length,)."""
        found = [shape]
        for block in self.blocks:
            found.append(block.layer.output_shape(found[-1], "int64" if block.layer.takes_ids else "float32"))
        return [*found[:-1], self.pool.output_shape(found[-1])]

    def specs(self, shape: Shape) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and state by block for inputs of a shape: nested dicts of :class:`hal.nn.Param`."""
        inputs = dict(zip((block.name for block in self.blocks), self.shapes(shape)[:-1], strict=True))
        params = {block.name: block.layer.params(inputs[block.name]) for block in self.blocks}
        state = {block.name: block.layer.state(inputs[block.name]) for block in self.blocks}
        return params, {name: specs for name, specs in state.items() if specs}

    def run(self, params: Tree, state: Tree, x: Array, start: int, stop: int) -> Array:
        """From one stage to another."""
        for block in self.blocks[start:stop]:
            x, _ = block.layer.apply(params[block.name], state.get(block.name, {}), x)
        return self.pool.apply({}, {}, x)[0] if start < stop == len(self.blocks) else x
