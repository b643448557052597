"""Captioner: photo -> Caption.

photo.load_reduced       picture, upright, RGB
preprocess               (3, H, W) and Geometry
model.encoder            (B, P, D)
search                   words of the winner, probability of each
model.decoder            attention (B, K, L, M, T, P) of the winner, read once as a whole
tokenizer.words          tokens gathered into words a reader sees
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from captioner.caption import Candidate, Caption, Word
from captioner.checkpoint import Header, load_checkpoint
from captioner.config import SearchConfig
from captioner.errors import ConfigError
from captioner.model import CaptionModel, Reading
from captioner.photo import Source, load_reduced
from captioner.preprocess import Geometry, preprocess
from captioner.search import Candidates, search
from captioner.shipped import DEFAULT, find_checkpoint

__all__ = ["Candidate", "Caption", "Captioner", "Prepared", "Word"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A photo read and brought to the encoder's input."""

    image: str | None
    """Path of the photo as it was given; None if it was not a path."""
    pixels: Float[Tensor, "3 H W"]
    """The encoder's input, on the CPU."""
    geometry: Geometry
    """Which part of the photo the input shows."""


class Captioner:
    """A model ready to caption photos; `load` makes one from a checkpoint.

    Args:
        model: encoder and decoder; captioning puts it into evaluation mode.
        header: what the model was saved, or will be saved, with.
    """

    def __init__(self, model: CaptionModel, header: Header) -> None:
        self.model = model
        self.header = header

    @classmethod
    def load(cls, name_or_path: str | Path | None = None, *, device: str = "auto") -> "Captioner":
        """Load a checkpoint by its name, or from a file; the default one if nothing is given.

        Args:
            name_or_path: as in `find_checkpoint`.
            device: `auto` takes a GPU if there is one; otherwise a PyTorch device such as `cpu`.

        Raises:
            CheckpointError: no such checkpoint, or it is damaged.
            ConfigError: there is no such device.
        """
        path = find_checkpoint(DEFAULT if name_or_path is None else name_or_path)
        return cls(*load_checkpoint(path, device=find_device(device)))

    def caption(
        self, photo: Source | Prepared, *, search: SearchConfig | None = None, **changes: Any
    ) -> Caption:
        """Caption one photo.

        Args:
            photo: a path, the bytes of a file, a Pillow picture or an array; see `load_photo`.
            search: how to look for the sentence; the checkpoint knows what suits it best.
            **changes: single settings of the search, such as `beam=5`; see `SearchConfig`.

        Raises:
            ImageError: the photo cannot be read.
            ConfigError: a setting of the search is unknown or out of range.
        """
        prepared = photo if isinstance(photo, Prepared) else self.prepare(photo)
        return self.caption_batch([prepared], search=search, **changes)[0]

    def caption_batch(
        self,
        photos: Sequence[Source | Prepared],
        *,
        search: SearchConfig | None = None,
        **changes: Any,
    ) -> list[Caption]:
        """Caption photos together, which is faster and gives what `caption` gives for each.

        Args:
            photos: as in `caption`. One that cannot be read stops all; to go on without it,
                `prepare` them one by one.
            search: as in `caption`.
            **changes: as in `caption`.

        Raises:
            ImageError: a photo cannot be read.
            ConfigError: a setting of the search is unknown or out of range.
        """
        chosen = self.header.search_with(search, **changes)
        prepared = [
            photo
            if isinstance(photo, Prepared)
            else self.prepare(photo, name=_path(photo) or f"photo {number}")
            for number, photo in enumerate(photos, start=1)
        ]
        if not prepared:
            return []
        found, reading = self._look(torch.stack([photo.pixels for photo in prepared]), chosen)
        return [
            self._describe(photo, found[i], reading, i, chosen) for i, photo in enumerate(prepared)
        ]

    def prepare(self, photo: Source, *, name: str | None = None) -> Prepared:
        """Read a photo, without captioning it yet.

        Args:
            photo: as in `caption`.
            name: what to call the photo in an error; without it, its path.

        Raises:
            ImageError: the photo cannot be read.
        """
        config = self.header.preprocess
        # Twice the input: what the JPEG decoder averages away is nothing the resizing would keep.
        enough = (2 * config.height, 2 * config.width)
        picture, size = load_reduced(photo, at_least=enough, name=name)
        pixels, geometry = preprocess(picture, config, size=size)
        return Prepared(image=_path(photo), pixels=pixels, geometry=geometry)

    @torch.inference_mode()
    def _look(
        self, pixels: Float[Tensor, "B 3 H W"], config: SearchConfig
    ) -> tuple[list[Candidates], Reading]:
        """Search, then read the winners once more to see where they looked."""
        self.model.eval()  # its owner may have trained it meanwhile; dropout makes captions random
        device = next(self.model.parameters()).device
        tokenizer = self.header.tokenizer
        features = self.model.encoder(pixels.to(device))
        found = search(
            self.model.decoder,
            features,
            config=config,
            start_id=tokenizer.start_id,
            end_id=tokenizer.end_id,
            forbidden=tokenizer.never_written,
        )
        winners = [[tokenizer.start_id, *candidates.words[0]] for candidates in found]
        longest = max(map(len, winners))
        # No word looks ahead, so the padding behind a shorter winner changes nothing.
        padded = [w + [tokenizer.pad_id] * (longest - len(w)) for w in winners]
        words = torch.tensor(padded, device=device)[:, None]  # (B, 1, T)
        return found, self.model.decoder(features, words, with_attention=True)

    def _describe(
        self,
        photo: Prepared,
        found: Candidates,
        reading: Reading,
        row: int,
        config: SearchConfig,
    ) -> Caption:
        """Put one photo's winner into words."""
        tokenizer = self.header.tokenizer
        texts = [tokenizer.decode(ids) for ids in found.words]
        assert reading.attention is not None
        # What is looked at on reading one token decides the next: START goes with the first word.
        weights = reading.attention[row, 0]  # (L, M, T, P)
        attention = weights.reshape(*weights.shape[:-1], *self.model.encoder.grid)
        gates = None if reading.gate is None else reading.gate[row, 0]
        words = []
        for shown in tokenizer.words(found.words[0]):
            tokens = list(shown.tokens)
            heads = _normalise(attention[:, :, tokens].mean(dim=2))
            words.append(
                Word(
                    text=shown.text,
                    probability=math.exp(sum(found.log_probabilities[0][t] for t in tokens)),
                    attention=_normalise(heads[-1].mean(dim=0)),
                    heads=heads,
                    gate=None if gates is None else gates[tokens].mean().item(),
                )
            )
        return Caption(
            image=photo.image,
            text=texts[0],
            words=tuple(words),
            log_probability=found.log_probability[0],
            candidates=tuple(
                Candidate(text=text, log_probability=log_probability)
                for text, log_probability in zip(texts[1:], found.log_probability[1:], strict=True)
            ),
            geometry=photo.geometry,
            checkpoint=self.header.name,
            search=config,
        )


def _path(photo: Source) -> str | None:
    """Return the path as it was given; None for what is no path."""
    return os.fsdecode(photo) if isinstance(photo, str | os.PathLike) else None


def _normalise(weights: Float[Tensor, "*maps gh gw"]) -> Float[Tensor, "*maps gh gw"]:
    """Make every map sum to 1 to float32's precision, on the CPU."""
    exact = weights.double().cpu()
    return (exact / exact.sum(dim=(-2, -1), keepdim=True)).float()


def find_device(name: str) -> torch.device:
    """Choose a device: `auto` takes a GPU if there is one.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"device {name!r} cannot be used ({reason}); choose auto or cpu."
        ) from error
    return device
