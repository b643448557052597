"""Captioner: photo -> Caption.

framing.prepare          picture, upright, RGB; then (3, H, W) and Geometry
model.encoder            (B, P, D)
search                   words of the winner, probability of each
reading                  attention (L, M, T, P) of the winner
description.describe     tokens gathered into words a reader sees
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from captioner.caption import Candidate, Caption, Word
from captioner.checkpoint import Header, load_checkpoint
from captioner.compilation import compile_encoder
from captioner.config import AttentionConfig, SearchConfig
from captioner.description import describe, describe_words
from captioner.errors import ConfigError
from captioner.framing import Prepared, prepare, prepare_each
from captioner.header import join_headers
from captioner.model import CaptionModel, evaluating, join_models
from captioner.model.packing import pack
from captioner.photo import Source
from captioner.precision import calculating_in, find_precision
from captioner.preprocess import resize
from captioner.reading import Look, Reading, follow, select
from captioner.search import Candidates, log_probabilities, make_noise, search_steps
from captioner.search import search as search_captions
from captioner.shipped import DEFAULT, find_checkpoint

__all__ = ["Candidate", "Caption", "Captioner", "Prepared", "Word"]


class Captioner:
    """A model ready to caption photos; `load` makes one from a checkpoint.

    Args:
        model: encoder and decoder; captioning leaves it in the mode it is in.
        header: what the model was saved, or will be saved, with.
        precision: what the encoder calculates in.
    """

    def __init__(
        self, model: CaptionModel, header: Header, *, precision: torch.dtype = torch.float32
    ) -> None:
        self.model = model
        self.header = header
        self.precision = precision

    @classmethod
    def load(
        cls,
        name_or_path: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
    ) -> "Captioner":
        """Load a checkpoint by its name, or from a file; the default one if nothing is given.

        Args:
            name_or_path: as in `find_checkpoint`.
            device: `auto` takes a GPU if there is one; otherwise a PyTorch device such as `cpu`.
            precision: what the encoder calculates in: float32; bfloat16 or float16, which may be
                faster and may choose another word here and there; or `auto`, the fastest of them.

        Raises:
            CheckpointError: no such checkpoint, or it is damaged.
            ConfigError: there is no such device or precision.
        """
        path = find_checkpoint(DEFAULT if name_or_path is None else name_or_path)
        found = find_device(device)
        dtype = find_precision(precision, found)
        model, header = load_checkpoint(path, device=found)
        # Convolutions are up to twice as fast so, and Vision Transformers have next to none.
        model.encoder.to(memory_format=torch.channels_last)
        return cls(model, header, precision=dtype)

    @classmethod
    def ensemble(cls, members: Sequence["Captioner"]) -> "Captioner":
        """Make one captioner of several, of which one alone is itself.

        A word's probability is the mean of those that the members give it. Where a word was looked
        for is shown as the mean over the members, and by member as over heads; those whose grid
        differs from the first one's have no part in that. The first one's are the recommended
        search, the precision and the device.

        Args:
            members: with the same words, fed alike; their models are shared, not copied.

        Raises:
            ConfigError: two do not know the same words, are not fed alike, or there is none.
        """
        if not members:
            raise ConfigError("an ensemble needs a member; give two captioners or more.")
        if len(members) == 1:
            return members[0]
        headers = [member.header for member in members]
        header = join_headers(headers)
        model = join_models(
            [member.model for member in members], [own.preprocess for own in headers]
        )
        device = next(members[0].model.parameters()).device
        return cls(model.to(device), header, precision=members[0].precision)

    def packed(self) -> "Captioner":
        """Return a captioner with the same model, laid out to caption many photos faster.

        Its captions are the same but for rounding. It takes some memory more, and gains on CPUs
        only; elsewhere it is no slower.
        """
        return Captioner(pack(self.model), self.header, precision=self.precision)

    def compiled(self) -> "Captioner":
        """Return what `packed` does, with the encoder as compiled code; that takes a minute.

        Raises:
            ConfigError: it cannot be compiled, as where there is no C++ compiler.
        """
        self.model.eval()
        preprocess = self.header.preprocess
        compile_encoder(
            self.model.encoder,
            size=(preprocess.height, preprocess.width),
            precision=self.precision,
        )
        model = CaptionModel(self.model.encoder, pack(self.model.decoder))
        return Captioner(model, self.header, precision=self.precision)

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
            ConfigError: a setting of the search is unknown or out of range, or cannot be followed.
        """
        prepared = photo if isinstance(photo, Prepared) else self.prepare(photo)
        return self.caption_batch([prepared], search=search, **changes)[0]

    def caption_batch(
        self,
        photos: Sequence[Source | Prepared],
        *,
        search: SearchConfig | None = None,
        words: bool = True,
        **changes: Any,
    ) -> list[Caption]:
        """Caption photos together, which is faster and gives what `caption` gives for each.

        Args:
            photos: as in `caption`. One that cannot be read stops all; to go on without it,
                `prepare` them one by one.
            search: as in `caption`.
            words: whether the captions tell of each word how sure it was and where the model
                looked; without, they have the text and no words, and take less time.
            **changes: as in `caption`.

        Raises:
            ImageError: a photo cannot be read.
            ConfigError: a setting of the search is unknown or out of range, or cannot be followed.
        """
        chosen, constraints = self.header.plan(search, **changes)
        prepared = prepare_each(photos, self.prepare)
        if not prepared:
            return []
        features = self._encode(prepared)
        found = search_captions(
            self.model.decoder,
            features,
            config=chosen,
            constraints=constraints,
            noise=make_noise((photo.pixels for photo in prepared), config=chosen),
        )
        reading = self._read(features, [own.tokens[:1] for own in found]) if words else None
        return [
            self._describe(photo, found[i], reading and select(reading, i, 0), chosen)
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
            ConfigError: a setting of the search is unknown or out of range, or cannot be followed.
        """
        chosen, constraints = self.header.plan(search, **changes)
        prepared = photo if isinstance(photo, Prepared) else self.prepare(photo)
        readings: list[Reading] = []
        for found in search_steps(
            self.model.decoder,
            self._encode([prepared]),
            config=chosen,
            constraints=constraints,
            noise=make_noise([prepared.pixels], config=chosen),
            readings=readings,
        ):
            yield self._describe(prepared, found, follow(readings, found.rows[0]), chosen)

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
        logs = log_probabilities(reading.logits[0], self.header.tokenizer.never_written)
        return tuple(
            replace(
                caption,
                text=candidate.text,
                log_probability=candidate.log_probability,
                candidates=(),
                view=AttentionConfig(),
                words=describe_words(
                    candidate.tokens,
                    logs[k, range(len(candidate.tokens)), candidate.tokens].tolist(),
                    select(reading, 0, k),
                    header=self.header,
                    grid=self.model.encoder.grid,
                ),
            )
            for k, candidate in enumerate(caption.candidates)
        )

    def prepare(self, photo: Source, *, name: str | None = None) -> Prepared:
        """Read a photo, without captioning it yet.

        Args:
            photo: as in `caption`.
            name: what to call the photo in an error; without it, its path.

        Raises:
            ImageError: the photo cannot be read.
        """
        prepared = prepare(photo, self.header.preprocess, name=name, resize=resize)
        return replace(prepared, pixels=torch.from_numpy(prepared.pixels))

    @torch.inference_mode()
    def _encode(self, photos: Sequence[Prepared]) -> Float[Tensor, "B P D"]:
        device = next(self.model.parameters()).device
        pixels = torch.stack([torch.as_tensor(photo.pixels) for photo in photos])
        if device.type == "cuda":  # from pinned memory, the copy does not keep this thread waiting
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        pixels = pixels.to(device, memory_format=torch.channels_last)
        encoder = self.model.encoder
        with calculating_in(self.precision, device), evaluating(encoder):
            features: Tensor = encoder(pixels)
        return features.float()

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
        with evaluating(self.model.decoder):
            reading: Reading = self.model.decoder(features, words, with_attention=True)
        return reading

    def _describe(
        self, photo: Prepared, found: Candidates, look: Look | None, config: SearchConfig
    ) -> Caption:
        """Put the first of the candidates into words."""
        return describe(
            photo, found, look, header=self.header, grid=self.model.encoder.grid, search=config
        )


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
