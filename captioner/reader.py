"""Reader: photo and sentence -> Caption, with probability and attention of every word.

The sentence is one that search found, another candidate, or one that the user typed.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from captioner.checkpoint.header import Header
from captioner.config import AttentionConfig
from captioner.decoders.output import (
    CaptionAttention,
    DecoderOutput,
    Float64Array,
    caption_attention,
    join_steps,
)
from captioner.errors import ConfigError
from captioner.photo import Source
from captioner.photo.framing import Prepared, prepare
from captioner.result.caption import Caption, Word
from captioner.result.confidence import judge
from captioner.result.description import find_rivals, make_words
from captioner.search import log_probabilities
from captioner.search.arrays import to_numpy


class Reader(ABC):
    """A model that reads sentences about photos by teacher forcing."""

    decoder: Any
    """The decoder; see `captioner.decoders.contract.Decoder`."""
    grid: tuple[int, int]
    """Rows and columns of regions."""
    header: Header
    """Header of the checkpoint."""
    reads_in_parallel: ClassVar[bool] = False
    """Whether reading a finished caption is faster than recording attention during the search."""

    @abstractmethod
    def encode(
        self, photos: Sequence[Prepared], *, task: Sequence[int] = ()
    ) -> Float[Any, "B ..."]:
        """Encode photos to the features that `decoder.init_state` reads.

        Args:
            photos: photos prepared for this model.
            task: token ids of a task that replaces the encoder's own.
        """

    def summarise(self, features: Float[Any, "B ..."]) -> Float[Any, "B D"] | None:
        """Return the mean feature of each image; None if the runtime does not provide it."""
        return None

    def read(
        self,
        features: Float[Any, "B ..."],
        captions: Sequence[Sequence[list[int]]],
        *,
        prefix: Sequence[int],
    ) -> list[list[tuple[list[float], CaptionAttention]]]:
        """Read finished captions by teacher forcing.

        Args:
            features: features from `encode`.
            captions: token ids by image and caption; the same number of captions for each image.
            prefix: ids given before the first token; see `Constraints`.

        Returns:
            Log-probabilities of the tokens, and their attention, by image and caption.
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
        output = self.run_decoder(features, words)
        logs = log_probabilities(output.logits[:, :, first - 1 :], tokenizer.never_written)
        return [
            [
                (logs[image, k, range(len(ids)), ids].tolist(), caption_attention(output, image, k))
                for k, ids in enumerate(own)
            ]
            for image, own in enumerate(captions)
        ]

    def add_evidence(
        self,
        features: Float[Any, "1 ..."],
        tokens: Sequence[int],
        attended: CaptionAttention,
        *,
        prefix: Sequence[int],
    ) -> CaptionAttention:
        """Add evidence, and possibly gradient maps, to the attention of a caption.

        Args:
            features: features of the image.
            tokens: token ids of the caption.
            attended: attention of the caption, prompt included.
            prefix: as in `read`.
        """
        prompt = len(prefix) - 1
        words = np.array([tokens], dtype=np.int64)
        deciding = attended.attention[-1:, :, prompt : prompt + len(tokens)]
        return attended._replace(evidence=self.find_evidence(features, words, deciding))

    def find_evidence(
        self,
        features: Float[Any, "1 ..."],
        words: Int[np.ndarray, "1 T"],
        attention: Float[Float64Array, "1 M T P"],
    ) -> Float[Float64Array, "T P"] | None:
        """Return `Decoder.evidence` of a caption as an array."""
        found = self.decoder.evidence(features, words, attention.astype(np.float32))
        return None if found is None else to_numpy(found)[0].astype(np.float64)

    def run_decoder(self, features: Float[Any, "B ..."], words: Int[Any, "B K T"]) -> DecoderOutput:
        """Run the decoder on K whole captions of each image, START first, token by token."""
        state = self.decoder.init_state(features).reorder(np.zeros(words.shape[:2], np.int64))
        outputs = []
        for t in range(words.shape[2]):
            output, state = self.decoder.step_with_attention(words[:, :, t], state)
            outputs.append(output)
        return join_steps(outputs)

    def read_candidates(self, photo: Source | Prepared, caption: Caption) -> tuple[Caption, ...]:
        """Read the other candidates of a caption, for probability and attention of their words.

        Args:
            photo: the captioned photo.
            caption: a caption of it by this captioner.

        Returns:
            A caption for each of `caption.candidates`, in their order, without candidates of its
            own.

        Raises:
            ImageError: the photo cannot be read.
        """
        if not caption.candidates:
            return ()
        constraints = self.header.plan(caption.search)[1]
        features = self.encode([self._prepared(photo)], task=constraints.task)
        (summary,) = self._summaries(features)
        written = [[list(own.tokens) for own in caption.candidates]]
        (read,) = self.read(features, written, prefix=constraints.prefix)
        captions = []
        for candidate, (logs, attended) in zip(caption.candidates, read, strict=True):
            end = min(candidate.log_probability - sum(logs), 0.0)
            captions.append(
                replace(
                    caption,
                    text=candidate.text,
                    log_probability=candidate.log_probability,
                    score=candidate.score,
                    candidates=(),
                    view=AttentionConfig(),
                    judgement=judge([*logs, end], summary, self.header.confidence),
                    words=self._words(
                        features, candidate.tokens, logs, attended, prefix=constraints.prefix
                    ),
                ).with_view(self.header.attention)
            )
        return tuple(captions)

    def read_sentence(
        self, photo: Source | Prepared, text: str, *, prompt: str | None = None, rivals: int = 5
    ) -> Caption:
        """Read a sentence as if the model had written it about the photo.

        Args:
            photo: as in `caption`.
            text: a sentence without the prompt, with words in the vocabulary. The case of its first
                letter is chosen by the model.
            prompt: text given before the sentence; the checkpoint's by default.
            rivals: number of likely alternatives to return for each word.

        Returns:
            The sentence with probability, attention and alternatives of every word.

        Raises:
            ImageError: the photo cannot be read.
            ConfigError: the sentence is empty or too long, or has words outside the vocabulary.
        """
        return self._read(photo, text, prompt=prompt, rivals=rivals, further=False)

    def complete(
        self, photo: Source | Prepared, start: str, *, prompt: str | None = None, rivals: int = 5
    ) -> Caption:
        """Complete a sentence by greedy decoding, up to the checkpoint's `max_words`.

        Args:
            photo: as in `caption`.
            start: the first words; if empty, this is greedy decoding.
            prompt: as in `read_sentence`.
            rivals: as in `read_sentence`.

        Returns:
            As `read_sentence`.

        Raises:
            ImageError: the photo cannot be read.
            ConfigError: as in `read_sentence`.
        """
        return self._read(photo, start, prompt=prompt, rivals=rivals, further=True)

    def _read(
        self,
        photo: Source | Prepared,
        text: str,
        *,
        prompt: str | None,
        rivals: int,
        further: bool,
    ) -> Caption:
        header, tokenizer = self.header, self.header.tokenizer
        given: dict[str, Any] = {} if prompt is None else {"prompt": prompt}
        search, constraints = header.plan(**given)
        prefix = constraints.prefix
        spellings = self._spellings(text, prefix) if text.strip() or not further else [[]]
        prepared = self._prepared(photo)
        features = self.encode([prepared], task=constraints.task)
        tokens = self._likeliest(features, spellings, prefix)
        output, logs = self._log_probabilities(features, tokens, prefix)
        while further and len(tokens) < search.max_words:
            latest = int(logs[-1].argmax())
            if latest == constraints.end_id:
                break
            tokens = [*tokens, latest]
            output, logs = self._log_probabilities(features, tokens, prefix)
        own = [float(logs[t, token]) for t, token in enumerate([*tokens, tokenizer.end_id])]
        words = self._words(features, tokens, own, caption_attention(output, 0, 0), prefix=prefix)
        first = [shown.tokens[0] for shown in tokenizer.words(tokens)]
        return Caption(
            image=prepared.image,
            text=tokenizer.decode(tokens),
            words=tuple(
                replace(word, rivals=find_rivals(logs[t], tokens[:t], tokenizer, count=rivals))
                for word, t in zip(words, first, strict=True)
            ),
            log_probability=sum(own),
            candidates=(),
            geometry=prepared.geometry,
            checkpoint=header.name,
            search=search,
        ).with_view(header.attention)

    def _words(
        self,
        features: Float[Any, "1 ..."],
        tokens: Sequence[int],
        log_probabilities: Sequence[float],
        attended: CaptionAttention,
        *,
        prefix: Sequence[int],
    ) -> tuple[Word, ...]:
        """Turn the tokens of a caption into words, with evidence and gradients."""
        return make_words(
            tokens,
            log_probabilities,
            self.add_evidence(features, tokens, attended, prefix=prefix),
            header=self.header,
            grid=self.grid,
            prompt=len(prefix) - 1,
        )

    def _spellings(self, text: str, prefix: Sequence[int]) -> list[list[int]]:
        """Return the ids of all sentences that are displayed like this text.

        Raises:
            ConfigError: the text is empty or too long, or has words outside the vocabulary.
        """
        tokenizer, longest = self.header.tokenizer, self.header.longest
        tokens = tokenizer.encode(text)
        if not tokens:
            raise ConfigError("the sentence is empty; write some words.")
        if not tokenizer.knows(tokens):
            unknown = [word for word in text.split() if not tokenizer.knows(tokenizer.encode(word))]
            raise ConfigError(
                f"the sentence has words that {self.header.name} does not know: "
                f"{', '.join(unknown)}; write it with other words."
            )
        most = len(tokens) if longest is None else longest - len(prefix) + 1
        if len(tokens) > most:
            raise ConfigError(
                f"the sentence has {len(tokens)} tokens; {self.header.name} reads {most} at "
                "most, so shorten it."
            )
        text = text.strip()
        forms = (text, text[0].swapcase() + text[1:])
        found = [ids for form in forms for ids in tokenizer.spellings(form) if tokenizer.knows(ids)]
        shown = tokenizer.decode(tokens)
        same = [ids for ids in found if len(ids) <= most and tokenizer.decode(ids) == shown]
        return [list(ids) for ids in dict.fromkeys(map(tuple, [tokens, *same]))]

    def _likeliest(
        self,
        features: Float[Any, "1 ..."],
        spellings: Sequence[list[int]],
        prefix: Sequence[int],
    ) -> list[int]:
        if len(spellings) == 1:
            return spellings[0]
        (read,) = self.read(features, [spellings], prefix=prefix)
        totals = [sum(logs) for logs, _ in read]
        return spellings[totals.index(max(totals))]

    def _log_probabilities(
        self, features: Float[Any, "1 ..."], tokens: Sequence[int], prefix: Sequence[int]
    ) -> tuple[DecoderOutput, Float[np.ndarray, "T V"]]:
        """Read the start of a caption; also return log-probabilities of what follows each token."""
        output = self.run_decoder(features, np.array([[[*prefix, *tokens]]]))
        logits = output.logits[:, :, len(prefix) - 1 :]
        never = self.header.tokenizer.never_written
        return output, to_numpy(log_probabilities(logits, never)[0, 0])

    def prepare(self, photo: Source, *, name: str | None = None) -> Prepared:
        """Read a photo and prepare it for the encoder.

        Args:
            photo: as in `caption`.
            name: name of the photo in error messages; its path by default.

        Raises:
            ImageError: the photo cannot be read.
        """
        return prepare(photo, self.header.preprocess, name=name)

    def _prepared(self, photo: Source | Prepared) -> Prepared:
        return photo if isinstance(photo, Prepared) else self.prepare(photo)

    def _summaries(self, features: Float[Any, "B ..."]) -> Sequence[Float[Any, " D"] | None]:
        """Return the mean feature of each image, if `judge` needs it."""
        found = None if self.header.confidence is None else self.summarise(features)
        return [None] * len(features) if found is None else list(found)
