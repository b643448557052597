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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from captioner.caption import Candidate, Caption, Word, select_attention
from captioner.checkpoint import Header, load_checkpoint
from captioner.config import AttentionConfig, SearchConfig
from captioner.errors import ConfigError
from captioner.model import CaptionModel, Reading
from captioner.model.rollout import rollout
from captioner.photo import Source, load_reduced
from captioner.preprocess import Geometry, preprocess
from captioner.search import Candidates, log_probabilities, search_steps
from captioner.search import search as search_captions
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


class _Look(NamedTuple):
    """Where one caption looked."""

    attention: Float[Tensor, "L M T P"]
    rollout: Float[Tensor, "T P"] | None
    gate: Float[Tensor, " T"] | None


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
        features = self._encode(prepared)
        found = search_captions(self.model.decoder, features, config=chosen, **self._marks)
        reading = self._read(features, [[candidates.words[0]] for candidates in found])
        return [
            self._describe(photo, found[i], _select(reading, i, 0), chosen)
            for i, photo in enumerate(prepared)
        ]

    def stream(
        self, photo: Source | Prepared, *, search: SearchConfig | None = None, **changes: Any
    ) -> Iterator[Caption]:
        """Caption one photo, and show the caption as it grows.

        Args:
            photo: as in `caption`.
            search: as in `caption`.
            **changes: as in `caption`.

        Yields:
            The likeliest caption so far after every word, with its probabilities and attention;
            beam search may drop it for another. The last one is what `caption` returns.

        Raises:
            ImageError: the photo cannot be read.
            ConfigError: a setting of the search is unknown or out of range.
        """
        chosen = self.header.search_with(search, **changes)
        prepared = photo if isinstance(photo, Prepared) else self.prepare(photo)
        features = self._encode([prepared])
        for found in search_steps(self.model.decoder, features, config=chosen, **self._marks):
            reading = self._read(features, [found.words[:1]])
            yield self._describe(prepared, found, _select(reading, 0, 0), chosen)

    def read_candidates(self, photo: Source | Prepared, caption: Caption) -> tuple[Caption, ...]:
        """Look at a caption's other candidates as closely as at the caption itself.

        Args:
            photo: the captioned one.
            caption: what this captioner made of it.

        Returns:
            Each of `caption.candidates` as a caption of its own, without candidates.

        Raises:
            ImageError: the photo cannot be read.
        """
        if not caption.candidates:
            return ()
        prepared = photo if isinstance(photo, Prepared) else self.prepare(photo)
        features = self._encode([prepared])
        captions = [list(candidate.tokens) for candidate in caption.candidates]
        reading = self._read(features, [captions])
        banned = torch.tensor(self.header.tokenizer.never_written, device=features.device)
        logs = log_probabilities(reading.logits[0], banned)  # (K, T, V)
        return tuple(
            self._describe(
                prepared,
                Candidates(
                    words=[tokens],
                    log_probabilities=[logs[k, range(len(tokens)), tokens].tolist()],
                    log_probability=[caption.candidates[k].log_probability],
                    score=[],
                    finished=[],
                ),
                _select(reading, 0, k),
                caption.search,
            )
            for k, tokens in enumerate(captions)
        )

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

    @property
    def _marks(self) -> dict[str, Any]:
        """The ids that search treats apart."""
        tokenizer = self.header.tokenizer
        return {
            "start_id": tokenizer.start_id,
            "end_id": tokenizer.end_id,
            "forbidden": tokenizer.never_written,
        }

    @torch.inference_mode()
    def _encode(self, photos: Sequence[Prepared]) -> Float[Tensor, "B P D"]:
        self.model.eval()  # its owner may have trained it meanwhile; dropout makes captions random
        device = next(self.model.parameters()).device
        features: Tensor = self.model.encoder(torch.stack([p.pixels for p in photos]).to(device))
        return features

    @torch.inference_mode()
    def _read(
        self, features: Float[Tensor, "B P D"], captions: Sequence[Sequence[list[int]]]
    ) -> Reading:
        """Read K finished captions of each image once more, to see where they looked."""
        tokenizer = self.header.tokenizer
        longest = 1 + max(len(ids) for image in captions for ids in image)
        # No word looks ahead, so the padding behind a shorter caption changes nothing.
        padded = [
            [
                [tokenizer.start_id, *ids] + [tokenizer.pad_id] * (longest - 1 - len(ids))
                for ids in image
            ]
            for image in captions
        ]
        words = torch.tensor(padded, device=features.device)  # (B, K, T)
        reading: Reading = self.model.decoder(features, words, with_attention=True)
        return reading

    def _describe(
        self, photo: Prepared, found: Candidates, look: _Look, config: SearchConfig
    ) -> Caption:
        """Put the first of the candidates into words."""
        tokenizer = self.header.tokenizer
        texts = [tokenizer.decode(ids) for ids in found.words]
        # What is looked at on reading one token decides the next: START goes with the first word.
        grid = self.model.encoder.grid
        attention = look.attention.reshape(*look.attention.shape[:-1], *grid)
        rolled_out = None if look.rollout is None else look.rollout.reshape(-1, *grid)
        words = []
        for shown in tokenizer.words(found.words[0]):
            tokens = list(shown.tokens)
            heads = _normalise(attention[:, :, tokens].mean(dim=2))
            rolled = None if rolled_out is None else _normalise(rolled_out[tokens].mean(dim=0))
            words.append(
                Word(
                    text=shown.text,
                    probability=math.exp(sum(found.log_probabilities[0][t] for t in tokens)),
                    attention=select_attention(heads, rolled, AttentionConfig()),
                    heads=heads,
                    gate=None if look.gate is None else look.gate[tokens].mean().item(),
                    rollout=rolled,
                )
            )
        return Caption(
            image=photo.image,
            text=texts[0],
            words=tuple(words),
            log_probability=found.log_probability[0],
            candidates=tuple(
                Candidate(text=text, log_probability=log_probability, tokens=tuple(tokens))
                for text, log_probability, tokens in zip(
                    texts[1:], found.log_probability[1:], found.words[1:], strict=True
                )
            ),
            geometry=photo.geometry,
            checkpoint=self.header.name,
            search=config,
        )


def _select(reading: Reading, image: int, caption: int) -> _Look:
    assert reading.attention is not None  # it was asked for
    attention = reading.attention[image, caption]
    gate = None if reading.gate is None else reading.gate[image, caption]
    rolled_out = None
    if reading.between_words is not None:
        words = reading.between_words[image, caption]  # (L, M, T, T)
        rolled_out = rollout(attention.mean(dim=1), words.mean(dim=1))
    return _Look(attention=attention, rollout=rolled_out, gate=gate)


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
