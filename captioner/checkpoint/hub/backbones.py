"""timm's backbone weights on the hub."""

from pathlib import Path

from captioner.checkpoint.files import WEIGHTS
from captioner.checkpoint.hub.fetch import Address, download, is_reachable, likely_causes
from captioner.errors import CheckpointError


def name_of(backbone: str) -> str | None:
    """Return the repository of a backbone's default weights; None if there is none."""
    import timm  # noqa: PLC0415  # brings in torch

    known = timm.get_pretrained_cfg(backbone, allow_unregistered=True)
    if known is None or not known.hf_hub_id:
        return None
    name = f"{known.architecture}.{known.tag}" if known.tag else known.architecture
    return f"{known.hf_hub_id}{name}" if known.hf_hub_id.endswith("/") else str(known.hf_hub_id)


def find_weights(backbone: str) -> Path | bool:
    """Return the source of a backbone's weights, for `build_model`.

    Returns:
        True to let timm download them, or the file in the cache if the hub cannot be reached.

    Raises:
        CheckpointError: the hub cannot be reached, and the cache lacks the weights.
        MissingExtraError: huggingface_hub is not installed.
    """
    name = name_of(backbone)
    if name is None:
        return True
    address = Address(repo=name, revision=None)
    if is_reachable(address):
        return True
    try:
        return download(address, WEIGHTS, local_files_only=True)
    except Exception as error:  # the client's own, for a file that is not in the cache
        raise CheckpointError(
            f"encoder_weights is 'hub', but the hub cannot be reached, and its cache lacks {name}; "
            f"check {likely_causes()}, or give the path of a safetensors file, or 'none' to begin "
            "with random weights."
        ) from error
