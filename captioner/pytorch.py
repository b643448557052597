"""TorchCaptioner: the network in PyTorch, on any device, alone or in an ensemble."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from captioner.checkpoint.header import Header, join_headers
from captioner.checkpoint.weights import load_checkpoint
from captioner.decoders.output import CaptionAttention, DecoderOutput, Float64Array
from captioner.decoders.words import WordTable
from captioner.errors import ConfigError
from captioner.model import CaptionModel, evaluating, join_models
from captioner.model.gradients import gradient_maps, recording_twin
from captioner.photo import Source
from captioner.photo.framing import Prepared, prepare
from captioner.photo.preprocess import resize
from captioner.pipeline import MOST_LANES, Captioner
from captioner.speed.compilation import compile_encoder
from captioner.speed.packing import pack, share_weights
from captioner.speed.precision import autocast, find_precision


class TorchCaptioner(Captioner):
    """Captioner on PyTorch.

    Args:
        model: encoder and decoder; captioning restores its mode.
        header: header of its checkpoint.
        precision: number format of the encoder.
    """

    reads_in_parallel = True
    gradients = False
    """Whether words have a `gradient` map."""

    def __init__(
        self, model: CaptionModel, header: Header, *, precision: torch.dtype = torch.float32
    ) -> None:
        self.model = model
        self.header = header
        self.precision = precision
        self.decoder = model.decoder
        self.grid = model.encoder.grid

    @classmethod
    def open(
        cls, checkpoints: Sequence[Path], *, device: str = "auto", precision: str = "float32"
    ) -> "TorchCaptioner":
        """Load the files of one checkpoint, or of an ensemble's members."""
        found = find_device(device)
        dtype = find_precision(precision, found)
        members = []
        for checkpoint in checkpoints:
            model, header = load_checkpoint(checkpoint, device=found)
            # Makes convolutions up to twice as fast.
            model.encoder.to(memory_format=torch.channels_last)
            members.append(cls(model, header, precision=dtype))
        return cls.ensemble(members)

    @classmethod
    def ensemble(cls, members: Sequence["TorchCaptioner"]) -> "TorchCaptioner":
        """Make an ensemble; a single member is returned as it is.

        The probability of a word is the mean over the members. Its attention is the mean over them
        too, and each member's is a head; members whose grid differs from the first one's are
        omitted. Decoding settings, precision and device are the first one's.

        Args:
            members: captioners with the same vocabulary and input; their models are shared, not
                copied.

        Raises:
            ConfigError: vocabularies or inputs differ, or there is no member.
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
        made = cls(model.to(members[0].device), header, precision=members[0].precision)
        made.hidden_members = tuple(
            own.header.name for own in members if own.grid != members[0].grid
        )
        return made

    def packed(self) -> "TorchCaptioner":
        """Return a captioner with packed weights, which is faster for many photos on some CPUs.

        Its captions are the same up to rounding, and it takes more memory. Elsewhere it is no
        slower.
        """
        return TorchCaptioner(pack(self.model), self.header, precision=self.precision)

    def compiled(self) -> "TorchCaptioner":
        """Return what `packed` returns, with a compiled encoder; compiling takes a minute.

        Raises:
            ConfigError: the encoder cannot be compiled, for example without a C++ compiler.
        """
        encoder, preprocess = share_weights(self.model.encoder).eval(), self.header.preprocess
        size = (preprocess.height, preprocess.width)
        compile_encoder(encoder, size=size, precision=self.precision)
        model = CaptionModel(encoder, pack(self.model.decoder))
        return TorchCaptioner(model, self.header, precision=self.precision)

    def with_gradients(self) -> "TorchCaptioner":
        """See `Captioner.with_gradients`."""
        recording_twin(self.decoder)  # an unsuitable decoder is refused before photos are read
        made = TorchCaptioner(self.model, self.header, precision=self.precision)
        made.gradients = True
        return made

    def for_bulk(self, *, compiled: bool = False) -> "TorchCaptioner":
        """Return `compiled` or `packed`."""
        return self.compiled() if compiled else self.packed()

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.model.parameters()).device

    @contextmanager
    def lanes(self) -> Iterator[int]:
        """Divide the cores between lanes on a CPU; on a GPU, two lanes keep it busy."""
        if self.device.type != "cpu":
            yield 2 if self.device.type == "cuda" else 1
            return
        cores = torch.get_num_threads()
        lanes = min(cores, MOST_LANES)
        torch.set_num_threads(cores // lanes)  # applies to threads started from now on
        try:
            yield lanes
        finally:
            torch.set_num_threads(cores)

    @contextmanager
    def lane(self) -> Iterator[None]:
        """Caption a batch; on a GPU in its own stream, so that lanes do not wait for each other."""
        cuda = self.device.type == "cuda"
        stream = torch.cuda.stream(torch.cuda.Stream(self.device)) if cuda else nullcontext()  # type: ignore[no-untyped-call]
        try:
            with memory_errors(), stream:
                yield
        except MemoryError:
            if cuda:
                torch.cuda.empty_cache()
            raise

    def has_room(self) -> bool:
        """Whether as much memory is free as was ever used, on a GPU its own memory."""
        if self.device.type != "cuda":
            return super().has_room()
        free, _ = torch.cuda.mem_get_info(self.device)
        return free > 2 * torch.cuda.max_memory_reserved(self.device)

    def prepare(self, photo: Source, *, name: str | None = None) -> Prepared:
        """Read a photo as `Captioner.prepare` does, resizing it faster than Pillow."""
        with memory_errors():
            return prepare(photo, self.header.preprocess, name=name, resize=resize)

    @torch.inference_mode()
    def encode(
        self, photos: Sequence[Prepared], *, task: Sequence[int] = ()
    ) -> Float[Tensor, "B P D"]:
        """Return the features of the images' regions, float32."""
        device = self.device
        pixels = torch.stack([torch.from_numpy(photo.pixels) for photo in photos])
        if device.type == "cuda":  # a copy from pinned memory does not block this thread
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        pixels = pixels.to(device, memory_format=torch.channels_last)
        encoder = self.model.encoder
        asked = []
        if task:  # in the words that the decoder knows
            table = cast(WordTable, self.model.decoder.words)
            asked.append(table(torch.tensor(task, device=device)))
        with autocast(self.precision, device), evaluating(encoder):
            features: Tensor = encoder(pixels, *asked)
        return features.float()

    def summarise(self, features: Float[Tensor, "B P D"]) -> Float[Any, "B D"]:
        """Return the mean feature of each image's regions."""
        return features.mean(dim=1).double().cpu().numpy()

    def add_evidence(
        self,
        features: Float[Tensor, "1 P D"],
        tokens: Sequence[int],
        attended: CaptionAttention,
        *,
        prefix: Sequence[int],
    ) -> CaptionAttention:
        """See `Reader.add_evidence`; adds gradient maps if `gradients` is set."""
        attended = super().add_evidence(features, tokens, attended, prefix=prefix)
        if not self.gradients:
            return attended
        places = range(len(prefix) - 1, len(prefix) + len(tokens) - 1)
        maps = gradient_maps(self.decoder, features, [*prefix, *tokens], places)
        return attended._replace(gradient=maps.double().cpu().numpy())

    @torch.inference_mode()
    def find_evidence(
        self,
        features: Float[Tensor, "1 P D"],
        words: Int[np.ndarray, "1 T"],
        attention: Float[Float64Array, "1 M T P"],
    ) -> Float[Float64Array, "T P"] | None:
        """See `Reader.find_evidence`."""
        given = (torch.from_numpy(x).to(features.device) for x in (words, np.float32(attention)))
        found = self.decoder.evidence(features, *given)
        return None if found is None else found[0].double().cpu().numpy()

    @torch.inference_mode()
    def run_decoder(
        self, features: Float[Tensor, "B P D"], words: Int[np.ndarray, "B K T"]
    ) -> DecoderOutput:
        """Run the decoder on K captions of each image, START first, all tokens in parallel."""
        with evaluating(self.decoder):
            output: DecoderOutput = self.decoder(
                features, torch.from_numpy(words).to(features.device), with_attention=True
            )
        return output


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn out-of-memory errors into MemoryError; on the CPU, PyTorch has no type for them."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise MemoryError(str(error)) from None  # without the tensors that the error holds
        raise


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
