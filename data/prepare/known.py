"""Data sets that can be prepared by name: their downloads and splits."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file as published."""

    name: str
    size: int | None = None
    """Size in bytes; None if not publicly known."""
    md5: str | None = None
    address: str
    """Address of the file, or of the page where it is requested."""


@dataclass(frozen=True, kw_only=True)
class PhotoFolder:
    """One set of photos, downloaded or unpacked."""

    folders: tuple[str, ...]
    """Possible names of the unpacked folder; without one, the download is read directly."""
    download: Download


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set: photos, captions file, and the number of photos in each split."""

    title: str
    annotations: str
    """Karpathy's file, possibly compressed with gzip, or still inside `ANNOTATIONS`."""
    annotations_size: int
    photos: tuple[PhotoFolder, ...]
    splits: dict[str, int]
    other_years: tuple[str, ...] = ()
    """Files and folders with similar names that belong to another year."""


ANNOTATIONS = Download(
    name="caption_datasets.zip",
    size=36_745_453,
    address="https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
)
"""Splits of Karpathy and Li (2015, arXiv:1412.2306) for all three data sets."""


def _flickr(
    number: str,
    *,
    photos: tuple[str, ...],
    download: str,
    address: str,
    annotations_size: int,
    splits: dict[str, int],
) -> DataSet:
    """One of the two Flickr data sets: a single download of photos, on request."""
    return DataSet(
        title=f"Flickr{number}",
        annotations=f"dataset_flickr{number}.json",
        annotations_size=annotations_size,
        photos=(PhotoFolder(folders=photos, download=Download(name=download, address=address)),),
        splits=splits,
    )


KNOWN = {
    "coco": DataSet(
        title="COCO",
        annotations="dataset_coco.json",
        annotations_size=144_186_139,
        photos=(
            PhotoFolder(
                folders=("train2014",),
                download=Download(
                    name="train2014.zip",
                    size=13_510_573_713,
                    md5="0da8c0bd3d6becc4dcb32757491aca88",
                    address="http://images.cocodataset.org/zips/train2014.zip",
                ),
            ),
            PhotoFolder(
                folders=("val2014",),
                download=Download(
                    name="val2014.zip",
                    size=6_645_013_297,
                    md5="a3d79f5ed8d289b7a7554ce06a5782b3",
                    address="http://images.cocodataset.org/zips/val2014.zip",
                ),
            ),
        ),
        splits={"train": 113_287, "val": 5_000, "test": 5_000},
        other_years=("train2017", "val2017", "train2017.zip", "val2017.zip"),
    ),
    "flickr8k": _flickr(
        "8k",
        photos=("Flicker8k_Dataset", "Flickr8k_Dataset"),
        download="Flickr8k_Dataset.zip",
        address="https://hockenmaier.cs.illinois.edu/8k-pictures.html",
        annotations_size=9_035_673,
        splits={"train": 6_000, "val": 1_000, "test": 1_000},
    ),
    "flickr30k": _flickr(
        "30k",
        photos=("flickr30k-images", "flickr30k_images"),
        download="flickr30k-images.tar",
        address="https://shannon.cs.illinois.edu/DenotationGraph/",
        annotations_size=38_318_553,
        splits={"train": 29_000, "val": 1_014, "test": 1_000},
    ),
}
