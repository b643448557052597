"""Encoder of Florence-2 (Xiao et al. 2023, arXiv:2311.06242), which reads photo and task prompt.

timm's DaViT reads the photo. Its regions, with row and column positions, and their mean are
projected; then BART's encoder lets them and the words of the task attend to each other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from captioner.config import TaskConfig
from captioner.decoders.prefix import PrefixBlock
from captioner.model.encoder import Encoder


class FlorenceEncoder(Encoder):
    """A backbone followed by layers in which regions and task words attend to each other.

    Args:
        backbone: timm model name.
        options: further arguments of `timm.create_model`.
        size: input height and width in pixels.
        task: settings of the layers after the backbone.
        weights: weights of the backbone, as in `Encoder`.
    """

    def __init__(
        self,
        backbone: str,
        *,
        options: Mapping[str, Any] | None = None,
        size: tuple[int, int],
        task: TaskConfig,
        weights: Path | bool = False,
    ) -> None:
        super().__init__(backbone, options=options, size=size, weights=weights)
        channels, width = self.feature_dim, task.width
        self.row_positions = nn.Parameter(torch.randn(task.sides, channels - channels // 2) * 0.02)
        self.column_positions = nn.Parameter(torch.randn(task.sides, channels // 2) * 0.02)
        self.projection = nn.Linear(channels, width, bias=False)
        self.projection_norm = nn.LayerNorm(width)
        self.task = nn.Parameter(torch.randn(task.tokens, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(task.max_positions, width) * 0.02)
        self.embedding_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            PrefixBlock(
                width=width,
                heads=task.heads,
                feedforward_width=task.feedforward_width,
                dropout=task.dropout,
                eps=1e-5,
            )
            for _ in range(task.layers)
        )
        self.feature_dim = width
        self.context = 1 + task.tokens

    def forward(
        self, pixels: Float[Tensor, "B 3 H W"], task: Float[Tensor, "T D"] | None = None
    ) -> Float[Tensor, "B P D"]:
        """Return the mean feature, the task words, then the regions row by row, after attention.

        Args:
            pixels: prepared photos.
            task: embedded words of another task; by default the one in the checkpoint.
        """
        asked = self.task if task is None else task
        down, across = self.grid
        columns = self.column_positions[None, :across].expand(down, -1, -1)
        rows = self.row_positions[:down, None].expand(-1, across, -1)
        regions = super().forward(pixels) + torch.cat([columns, rows], dim=-1).flatten(0, 1)
        # The position in time of a single frame: sines of 0 and cosines of 0, one beside the other.
        regions = regions + torch.arange(regions.shape[-1], device=pixels.device) % 2
        seen = torch.cat([regions.mean(dim=1, keepdim=True), regions], dim=1)
        seen = self.projection_norm(self.projection(seen))
        x = torch.cat([seen, asked.expand(seen.shape[0], -1, -1)], dim=1)
        x = self.embedding_norm(x + self.positions[: x.shape[1]])
        for block in cast(list[PrefixBlock], list(self.blocks)):
            x = block.add(x, block.self_attention(x, *block.self_attention.keys_and_values(x)))
        mean, regions, read = x.split([1, down * across, len(asked)], dim=1)
        return torch.cat([mean, read, regions], dim=1)
