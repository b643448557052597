"""CLIPScore: how near a caption is to its photo in the space of a CLIP model.

Source: Hessel et al. 2021, "CLIPScore", section 3 (arXiv:2104.08718). CLIPScore is 2.5 times the
cosine of photo and caption, or 0 where that is negative, and needs no references; RefCLIPScore is
the harmonic mean of it and the caption's largest cosine with a reference. "A photo depicts" is put
before every text, as the paper does.

The model is the user's own, a folder as Hugging Face `transformers` saves it; nothing is fetched.
Scores of different CLIP models cannot be compared.
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
_TOGETHER = 16  # photos


class ClipScorer:
    """A CLIP model that reads photos and captions.

    Args:
        folder: holds the model, its tokenizer and its image processor.
        device: where it runs.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: the folder holds no CLIP model, or there is no such device.
    """

    def __init__(self, folder: Path, *, device: str = "auto") -> None:
        try:
            from transformers import AutoModel, AutoProcessor  # noqa: PLC0415  # an extra
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
                f"({str(error).splitlines()[0]}). Give the folder of one that is on this machine, "
                "with config.json, model.safetensors, tokenizer and image processor."
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
        """Score one caption of every photo; `CLIPScore`, `RefCLIPScore` and their `intervals`.

        Raises:
            ImageError: a photo cannot be read.
        """
        values: dict[str, list[float]] = {"CLIPScore": [], "RefCLIPScore": []}
        for start in range(0, len(records), _TOGETHER):
            some = records[start : start + _TOGETHER]
            for record, cosines in zip(some, self._cosines(some, source, captions), strict=True):
                assert len(cosines) == 1 + len(record.captions)
                own, likeness = _WEIGHT * max(0.0, cosines[0]), max(0.0, *cosines[1:])
                both = own + likeness
                values["CLIPScore"].append(own)
                values["RefCLIPScore"].append(2 * own * likeness / both if both else 0.0)
        report: dict[str, Any] = {"model": self.name}
        report |= {name: sum(column) / len(column) for name, column in values.items()}
        if resamples:
            report["intervals"] = mean_intervals(values, resamples=resamples, seed=seed)
        return report

    @torch.inference_mode()
    def _cosines(
        self, records: Sequence[Record], source: ImageSource, captions: Mapping[int, str]
    ) -> list[list[float]]:
        """For every photo: cosine of its caption with it, then with each of its references."""
        photos = [load_photo(source.read(r.image), name=r.image) for r in records]
        groups = [[captions[r.image_id], *r.captions] for r in records]
        inputs = self._processor(
            text=[_PROMPT + text for group in groups for text in group],
            images=photos,
            return_tensors="pt",
            padding=True,
            truncation=True,
        )
        found = self._model(**inputs.to(self._model.device))  # both kinds of vectors have length 1
        texts = found.text_embeds.split([len(group) for group in groups])
        return [
            [float(own[0] @ image), *(own[1:] @ own[0]).tolist()]
            for own, image in zip(texts, found.image_embeds, strict=True)
        ]
