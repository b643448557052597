"""Captioner: photo -> Caption, on any runtime.

    framing.prepare               photo -> upright RGB -> (3, H, W) and Geometry
    Captioner.encode              images -> features that the decoder reads
    search                        features -> candidates: tokens and log-probabilities
    decoders.output               attention (L, M, T, P) of the best candidate
    description.make_caption      tokens -> words with probability and attention

A runtime is one class in one file, and one line in `captioner.runtimes.RUNTIMES`.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from jaxtyping import Float

from captioner.checkpoint.files import has_graphs
from captioner.checkpoint.shipped import DEFAULT, find_checkpoint
from captioner.config import SearchConfig
from captioner.decoders.output import CaptionAttention, DecoderOutput, gather_attention
from captioner.errors import ConfigError, require_torch
from captioner.photo import Source
from captioner.photo.framing import Prepared, prepare_all
from captioner.reader import Reader
from captioner.result.caption import Caption, Word
from captioner.result.description import make_caption
from captioner.runtimes import PRECISIONS, RUNTIMES
from captioner.search import Candidates, make_noise, search_steps
from captioner.search import search as search_captions
from captioner.speed.resources import has_gpu, has_room
from captioner.words.constraints import Constraints

__all__ = ["Captioner", "Prepared"]

MOST_LANES = 16
"""Concurrent batches on a CPU; more would wait for Python's lock."""

Own = TypeVar("Own", bound="Captioner")


class Captioner(Reader):
    """A model that captions photos; `load` creates one from a checkpoint."""

    hidden_members: tuple[str, ...] = ()
    """Members of an ensemble whose attention is not shown."""

    @classmethod
    def load(
        cls: type[Own],
        *checkpoints: str | Path,
        runtime: str = "auto",
        device: str = "auto",
        precision: str = "float32",
    ) -> Own:
        """Load a checkpoint, or several as an ensemble; the default checkpoint if none is given.

        Args:
            *checkpoints: names or paths; see `find_checkpoint`.
            runtime: a name in `RUNTIMES`; see `choose_runtime` for `auto`.
            device: `auto` takes a GPU if PyTorch finds one; or `cpu`, `cuda` and so on.
            precision: format of the encoder: `float32`; `bfloat16` or `float16` with PyTorch,
                `int8` with onnxruntime, which are faster and change a few captions; or `auto`, a
                16-bit format where PyTorch's device supports it, and float32 otherwise.

        Raises:
            CheckpointError: the checkpoint does not exist, is damaged, or lacks what the runtime
                needs.
            ConfigError: there is no such runtime, device or precision.
            MissingExtraError: the runtime is not installed.
        """
        files = [find_checkpoint(checkpoint) for checkpoint in checkpoints or (DEFAULT,)]
        kind: type[Own] = cls
        if kind is Captioner:
            runtime = choose_runtime(runtime, files, device=device, precision=precision)
            module, name = RUNTIMES[runtime]
            with require_torch():
                kind = getattr(import_module(module), name)
        return kind.open(files, device=device, precision=precision)

    @classmethod
    @abstractmethod
    def open(cls: type[Own], checkpoints: Sequence[Path], *, device: str, precision: str) -> Own:
        """Load the files of one checkpoint, or of an ensemble's members; see `load`."""

    @abstractmethod
    def for_bulk(self: Own, *, compiled: bool = False) -> Own:
        """Return a captioner with the same model that is faster for thousands of photos.

        Args:
            compiled: compile the encoder first, which takes a minute.

        Raises:
            ConfigError: the encoder cannot be compiled.
        """

    def with_gradients(self: Own) -> Own:
        """Return a captioner with the same model whose words also have a `gradient` map.

        Each token takes one more pass through the decoder, forward and backward.

        Raises:
            ConfigError: the runtime is not PyTorch, or the decoder is a prefix decoder or an
                ensemble.
        """
        raise ConfigError(
            "attention.method is 'gradient', which needs PyTorch: use --runtime torch and a "
            "checkpoint that is not an export, or another --attention, such as evidence."
        )

    @abstractmethod
    def lanes(self) -> AbstractContextManager[int]:
        """Return the number of batches to caption concurrently, dividing the cores between them."""

    def lane(self) -> AbstractContextManager[object]:
        """Enter one of several concurrent batches.

        Raises:
            MemoryError: memory ran out.
        """
        return nullcontext()

    def has_room(self) -> bool:
        """Whether the batch size may be doubled: as much memory is free as was ever used."""
        return has_room()

    def caption(
        self, photo: Source | Prepared, *, search: SearchConfig | None = None, **changes: Any
    ) -> Caption:
        """Caption one photo.

        Args:
            photo: a path, the bytes of a file, a Pillow image or an array; see `load_photo`.
            search: decoding settings; the checkpoint's by default.
            **changes: single decoding settings that override `search`, such as `beam=5`; see
                `SearchConfig`.

        Raises:
            ImageError: the photo cannot be read.
            ConfigError: a setting is unknown, out of range or has no effect, or no caption meets
                the constraints.
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
        """Caption photos in one batch, with the captions that `caption` gives for each.

        Args:
            photos: as in `caption`. If one cannot be read, no photo is captioned; `prepare` photos
                one by one to skip it.
            search: as in `caption`.
            words: whether captions include words with probability and attention; without them
                captioning is faster.
            **changes: as in `caption`.

        Raises:
            ImageError: a photo cannot be read.
            ConfigError: as in `caption`.
        """
        chosen, constraints = self.header.plan(search, **changes)
        prepared = prepare_all(photos, self.prepare)
        if not prepared:
            return []
        features = self.encode(prepared, task=constraints.task)
        outputs: list[DecoderOutput] = []
        found = search_captions(
            self.decoder,
            features,
            config=chosen,
            constraints=constraints,
            noise=make_noise((photo.pixels for photo in prepared), config=chosen),
            outputs=outputs if words and not self.reads_in_parallel else None,
        )
        attentions: list[CaptionAttention | None] = [None] * len(found)
        if words and self.reads_in_parallel:
            again = self.read(
                features, [own.tokens[:1] for own in found], prefix=constraints.prefix
            )
            attentions = [attended for ((_, attended),) in again]
        elif words:
            attentions = [gather_attention(outputs, own.rows[0]) for own in found]
        return [
            self._make_caption(
                photo,
                own,
                attended,
                features[i : i + 1],
                summary,
                config=chosen,
                constraints=constraints,
            )
            for i, (photo, own, attended, summary) in enumerate(
                zip(prepared, found, attentions, self._summaries(features), strict=True)
            )
        ]

    def stream(
        self, photo: Source | Prepared, *, search: SearchConfig | None = None, **changes: Any
    ) -> Iterator[Caption]:
        """Caption one photo, yielding the caption as it grows.

        Args:
            photo: as in `caption`.
            search: as in `caption`.
            **changes: as in `caption`.

        Yields:
            The likeliest caption so far after every word, with probabilities and attention; beam
            search may replace it by another. The last one is what `caption` returns.

        Raises:
            ImageError: the photo cannot be read.
            ConfigError: as in `caption`.
        """
        chosen, constraints = self.header.plan(search, **changes)
        prepared = self._prepared(photo)
        outputs: list[DecoderOutput] = []
        features = self.encode([prepared], task=constraints.task)
        (summary,) = self._summaries(features)
        for found in search_steps(
            self.decoder,
            features,
            config=chosen,
            constraints=constraints,
            noise=make_noise([prepared.pixels], config=chosen),
            outputs=outputs,
        ):
            attended = gather_attention(outputs, found.rows[0])
            yield self._make_caption(
                prepared, found, attended, features, summary, config=chosen, constraints=constraints
            )

    def _make_caption(
        self,
        photo: Prepared,
        found: Candidates,
        attended: CaptionAttention | None,
        features: Float[Any, "1 ..."],
        summary: Float[Any, " D"] | None,
        *,
        config: SearchConfig,
        constraints: Constraints,
    ) -> Caption:
        """Turn the best candidate into a caption."""
        words: tuple[Word, ...] = ()
        if attended is not None and found.tokens[0]:
            tokens, logs = found.tokens[0], found.log_probabilities[0]
            words = self._words(features, tokens, logs, attended, prefix=constraints.prefix)
        return make_caption(photo, found, words, summary=summary, header=self.header, search=config)


def choose_runtime(
    name: str, checkpoints: Sequence[Path], *, device: str = "auto", precision: str = "float32"
) -> str:
    """Choose the runtime.

    Args:
        name: name of a runtime; `auto` takes onnx if PyTorch is not installed, or if onnx supports
            the request and there is no GPU.
        checkpoints: files of the checkpoints.
        device: as in `Captioner.load`.
        precision: as in `Captioner.load`.

    Returns:
        Name of the runtime.

    Raises:
        ConfigError: there is no such runtime.
    """
    if name == "auto":
        one = len(checkpoints) == 1 and has_graphs(checkpoints[0])
        known = precision in PRECISIONS["onnx"]
        on_cpu = device == "cpu" or (device == "auto" and not has_gpu())
        return "onnx" if find_spec("torch") is None or (one and known and on_cpu) else "torch"
    if name not in RUNTIMES:
        raise ConfigError(f"runtime is {name!r}; choose from auto, {', '.join(RUNTIMES)}.")
    return name
