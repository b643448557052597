"""OnnxCaptioner: photo -> Caption, on onnxruntime and NumPy."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.caption import Caption
from captioner.config import SearchConfig
from captioner.description import describe
from captioner.framing import Prepared, prepare, prepare_each
from captioner.header import Header
from captioner.onnx.decoder import OnnxDecoder
from captioner.onnx.files import Export, find_export, read_export
from captioner.photo import Source
from captioner.reading import Reading, follow
from captioner.search import Candidates, search_steps
from captioner.search import search as search_captions


class OnnxCaptioner:
    """An exported model ready to caption photos on the CPU; `load` makes one from its folder.

    Args:
        decoder: runs the graphs.
        export: what the export says about itself.
    """

    def __init__(self, decoder: OnnxDecoder, export: Export) -> None:
        self._decoder = decoder
        self._export = export

    @property
    def header(self) -> Header:
        """What the checkpoint said about itself."""
        return self._export.header

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> "OnnxCaptioner":
        """Load what `captioner export --onnx` wrote.

        Args:
            path: the folder, or a file in it.
            threads: cores that one operation may use; None leaves it to onnxruntime.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            CheckpointError: the export is missing, damaged, or of a newer format.
        """
        folder = find_export(path) or Path(path)
        export = read_export(folder)
        return cls(OnnxDecoder(folder, export, threads=threads), export)

    def caption(
        self, photo: Source | Prepared, *, search: SearchConfig | None = None, **changes: Any
    ) -> Caption:
        """Caption one photo, as `Captioner.caption` does.

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
        """Caption photos together, as `Captioner.caption_batch` does.

        Args:
            photos: paths, file contents, pictures, arrays, or what `prepare` returned.
            search: settings to use in place of the recommended ones.
            words: whether the captions tell of each word how sure it was and where the model
                looked; without, they have the text and no words.
            changes: single settings.

        Raises:
            ImageError: a photo cannot be read.
            ConfigError: a setting of the search is unknown or out of range, or cannot be followed.
        """
        chosen, constraints = self.header.plan(search, **changes)
        prepared = prepare_each(photos, self.prepare)
        if not prepared:
            return []
        readings: list[Reading] = []
        found = search_captions(
            self._decoder,
            np.stack([photo.pixels for photo in prepared]),
            config=chosen,
            constraints=constraints,
            readings=readings if words else None,
        )
        return [
            self._describe(photo, own, readings, chosen)
            for photo, own in zip(prepared, found, strict=True)
        ]

    def stream(
        self, photo: Source | Prepared, *, search: SearchConfig | None = None, **changes: Any
    ) -> Iterator[Caption]:
        """Caption one photo, and show the caption as it grows, as `Captioner.stream` does.

        Raises:
            ImageError: the photo cannot be read.
            ConfigError: a setting of the search is unknown or out of range, or cannot be followed.
        """
        chosen, constraints = self.header.plan(search, **changes)
        (prepared,) = prepare_each([photo], self.prepare)
        readings: list[Reading] = []
        for found in search_steps(
            self._decoder,
            prepared.pixels[None],
            config=chosen,
            constraints=constraints,
            readings=readings,
        ):
            yield self._describe(prepared, found, readings, chosen)

    def prepare(self, photo: Source, *, name: str | None = None) -> Prepared:
        """Read a photo, without captioning it yet, as `Captioner.prepare` does.

        Raises:
            ImageError: the photo cannot be read.
        """
        return prepare(photo, self.header.preprocess, name=name)

    def _describe(
        self,
        photo: Prepared,
        found: Candidates,
        readings: Sequence[Reading],
        config: SearchConfig,
    ) -> Caption:
        """Describe the first of the candidates, word by word if there are readings."""
        return describe(
            photo,
            found,
            follow(readings, found.rows[0]) if readings else None,
            header=self.header,
            grid=self._export.grid,
            search=config,
        )
