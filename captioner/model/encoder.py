"""Encoder: a timm backbone that returns features of image regions."""

import copy
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers import PatchEmbed  # type: ignore[attr-defined]
from torch import Tensor, nn

from captioner.errors import CheckpointError, ConfigError

_LOADING = ("checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay")
"""Arguments of `timm.create_model` that read files; a checkpoint's header must not name any."""
_OF_PATCHES = ("img_size", "patch_size", "grid_size", "dynamic_img_pad")
"""Attributes of timm's PatchEmbed used here; timm documents none of them
(docs/private_names.md)."""
_WAYS_OUT = (
    "give the path of a safetensors file of this backbone, or 'none' to begin with random weights."
)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Encoder(nn.Module):
    """Features of image regions from any timm backbone with `forward_intermediates`.

    Batch norms always use their running statistics: batches for fine-tuning are too small to
    improve on them.

    Several levels are each standardised over their channels, so that none dominates, resampled to
    the finest grid and concatenated: hypercolumns (Hariharan et al. 2015, arXiv:1411.5752).

    Args:
        backbone: timm model name of a CNN, ViT or hierarchical network.
        options: further arguments of `timm.create_model`.
        size: input height and width in pixels.
        levels: number of feature maps, counted back from the last one.
        class_token: keep the class token, as a row of features before those of the regions.
        eps: epsilon of the layer norms; None keeps timm's.
        weights: a safetensors file with the backbone's weights, or True for timm's hub.

    Raises:
        ConfigError: the backbone is unknown, lacks `forward_intermediates` or enough levels, or
            does not accept the size.
        CheckpointError: the weights do not fit, or the hub does not give them.
    """

    def __init__(
        self,
        backbone: str,
        *,
        options: Mapping[str, Any] | None = None,
        size: tuple[int, int] = (224, 224),
        levels: int = 1,
        class_token: bool = False,
        eps: float | None = None,
        weights: Path | bool = False,
    ) -> None:
        super().__init__()
        self.levels, self.class_token = levels, class_token
        self.backbone = _create(backbone, dict(options or {}), size=size, weights=weights)
        self.context = getattr(self.backbone, "num_prefix_tokens", 0) if class_token else 0
        """Feature rows before those of the regions."""
        if class_token and not self.context:
            raise ConfigError(f"encoder.class_token: {backbone!r} has none; leave it out.")
        for module in self.backbone.modules():
            if eps is not None and isinstance(module, nn.LayerNorm):
                module.eps = eps
        info: Any = getattr(self.backbone, "feature_info", None)  # timm's models declare no types
        if info and levels > len(info):
            raise ConfigError(f"encoder.levels is {levels}, but {backbone!r} has {len(info)}.")
        self.backbone.prune_intermediate_layers(levels, prune_norm=False, prune_head=True)
        _require_whole_patches(backbone, self.backbone, size)
        self.eval()
        try:
            maps = self._shapes(size)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ConfigError(
                f"backbone {backbone!r} cannot take {size[0]}x{size[1]} photos: {error}"
            ) from error
        if info:
            _require_whole_regions(backbone, size, step=info[-1]["reduction"], grid=maps[-1][1:])
        self.feature_dim = sum(channels for channels, _, _ in maps)
        self.grid = max((height, width) for _, height, width in maps)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P D"]:
        """Return region features, row by row from the top left, behind the class token if kept."""
        if self.class_token:
            ((regions, context),) = self.backbone.forward_intermediates(
                pixels,
                indices=1,
                norm=True,
                output_fmt="NLC",
                intermediates_only=True,
                return_prefix_tokens=True,
            )
            return torch.cat([context, regions], dim=1)
        features, *more = maps = self._maps(pixels)
        if more:
            features = torch.cat(
                [_standardise(_upsample(level, self.grid)) for level in maps], dim=1
            )
        return features.flatten(2).transpose(1, 2)

    def train(self, mode: bool = True) -> "Encoder":
        """Switch dropout on or off; batch norms stay as they are."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BATCH_NORMS):
                module.eval()
        return self

    @torch.no_grad()
    def _shapes(self, size: tuple[int, int]) -> list[tuple[int, ...]]:
        """Return channels, height and width of each level, without running the network if possible.

        A ViT's levels have the grid of its patches. Any other backbone runs on the meta device,
        which computes shapes only; one that cannot run there gets a black image.
        """
        embed = _patch_embed(self.backbone)
        taken = list(getattr(self.backbone, "feature_info", None) or ())[-self.levels :]
        patches = embed is not None and embed.img_size == size
        if patches and taken and all((x["reduction"],) * 2 == embed.patch_size for x in taken):
            return [(level["num_chs"], *embed.grid_size) for level in taken]
        black = torch.zeros(1, 3, *size)
        weights = (*self.parameters(), *self.buffers())
        try:
            hollow = {id(x): torch.empty_like(x, device="meta") for x in weights}
            maps = copy.deepcopy(self, hollow)._maps(black.to("meta"))
        except RuntimeError:
            maps = self._maps(black)
        return [tuple(level.shape[1:]) for level in maps]

    def _maps(self, pixels: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the levels, (B, d, h, w) each."""
        return self.backbone.forward_intermediates(
            pixels, indices=self.levels, norm=True, output_fmt="NCHW", intermediates_only=True
        )


def _upsample(level: Float[Tensor, "B d h w"], grid: tuple[int, int]) -> Float[Tensor, "B d gh gw"]:
    """Resample a coarser map at the centres of finer regions."""
    if level.shape[2:] == grid:
        return level
    return F.interpolate(level, size=grid, mode="bilinear", align_corners=False)


def _standardise(level: Float[Tensor, "B d gh gw"]) -> Float[Tensor, "B d gh gw"]:
    """Standardise each region over its channels, to mean 0 and deviation 1."""
    return F.layer_norm(level.movedim(1, -1), level.shape[1:2]).movedim(-1, 1)


def _patch_embed(backbone: nn.Module) -> Any:
    """Return timm's patch embedding; None if it lacks an attribute that is used here."""
    embed = getattr(backbone, "patch_embed", None)
    known = isinstance(embed, PatchEmbed) and all(hasattr(embed, name) for name in _OF_PATCHES)
    return embed if known else None


def _require_whole_patches(name: str, backbone: nn.Module, size: tuple[int, int]) -> None:
    """Check that patches tile the input; a ViT would silently ignore the lower or right edge.

    Raises:
        ConfigError: they do not.
    """
    embed = _patch_embed(backbone)
    if embed is None or embed.dynamic_img_pad:
        return
    patch = embed.patch_size
    if any(side % step for side, step in zip(size, patch, strict=True)):
        raise ConfigError(
            f"backbone {name!r} reads patches of {patch[0]}x{patch[1]} pixels, and {size[0]}x"
            f"{size[1]} photos do not divide into them; choose multiples."
        )


def _require_whole_regions(
    name: str, size: tuple[int, int], *, step: int, grid: tuple[int, ...]
) -> None:
    """Check that the regions tile the input.

    Otherwise a CNN pads, its last regions reach into the padding, and overlays would be shifted.

    Raises:
        ConfigError: they do not.
    """
    if any(side != step * regions for side, regions in zip(size, grid, strict=True)):
        raise ConfigError(
            f"backbone {name!r} sees regions of {step}x{step} pixels, and {size[0]}x{size[1]} "
            "photos do not divide into them; choose multiples."
        )


def _create(
    backbone: str, options: dict[str, Any], *, size: tuple[int, int], weights: Path | bool
) -> Any:  # timm's models declare no types
    if not timm.is_model(backbone):
        near = get_close_matches(backbone, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()."
        raise ConfigError(f"encoder.backbone {backbone!r} is not a timm model; {hint}")
    for name in _LOADING:
        if name in options:
            raise ConfigError(
                f"encoder.options must not hold {name!r}; weights are given apart from settings."
            )
    known = timm.get_pretrained_cfg(backbone)
    if known is not None and known.fixed_input_size:
        options.setdefault("img_size", size)
    if isinstance(weights, Path):
        # timm resamples position vectors to the input's size. It lets names differ unless the
        # classes are the same, so the file is read here, without its classifier, as one of none.
        state = _read(weights, classifier=known.classifier if known is not None else None)
        options["pretrained_cfg_overlay"] = {"state_dict": state, "num_classes": 0}
    try:
        model = timm.create_model(backbone, pretrained=bool(weights), num_classes=0, **options)
    except TypeError as error:
        raise ConfigError(f"encoder.options for {backbone!r}: {error}") from error
    except Exception as error:  # of timm, or of the HTTP library that fetches the weights
        why = shorten(str(error), 250).rstrip(".")  # it may name every tensor
        what, check = "timm's hub", "check the network and the name of the backbone, or "
        if isinstance(weights, Path):
            what, check = str(weights), ""
        raise CheckpointError(
            f"{what}: no weights of {backbone!r}: {why}; {check}{_WAYS_OUT}"
        ) from error
    if not hasattr(model, "forward_intermediates"):
        raise ConfigError(
            f"encoder.backbone {backbone!r} gives no spatial features; choose a timm model "
            "with forward_intermediates, such as resnet50 or vit_small_patch16_224."
        )
    vars(model).get("pretrained_cfg", {}).pop("state_dict", None)  # do not keep weights twice
    return model


def _read(path: Path, *, classifier: str | tuple[str, ...] | None) -> dict[str, Tensor]:
    """Read a safetensors file, leaving out the classifier, whose names timm knows."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file of encoder weights; {_WAYS_OUT}")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file: {error}; {_WAYS_OUT}") from error
    names = (classifier,) if isinstance(classifier, str) else classifier or ()
    heads = tuple(f"{name}." for name in names)
    return {name: tensor for name, tensor in state.items() if not name.startswith(heads)}
