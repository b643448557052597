"""Features of a frozen encoder, computed once and cached on disk.

With a frozen encoder, epochs need not read photos. The cache is a folder with one file per dataset
and view, `<view>-<digest>.npy`: float16 (N, P, D) in the order of the dataset, memory-mapped. The
digest covers everything the features depend on, so runs share a file exactly if their features
agree. The file ends with view and whole digest, which are checked whenever it is opened.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from captioner.durable import explained
from captioner.errors import DataError
from data.dataset import CaptionDataset, Example, Variation, derive_seed
from data.progress import progress_bar
from data.ranks import Ranks

View = Literal["plain", "mirror"]
"""The photo as it is, or flipped horizontally."""

_FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class FeatureFile:
    """A file of features in the cache."""

    path: Path
    mark: bytes
    """View and digest, at the end of the file."""
    images: int
    """Number of images."""

    @property
    def is_whole(self) -> bool:
        """Whether the file exists and can be opened."""
        try:
            self.open()
        except DataError:
            return False
        return True

    def open(self) -> np.ndarray:
        """Map the file into memory: float16 (N, P, D).

        Raises:
            DataError: it is missing, damaged, or holds other features.
        """
        try:
            features: np.ndarray = np.load(self.path, mmap_mode="r")
            with self.path.open("rb") as file:
                file.seek(-len(self.mark), os.SEEK_END)
                known = file.read() == self.mark
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{self._problem}: {error}. {_ANEW}") from error
        if not known or features.ndim != 3 or len(features) != self.images:
            raise DataError(f"{self._problem}: it holds others. {_ANEW}")
        return features

    @property
    def _problem(self) -> str:
        return f"{self.path} is no longer the cache of these photos' features"


_ANEW = "The same command resumes and computes them anew."


class FeatureDataset(Dataset[Example]):
    """Examples of a CaptionDataset, with region features instead of pixels.

    With several views, each item draws one by (seed, epoch, index), or takes the plain one if a
    caption mentions left or right.
    """

    def __init__(self, dataset: CaptionDataset, files: Sequence[FeatureFile]) -> None:
        """Combine captions and features.

        Args:
            dataset: gives the captions and the seed; its `augment` is ignored.
            files: the features of each view, the plain one first.
        """
        self.dataset = dataset
        self.caption_counts = dataset.caption_counts
        self.lengths = dataset.lengths
        self._files = list(files)
        self._maps: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int | tuple[int, int]) -> Example:
        """Return the item at an index, or at (epoch, index); its inputs are float32 (P, D).

        Raises:
            DataError: a file of features was removed or replaced by another.
        """
        epoch, index = place if isinstance(place, tuple) else (0, place)
        view = 0
        if len(self._files) > 1 and self.dataset.may_be_mirrored(index):
            view = derive_seed(self.dataset.seed, epoch, index) % len(self._files)
        if not self._maps:
            self._maps = [file.open() for file in self._files]
        features = torch.from_numpy(self._maps[view][index].astype(np.float32))
        return self.dataset.example(index, features, variation=Variation(mirrored=view == 1))

    def __getstate__(self) -> dict[str, Any]:
        # A pickled memory map would copy the whole file; a spawned worker opens its own.
        return self.__dict__ | {"_maps": []}


def cache_features(
    encoder: nn.Module,
    dataset: CaptionDataset,
    folder: Path,
    *,
    batch_size: int,
    device: torch.device | str,
    views: Sequence[View] = ("plain",),
    workers: int = 0,
    ranks: Ranks = Ranks(),  # noqa: B008  # frozen
) -> FeatureDataset:
    """Compute the features of all images, or reuse those in the folder.

    Features are reused if encoder, images (names, sizes in bytes and modification times, in order)
    and preprocessing are the same. An interrupted run leaves no partial file.

    Args:
        encoder: pixels (B, 3, H, W) -> features (B, P, D); left in evaluation mode on `device`.
        dataset: the images; its `augment` is ignored.
        folder: cache folder, created if missing; any number of datasets may share it.
        batch_size: images per encoder pass.
        device: device of the encoder.
        views: views to compute, "plain" first.
        workers: worker processes that decode photos.
        ranks: the processes that share the work, and the folder.

    Raises:
        DataError: a feature overflows half precision or is NaN, or the folder cannot be written to
            or is full.
    """
    if views[0] != "plain":
        raise ValueError(f"views is {views}; the first must be 'plain'.")
    encoder = encoder.eval().to(device)
    folder.mkdir(parents=True, exist_ok=True)
    # The first rank's, since copies of the photos on other nodes may have other times.
    key = ranks.agree(_key(encoder, dataset) if ranks.first else "")
    files = [
        FeatureFile(
            path=folder / f"{view}-{key[:16]}.npy",
            mark=f"{view} {key}".encode(),
            images=len(dataset),
        )
        for view in views
    ]
    for view, file in zip(views, files, strict=True):
        if ranks.agree(ranks.first and file.is_whole):
            continue
        target = file.path
        # Not the process id, which containers that share a folder may have in common.
        unfinished = target.with_suffix(f".{ranks.agree(token_hex(8))}.unfinished")
        places = range(len(dataset))
        batches = [list(places[start : start + batch_size]) for start in places[::batch_size]]
        mine = ranks.share(batches)
        loader = DataLoader(_Pixels(dataset, view), batch_sampler=mine, num_workers=workers)
        with explained(unfinished, raised=DataError, option="data.cache"):
            try:
                _write(encoder, loader, mine, unfinished, device=device, ranks=ranks)
                ranks.wait()
                if ranks.first:
                    with unfinished.open("ab") as end:
                        end.write(file.mark)
                    unfinished.replace(target)
            finally:
                if ranks.first:
                    unfinished.unlink(missing_ok=True)
        ranks.wait()
    return FeatureDataset(dataset, files)


class _Pixels(Dataset[Tensor]):
    """Images of a dataset in one view, without captions or augmentation."""

    def __init__(self, dataset: CaptionDataset, view: View) -> None:
        self._dataset = dataset
        self._view = view

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """Return the images of a batch."""
        pixels = self._dataset.pixels(indices)
        return [x.flip(-1) for x in pixels] if self._view == "mirror" else pixels


@torch.inference_mode()
def _write(
    encoder: nn.Module,
    loader: DataLoader[Tensor],
    batches: Sequence[Sequence[int]],
    path: Path,
    *,
    device: torch.device | str,
    ranks: Ranks,
) -> None:
    """Encode this rank's images and write the features, batch by batch."""
    images = len(loader.dataset)  # type: ignore[arg-type]
    stored: Any = None
    numbered = zip(batches, loader, strict=True)
    bar = progress_bar(numbered, title="features", total=len(batches), quiet=not ranks.first)
    for places, pixels in bar:
        features = encoder(pixels.to(device)).half().cpu()
        if not features.isfinite().all():
            raise DataError(
                "The encoder's features overflow half precision or are NaN; set "
                'encoder = "trained" in the stages, or check the encoder\'s weights.'
            )
        if stored is None:
            if ranks.first:
                _allocate(path, (images, *features.shape[1:]))
            ranks.wait()
            stored = np.load(path, mmap_mode="r+")
        stored[places[0] : places[-1] + 1] = features.numpy()
    if stored is None:  # fewer batches than ranks
        ranks.wait()
    else:
        stored.flush()


def _allocate(path: Path, shape: tuple[int, ...]) -> None:
    """Create a file for features and reserve its space.

    Raises:
        OSError: the disk is full. Without reserving, a write to the memory map would kill the
            process.
    """
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _key(encoder: nn.Module, dataset: CaptionDataset) -> str:
    """Return a digest of everything that features depend on."""
    digest = hashlib.sha256(f"{_FORMAT} {version('timm')} {dataset.preprocess}".encode())
    for name, module in encoder.named_modules():
        settings = {
            key: value
            for key, value in sorted(vars(module).items())
            if key != "training" and isinstance(value, int | float | str | tuple | None)
        }
        digest.update(f"{name} {type(module).__name__} {module.extra_repr()} {settings}".encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    names = [record.image for record in dataset.records]
    for name, stamp in zip(names, dataset.source.stamps(names), strict=True):
        digest.update(f"{name}\0{stamp}\0".encode())
    return digest.hexdigest()
