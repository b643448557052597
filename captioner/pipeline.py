"""Captioner: photo -> Caption, whatever runs the network.

framing.prepare          photo, upright, RGB; then (3, H, W) and Geometry
Captioner.encode         what the decoder reads of the images
search                   tokens of the winner, probability of each
reading                  attention (L, M, T, P) of the winner
description.describe     tokens gathered into words a reader sees

A runtime is one class in one file that says how the network is run, and one line in `RUNTIMES`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Float, Int

from captioner.checkpoint.header import Header
from captioner.checkpoint.shipped import DEFAULT, find_checkpoint, has_graphs
from captioner.config import AttentionConfig, SearchConfig
from captioner.decoders.reading import Look, Reading, follow, join, select
from captioner.errors import ConfigError, needing_torch
from captioner.photo import Source
from captioner.photo.framing import Prepared, prepare, prepare_each
from captioner.result.caption import Caption
from captioner.result.description import describe, describe_words, find_rivals
from captioner.search import Candidates, log_probabilities, make_noise, search_steps
from captioner.search import search as search_captions
from captioner.search.arrays import to_numpy
from captioner.speed.resources import has_gpu, has_room
from captioner.words.constraints import Constraints

__all__ = ["RUNTIMES", "Captioner", "Prepared"]

RUNTIMES = {
    "torch": ("captioner.pytorch", "TorchCaptioner"),
    "onnx": ("captioner.onnx.runner", "OnnxCaptioner"),
}
"""Module and class of each runtime; it is imported when it is needed."""

MOST_LANES = 16
"""Batches captioned side by side on a CPU; more would wait for Python's lock."""

Own = TypeVar("Own", bound="Captioner")


class Captioner(ABC):
    """A model ready to caption photos; `load` makes one from a checkpoint."""

    decoder: Any
    """What search asks; see `captioner.decoders.contract.Decoder`."""
    grid: tuple[int, int]
    """Regions down and across."""
    header: Header
    """What the model was saved, or will be saved, with."""
    unseen: tuple[str, ...] = ()
    """Names of the members of an ensemble whose attention is not shown."""
    reads_at_once: ClassVar[bool] = False
    """Whether `read` is faster than noting what is looked at during the search."""

    @classmethod
    def load(
        cls: type[Own],
        *checkpoints: str | Path,
        runtime: str = "auto",
        device: str = "auto",
        precision: str = "float32",
    ) -> Own:
        """Load a checkpoint, or several that caption together; the default one if none is given.

        Args:
            *checkpoints: names or paths; see `find_checkpoint`.
            runtime: `torch` or `onnx`; see `choose_runtime` for `auto`.
            device: `auto` takes a GPU if there is one, for torch; or `cpu`, `cuda` and so on.
            precision: number format of the encoder: `float32`; for torch `bfloat16` or `float16`,
                for onnx `int8`, which are faster and now and then choose another word; or `auto`,
                the fastest on this machine.

        Raises:
            CheckpointError: no such checkpoint, or it is damaged or lacks what the runtime needs.
            ConfigError: there is no such runtime, device or precision.
            MissingExtraError: the runtime is not installed.
        """
        files = [find_checkpoint(checkpoint) for checkpoint in checkpoints or (DEFAULT,)]
        kind: type[Own] = cls
        if kind is Captioner:
            runtime = choose_runtime(runtime, files, device=device, precision=precision)
            kind = _runtime_class(runtime)
        return kind.open(files, device=device, precision=precision)

    @classmethod
    @abstractmethod
    def open(cls: type[Own], checkpoints: Sequence[Path], *, device: str, precision: str) -> Own:
        """Load the files of one checkpoint, or of several that caption together, as `load` does."""

    @abstractmethod
    def for_bulk(self: Own, *, compiled: bool = False) -> Own:
        """Return a captioner of the same model that is faster for thousands of photos.

        Args:
            compiled: have the encoder compiled first, which takes a minute.

        Raises:
            ConfigError: it cannot be compiled.
        """

    @abstractmethod
    def lanes(self) -> AbstractContextManager[int]:
        """Return how many batches to caption side by side, with the cores divided between them."""

    def lane(self) -> AbstractContextManager[object]:
        """Caption one of the batches that run side by side.

        Raises:
            MemoryError: there is not enough memory for it.
        """
        return nullcontext()

    def has_room(self) -> bool:
        """Whether batches may be doubled: as much memory is free as was ever taken."""
        return has_room()

    @abstractmethod
    def encode(self, photos: Sequence[Prepared]) -> Float[Any, "B ..."]:
        """Return what `decoder.init_state` reads of the photos."""

    def read(
        self,
        features: Float[Any, "B ..."],
        captions: Sequence[Sequence[list[int]]],
        *,
        prefix: Sequence[int],
    ) -> list[list[tuple[list[float], Look]]]:
        """Read finished captions of each image, as many of each, to see where they looked.

        Args:
            features: from `encode`.
            captions: token ids.
            prefix: what was given before the first token; see `Constraints`.

        Returns:
            Log-probabilities of the tokens, and a look, by image and caption.
        """
        tokenizer = self.header.tokenizer
        longest = max(len(ids) for image in captions for ids in image)
        first = len(prefix)
        # No token looks ahead, so the padding behind a shorter caption changes nothing.
        words = np.full((len(captions), len(captions[0]), first + longest), tokenizer.pad_id)
        words[:, :, :first] = prefix
        for image, own in enumerate(captions):
            for k, ids in enumerate(own):
                words[image, k, first : first + len(ids)] = ids
        reading = self.read_along(features, words)
        logs = log_probabilities(reading.logits[:, :, first - 1 :], tokenizer.never_written)
        return [
            [
                (logs[image, k, range(len(ids)), ids].tolist(), select(reading, image, k))
                for k, ids in enumerate(own)
            ]
            for image, own in enumerate(captions)
        ]

    def read_along(self, features: Float[Any, "B ..."], words: Int[Any, "B K T"]) -> Reading:
        """Read K captions of each image, START first, token by token."""
        state = self.decoder.init_state(features).reorder(np.zeros(words.shape[:2], np.int64))
        readings = []
        for t in range(words.shape[2]):
            reading, state = self.decoder.look(words[:, :, t], state)
            readings.append(reading)
        return join(readings)

    def caption(
        self, photo: Source | Prepared, *, search: SearchConfig | None = None, **changes: Any
    ) -> Caption:
        """Caption one photo.

        Args:
            photo: a path, the bytes of a file, a Pillow image or an array; see `load_photo`.
            search: decoding settings; the checkpoint knows what suits it best.
            **changes: single settings of decoding, such as `beam=5`; see `SearchConfig`.

        Raises:
            ImageError: the photo cannot be read.
            ConfigError: a setting is unknown or out of range, or cannot be followed.
        """
        return self.caption_batch([self._prepared(photo)], search=search, **changes)[0]

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
            words: whether captions have words with probability and attention; without, they have
                the text alone, and take less time.
            **changes: as in `caption`.

        Raises:
            ImageError: a photo cannot be read.
            ConfigError: a setting is unknown or out of range, or cannot be followed.
        """
        chosen, constraints = self.header.plan(search, **changes)
        prepared = prepare_each(photos, self.prepare)
        if not prepared:
            return []
        features = self.encode(prepared)
        readings: list[Reading] = []
        found = search_captions(
            self.decoder,
            features,
            config=chosen,
            constraints=constraints,
            noise=make_noise((photo.pixels for photo in prepared), config=chosen),
            readings=readings if words and not self.reads_at_once else None,
        )
        looks: list[Look | None] = [None] * len(found)
        if words and self.reads_at_once:
            again = self.read(
                features, [own.tokens[:1] for own in found], prefix=constraints.prefix
            )
            looks = [look for ((_, look),) in again]
        elif words:
            looks = [follow(readings, own.rows[0]) for own in found]
        return [
            self._describe(photo, own, look, chosen, constraints)
            for photo, own, look in zip(prepared, found, looks, strict=True)
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
            ConfigError: a setting is unknown or out of range, or cannot be followed.
        """
        chosen, constraints = self.header.plan(search, **changes)
        prepared = self._prepared(photo)
        readings: list[Reading] = []
        for found in search_steps(
            self.decoder,
            self.encode([prepared]),
            config=chosen,
            constraints=constraints,
            noise=make_noise([prepared.pixels], config=chosen),
            readings=readings,
        ):
            look = follow(readings, found.rows[0])
            yield self._describe(prepared, found, look, chosen, constraints)

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
        prefix = self.header.plan(caption.search)[1].prefix
        features = self.encode([self._prepared(photo)])
        captions = [[list(own.tokens) for own in caption.candidates]]
        (read,) = self.read(features, captions, prefix=prefix)
        return tuple(
            replace(
                caption,
                text=candidate.text,
                log_probability=candidate.log_probability,
                score=candidate.score,
                candidates=(),
                view=AttentionConfig(),
                words=describe_words(
                    candidate.tokens,
                    logs,
                    look,
                    header=self.header,
                    grid=self.grid,
                    prompt=len(prefix) - 1,
                ),
            )
            for candidate, (logs, look) in zip(caption.candidates, read, strict=True)
        )

    def read_sentence(self, photo: Source | Prepared, text: str, *, rivals: int = 5) -> Caption:
        """Read a sentence of your own as if the model had written it about the photo.

        Args:
            photo: as in `caption`.
            text: a sentence of words that the model knows.
            rivals: how many of the likeliest words to find for the place of each word.

        Returns:
            The sentence with probability, attention and rivals of every word.

        Raises:
            ImageError: the photo cannot be read.
            ConfigError: the sentence is empty or too long, or has words the model does not know.
        """
        tokens = self._tokens(text)
        prepared = self._prepared(photo)
        return self._read(prepared, self.encode([prepared]), tokens, rivals=rivals)

    def complete(self, photo: Source | Prepared, start: str, *, rivals: int = 5) -> Caption:
        """Write the rest of a sentence that you began, greedily.

        Args:
            photo: as in `caption`.
            start: the first words; none is greedy search.
            rivals: as in `read_sentence`, and so are the caption that is returned and the errors.
        """
        tokens = self._tokens(start) if start.strip() else []
        prepared = self._prepared(photo)
        features = self.encode([prepared])
        constraints = self.header.plan(method="greedy")[1]
        while len(tokens) < (self.header.longest or self.header.search.max_words):
            latest = int(self._log_probabilities(features, tokens)[1][-1].argmax())
            if latest == constraints.end_id:
                break
            tokens.append(latest)
        return self._read(prepared, features, tokens, rivals=rivals)

    def _tokens(self, text: str) -> list[int]:
        tokenizer = self.header.tokenizer
        tokens = tokenizer.encode(text)
        if not tokens:
            raise ConfigError("the sentence is empty; write some words.")
        if tokenizer.unk_id in tokens:
            unknown = [word for word in text.split() if tokenizer.unk_id in tokenizer.encode(word)]
            raise ConfigError(
                f"the sentence has words that {self.header.name} does not know: "
                f"{', '.join(unknown)}; write it with other words."
            )
        longest = self.header.longest
        if longest is not None and len(tokens) > longest:
            raise ConfigError(
                f"the sentence has {len(tokens)} tokens; {self.header.name} reads {longest} at "
                "most, so shorten it."
            )
        return tokens

    def _log_probabilities(
        self, features: Float[Any, "1 ..."], tokens: Sequence[int]
    ) -> tuple[Reading, Float[np.ndarray, "T V"]]:
        """Read the beginning of a caption; return what may come after each of its tokens."""
        tokenizer = self.header.tokenizer
        reading = self.read_along(features, np.array([[[tokenizer.start_id, *tokens]]]))
        return reading, to_numpy(log_probabilities(reading.logits, tokenizer.never_written)[0, 0])

    def _read(
        self, photo: Prepared, features: Float[Any, "1 ..."], tokens: list[int], *, rivals: int
    ) -> Caption:
        tokenizer = self.header.tokenizer
        reading, logs = self._log_probabilities(features, tokens)
        ends = [*tokens, tokenizer.end_id]
        own = [float(logs[t, token]) for t, token in enumerate(ends)]
        words = describe_words(
            tokens, own, select(reading, 0, 0), header=self.header, grid=self.grid
        )
        first = [shown.tokens[0] for shown in tokenizer.words(tokens)]
        return Caption(
            image=photo.image,
            text=tokenizer.decode(tokens),
            words=tuple(
                replace(word, rivals=find_rivals(logs[t], tokens[:t], tokenizer, count=rivals))
                for word, t in zip(words, first, strict=True)
            ),
            log_probability=sum(own),
            candidates=(),
            geometry=photo.geometry,
            checkpoint=self.header.name,
            search=self.header.search,
        )

    def prepare(self, photo: Source, *, name: str | None = None) -> Prepared:
        """Read a photo, without captioning it yet.

        Args:
            photo: as in `caption`.
            name: what to call the photo in an error; without it, its path.

        Raises:
            ImageError: the photo cannot be read.
        """
        return prepare(photo, self.header.preprocess, name=name)

    def _prepared(self, photo: Source | Prepared) -> Prepared:
        return photo if isinstance(photo, Prepared) else self.prepare(photo)

    def _describe(
        self,
        photo: Prepared,
        found: Candidates,
        look: Look | None,
        config: SearchConfig,
        constraints: Constraints,
    ) -> Caption:
        """Put the first of the candidates into words."""
        return describe(
            photo,
            found,
            look,
            header=self.header,
            grid=self.grid,
            search=config,
            prompt=len(constraints.prefix) - 1,
        )


def choose_runtime(
    name: str, checkpoints: Sequence[Path], *, device: str = "auto", precision: str = "float32"
) -> str:
    """Choose what runs the network: the name of a runtime.

    Args:
        name: asked for; `auto` takes onnx where torch is not installed, or where onnx can do what
            is asked and no GPU could do it faster.
        checkpoints: files.
        device: as in `Captioner.load`.
        precision: as in `Captioner.load`.

    Raises:
        ConfigError: there is no such runtime.
    """
    if name == "auto":
        one = len(checkpoints) == 1 and has_graphs(checkpoints[0])
        known = precision in ("auto", "float32", "int8")
        on_cpu = device == "cpu" or (device == "auto" and not has_gpu())
        return "onnx" if find_spec("torch") is None or (one and known and on_cpu) else "torch"
    if name not in RUNTIMES:
        raise ConfigError(f"runtime is {name!r}; choose from auto, {', '.join(RUNTIMES)}.")
    return name


def _runtime_class(name: str) -> Any:
    module, kind = RUNTIMES[name]
    with needing_torch():
        return getattr(import_module(module), kind)
