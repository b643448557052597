"""CLIPScore: similarity of photo and caption in the embedding space of a CLIP model.

Source: Hessel et al. 2021, "CLIPScore", section 3 (arXiv:2104.08718). CLIPScore is 2.5 times the
cosine of photo and caption, at least 0, and needs no references; RefCLIPScore is its harmonic mean
with the caption's largest cosine with a reference. As in the paper, "A photo depicts" precedes
every text.

The model is a local folder in the format of Hugging Face `transformers`; nothing is downloaded.
Scores of different CLIP models are not comparable.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from captioner.errors import ConfigError, MissingExtraError
from captioner.photo import load_photo
from captioner.pytorch import find_device
from data.coco import Record
from data.image_source import ImageSource
from training.metrics.bootstrap import mean_intervals

_WEIGHT = 2.5
_PROMPT = "A photo depicts "
_BATCH = 16  # photos


class ClipScorer:
    """A CLIP model that embeds photos and captions.

    Args:
        folder: model, tokenizer and image processor.
        device: `auto`, `cpu`, `cuda`, ...

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: the folder holds no CLIP model, or the device does not exist.
    """

    def __init__(self, folder: Path, *, device: str = "auto") -> None:
        try:
            from transformers import AutoModel, AutoProcessor  # noqa: PLC0415  # an optional extra
        except ImportError as error:
            raise MissingExtraError(
                "CLIPScore needs transformers: pip install 'captioner[clip]'"
            ) from error
        try:
            model = AutoModel.from_pretrained(folder, local_files_only=True)
            self._processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{folder} holds no CLIP model that transformers can load "
                f"({str(error).splitlines()[0]}). Give a local folder with config.json, "
                "model.safetensors, tokenizer and image processor."
            ) from error
        if model.config.model_type != "clip":
            raise ConfigError(
                f"{folder} holds a model of type {model.config.model_type!r}; CLIPScore is defined "
                "for CLIP."
            )
        self.name = folder.name
        self._model = model.eval().to(find_device(device))

    def score(
        self,
        records: Sequence[Record],
        source: ImageSource,
        captions: Mapping[int, str],
        *,
        resamples: int,
        seed: int,
    ) -> dict[str, Any]:
        """Score one caption per photo: `CLIPScore`, `RefCLIPScore` and their `intervals`.

        Raises:
            ImageError: a photo cannot be read.
        """
        values: dict[str, list[float]] = {"CLIPScore": [], "RefCLIPScore": []}
        for start in range(0, len(records), _BATCH):
            batch = records[start : start + _BATCH]
            for record, cosines in zip(batch, self._cosines(batch, source, captions), strict=True):
                assert len(cosines) == 1 + len(record.captions)
                with_photo, with_text = _WEIGHT * max(0.0, cosines[0]), max(0.0, *cosines[1:])
                total = with_photo + with_text
                values["CLIPScore"].append(with_photo)
                values["RefCLIPScore"].append(2 * with_photo * with_text / total if total else 0.0)
        report: dict[str, Any] = {"model": self.name}
        report |= {name: sum(column) / len(column) for name, column in values.items()}
        if resamples:
            report["intervals"] = mean_intervals(values, resamples=resamples, seed=seed)
        return report

    @torch.inference_mode()
    def _cosines(
        self, records: Sequence[Record], source: ImageSource, captions: Mapping[int, str]
    ) -> list[list[float]]:
        """Return, per photo, the cosine of its caption with the photo, then with each reference."""
        photos = [load_photo(source.read(r.image), name=r.image) for r in records]
        groups = [[captions[r.image_id], *r.captions] for r in records]
        inputs = self._processor(
            text=[_PROMPT + text for group in groups for text in group],
            images=photos,
            return_tensors="pt",
            padding=True,
            truncation=True,
        )
        found = self._model(**inputs.to(self._model.device))  # embeddings have length 1
        texts = found.text_embeds.split([len(group) for group in groups])
        return [
            [float(own[0] @ image), *(own[1:] @ own[0]).tolist()]
            for own, image in zip(texts, found.image_embeds, strict=True)
        ]
