"""Reads preprocessing settings from preprocessor_config.json."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from captioner.config import PreprocessConfig
from captioner.errors import CheckpointError
from captioner.pretrained.files import read_json

_FILTERS: dict[int, Literal["bilinear", "bicubic", "lanczos"]] = {
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}
"""Names of Pillow's resampling filters."""


def read_photos(
    folder: Path, usual: PreprocessConfig, *, any_size: bool = False
) -> PreprocessConfig:
    """Read the preprocessing settings of a transformers image processor.

    Args:
        folder: contains the file, whose name depends on the version of transformers.
        usual: defaults for missing settings.
        any_size: whether the file may set another size.

    Raises:
        CheckpointError: the file is damaged, or a setting is not supported.
    """
    table = read_json(folder, "preprocessor_config.json")
    where = str(folder / "preprocessor_config.json")
    if table is None:
        whole = read_json(folder, "processor_config.json") or {}
        table = whole.get("image_processor") or {}
        where = f"{folder / 'processor_config.json'}: image_processor"
    if not isinstance(table, dict):
        raise CheckpointError(f"{where}: is not a JSON object; download it again.")
    for name in ("do_resize", "do_rescale"):
        if not table.get(name, True):
            raise CheckpointError(f"{where}: {name} is off, which is not supported.")
    normalised = table.get("do_normalize", True)
    try:
        size = _size(table, usual, where=where)
        if size != (usual.height, usual.width) and not any_size:
            raise CheckpointError(
                f"{where}: input size is {size[0]}x{size[1]} pixels, but the model expects "
                f"{usual.height}x{usual.width}."
            )
        number = table.get("resample")
        return replace(
            usual,
            height=size[0],
            width=size[1],
            fit="crop" if _crops(table, usual) else "squash",
            interpolation=usual.interpolation if number is None else _FILTERS[number],
            mean=_colours(table.get("image_mean"), usual.mean) if normalised else (0.0, 0.0, 0.0),
            std=_colours(table.get("image_std"), usual.std) if normalised else (1.0, 1.0, 1.0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{where}: damaged or unsupported ({type(error).__name__}: {error})."
        ) from error


def _crops(table: dict[str, Any], usual: PreprocessConfig) -> bool:
    return bool(table.get("do_center_crop", usual.fit == "crop"))


def _size(table: dict[str, Any], usual: PreprocessConfig, *, where: str) -> tuple[int, int]:
    """Return (height, width) in pixels; the file may give one number, an edge, or both sides."""
    resized = table.get("size", usual.height)
    edge = resized.get("shortest_edge") if isinstance(resized, dict) else resized
    if not _crops(table, usual):
        if isinstance(resized, dict) and "height" not in resized:
            raise CheckpointError(
                f"{where}: photos are resized to {resized} without cropping, so their shapes "
                "differ, which is not supported."
            )
        return _sides(resized)
    cropped = _sides(table.get("crop_size", edge))
    if edge != min(cropped) or cropped[0] != cropped[1]:
        raise CheckpointError(
            f"{where}: photos are resized to {resized} and cropped to {cropped}; only a square "
            "crop of the shorter side is supported."
        )
    return cropped


def _sides(size: Any) -> tuple[int, int]:
    height, width = (size["height"], size["width"]) if isinstance(size, dict) else (size, size)
    return int(height), int(width)


def _colours(values: Any, usual: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = usual if values is None else map(float, values)
    return red, green, blue
