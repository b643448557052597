"""TorchCaptioner: the network in PyTorch, on any device, alone or in an ensemble."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from captioner.checkpoint.header import Header, join_headers
from captioner.checkpoint.shipped import DEFAULT, find_checkpoint
from captioner.checkpoint.weights import load_checkpoint
from captioner.decoders.reading import Reading
from captioner.errors import ConfigError
from captioner.model import CaptionModel, evaluating, join_models
from captioner.photo import Source
from captioner.photo.framing import Prepared, prepare
from captioner.photo.preprocess import resize
from captioner.pipeline import Captioner
from captioner.speed.compilation import compile_encoder
from captioner.speed.packing import pack, share
from captioner.speed.precision import calculating_in, find_precision


class TorchCaptioner(Captioner):
    """Captions with PyTorch.

    Args:
        model: encoder and decoder; captioning leaves it in the mode it is in.
        header: what the model was saved, or will be saved, with.
        precision: what the encoder calculates in.
    """

    reads_at_once = True

    def __init__(
        self, model: CaptionModel, header: Header, *, precision: torch.dtype = torch.float32
    ) -> None:
        self.model = model
        self.header = header
        self.precision = precision
        self.decoder = model.decoder
        self.grid = model.encoder.grid

    @classmethod
    def load(  # type: ignore[override]  # each runtime has options of its own
        cls,
        name_or_path: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
    ) -> "TorchCaptioner":
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
    def ensemble(cls, members: Sequence["TorchCaptioner"]) -> "TorchCaptioner":
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

    def packed(self) -> "TorchCaptioner":
        """Return a captioner with the same model, laid out to caption many photos faster.

        Its captions are the same but for rounding. It takes some memory more, and gains on CPUs
        only; elsewhere it is no slower.
        """
        return TorchCaptioner(pack(self.model), self.header, precision=self.precision)

    def compiled(self) -> "TorchCaptioner":
        """Return what `packed` does, with the encoder as compiled code; that takes a minute.

        Raises:
            ConfigError: it cannot be compiled, as where there is no C++ compiler.
        """
        encoder, preprocess = share(self.model.encoder).eval(), self.header.preprocess
        size = (preprocess.height, preprocess.width)
        compile_encoder(encoder, size=size, precision=self.precision)
        model = CaptionModel(encoder, pack(self.model.decoder))
        return TorchCaptioner(model, self.header, precision=self.precision)

    def prepare(self, photo: Source, *, name: str | None = None) -> Prepared:
        """Read a photo as `Captioner.prepare` does, and resize it faster than Pillow."""
        return prepare(photo, self.header.preprocess, name=name, resize=resize)

    @torch.inference_mode()
    def encode(self, photos: Sequence[Prepared]) -> Float[Tensor, "B P D"]:
        """Return the features of the images' regions, float32."""
        device = next(self.model.parameters()).device
        pixels = torch.stack([torch.from_numpy(photo.pixels) for photo in photos])
        if device.type == "cuda":  # from pinned memory, the copy does not keep this thread waiting
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        pixels = pixels.to(device, memory_format=torch.channels_last)
        encoder = self.model.encoder
        with calculating_in(self.precision, device), evaluating(encoder):
            features: Tensor = encoder(pixels)
        return features.float()

    @torch.inference_mode()
    def read_along(
        self, features: Float[Tensor, "B P D"], words: Int[np.ndarray, "B K T"]
    ) -> Reading:
        """Read K captions of each image, START first, all tokens at once."""
        with evaluating(self.decoder):
            reading: Reading = self.decoder(
                features, torch.from_numpy(words).to(features.device), with_attention=True
            )
        return reading


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
