"""One loader for every photo: a file, bytes, a Pillow picture or an array -> RGB, as displayed.

As displayed means what a viewer shows on a white page: turned by its EXIF orientation, its colours
brought to sRGB, transparent pixels white, deep pixels scaled to eight bits, the first frame of an
animation. What cannot be read whole is an `ImageError`; a broken photo never becomes a gray one.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.ExifTags import Base as Tag
from PIL.JpegImagePlugin import JpegImageFile

from captioner.errors import ImageError

Source = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]

MAX_PIXELS = 178_956_970
"""Larger photos are refused from their header; Pillow itself warns from half of this on."""

_SNIFFED = 1024  # bytes from the start of a file that tell its kind
_KNOWN = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|BM|RIFF....WEBP|....ftypavi|II\*\0|MM\0\*", re.DOTALL
)
_HEIC = re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL)
_SVG = re.compile(rb"\s*(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)*<svg[\s>]", re.DOTALL)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn a picture stored with this EXIF orientation; 1 is upright, from 5 on it lies."""


def load_photo(source: Source, *, name: str | None = None) -> Image.Image:
    """Read a photo whole, as displayed.

    Args:
        source: a path; the bytes of a file; a Pillow picture, its EXIF orientation not yet applied;
            or an array, H x W or H x W x 1, 3 or 4, of bool, uint8, uint16 or floats from 0 to 1.
        name: what to call the photo in an error; without it, its path.

    Returns:
        A new picture of mode RGB without metadata.

    Raises:
        ImageError: the photo is missing, unreadable, damaged, too large, or not a photo.
    """
    return load_reduced(source, at_least=None, name=name)[0]


def load_reduced(
    source: Source, *, at_least: tuple[int, int] | None, name: str | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """Read a photo as `load_photo` does, decoding a large JPEG at a half, quarter or eighth.

    Args:
        source: as in `load_photo`.
        at_least: displayed (height, width) that the result must not fall below, unless the photo
            itself does; twice the encoder's input keeps its pixels within 2 of 255 levels. None
            reads every pixel.
        name: as in `load_photo`.

    Returns:
        The picture and the displayed (height, width) of the whole photo, which a Geometry needs.
        The picture shows the photo to its very edges: a scale must divide both sides.

    Raises:
        ImageError: as in `load_photo`.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or str(path)
        with _open_file(path, name) as stream, _explained(name):
            return _displayed(_identify(stream, name), at_least, name)
    name = name or "the photo"
    with _explained(name):
        if isinstance(source, bytes):
            return _displayed(_identify(BytesIO(source), name), at_least, name)
        if isinstance(source, Image.Image):
            return _displayed(source, None, name)
        if isinstance(source, np.ndarray):
            return _displayed(_from_array(source, name), None, name)
    raise ImageError(
        f"{name}: a {type(source).__name__} is not a photo; "
        "give a path, the bytes of a file, a Pillow picture or a NumPy array."
    )


@contextmanager
def _open_file(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file for reading, or say why it cannot be."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file; check the path.") from None
    except IsADirectoryError:
        raise ImageError(
            f"{name}: this is a folder, not a photo; `captioner folder` captions all photos in it."
        ) from None
    except PermissionError:
        raise ImageError(
            f"{name}: no permission to read it; allow reading it, or copy it elsewhere."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name}: cannot be opened ({reason}); check the path.") from error
    with stream:  # a pipe, such as /dev/stdin, cannot go back to its start
        yield stream if stream.seekable() else BytesIO(stream.read())


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn whatever a damaged file makes the decoders raise into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name}: over the limit of {MAX_PIXELS // 10**6} megapixels; make it smaller first."
        ) from error
    except Exception as error:  # decoders let nearly anything through
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"{name}: damaged or cut short ({reason}); copy or download it again."
        ) from error


def _identify(stream: BinaryIO, name: str) -> Image.Image:
    """Open the file without decoding its pixels, or say what it is instead of a photo."""
    head = stream.read(_SNIFFED)
    stream.seek(0)
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes); copy or download it again.")
    try:
        image = Image.open(stream)
    except UnidentifiedImageError:
        if _KNOWN.match(head):
            raise ImageError(
                f"{name}: damaged or cut short (no picture follows its first bytes); "
                "copy or download it again."
            ) from None
        if _HEIC.match(head):
            raise ImageError(f"{name}: HEIC photos cannot be read; save it as JPEG.") from None
        if _SVG.match(head):
            raise ImageError(
                f"{name}: SVG is a drawing, not a photo; export it as PNG first."
            ) from None
        raise ImageError(
            f"{name}: not an image (it starts with {head[:16]!r}); save it as JPEG or PNG."
        ) from None
    if image.format == "EPS":  # decoding would run Ghostscript on a stranger's program
        raise ImageError(f"{name}: EPS is a drawing, not a photo; export it as PNG first.")
    return image


def _displayed(
    image: Image.Image, at_least: tuple[int, int] | None, name: str
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode, bring to RGB and turn upright; also the (height, width) of the whole photo."""
    width, height = image.size
    if not width or not height:
        raise ImageError(f"{name}: it is {width} x {height} pixels; a photo needs one or more.")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} is {width * height // 10**6} megapixels, over the limit "
            f"of {MAX_PIXELS // 10**6}; make it smaller first."
        )
    if at_least is not None and isinstance(image, JpegImageFile):
        _draft(image, at_least[::-1] if _orientation(image) >= 5 else at_least)
    else:
        image.load()  # only now do TIFF and icon files know their final size
        width, height = image.size
    rgb = _to_rgb(image, name)
    orientation = _orientation(image)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    rgb.info.clear()
    return rgb, ((width, height) if orientation >= 5 else (height, width))


def _draft(image: JpegImageFile, at_least: tuple[int, int]) -> None:
    """Choose the coarsest scale of decoding that keeps (height, width) and divides both sides.

    Other scales would round the sides up, and shift the picture against the photo by that much.
    """
    width, height = image.size
    for scale in (8, 4, 2):
        fits = height // scale >= at_least[0] and width // scale >= at_least[1]
        if fits and height % scale == 0 and width % scale == 0:
            image.draft(None, (width // scale, height // scale))
            return


def _orientation(image: Image.Image) -> int:
    """EXIF orientation from 1 to 8; a corrupt or foreign one counts as upright."""
    with suppress(Exception):  # decoders of metadata let nearly anything through
        orientation = image.getexif().get(Tag.Orientation)
        if orientation in _UPRIGHT:
            return int(orientation)
    return 1


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Eight-bit sRGB without transparency; always a new picture."""
    image.load()
    profile = image.info.get("icc_profile")
    image = _to_eight_bits(image, name)
    if not image.has_transparency_data:
        return _to_srgb(image, profile)
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:  # a 16-bit colour; Pillow keeps upper bytes
        image = image.copy()
        image.info["transparency"] = tuple(level >> 8 for level in clear)
    image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(_to_srgb(image.convert(image.mode[:-1]), profile), mask=image.getchannel("A"))
    return page


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert through the embedded ICC profile; without a usable one, by Pillow's own rules."""
    if image.mode not in ("L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile:
        # Corrupt profiles, and those of another colour space than the pixels, are ignored.
        with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            if image.mode == "RGB" and _is_srgb(source):
                return image.copy()
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether a profile calls itself sRGB, as most do; converting would cost four decodings."""
    return ImageCms.getProfileDescription(profile).startswith("sRGB")


def _to_eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Scale 16-bit, 32-bit and float gray by its own depth; other modes pass unchanged.

    White is the top of a 16-bit file (12-bit where a TIFF says so). Integers of 32 bits and floats
    carry no white: it is the first of their customary tops that no pixel exceeds.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: it holds pixels that are not numbers; save it as JPEG or PNG.")
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(Tag.BitsPerSample, (16,))[0]
        white = 2.0**bits - 1
    else:
        tops = (65535.0, 2.0**31 - 1) if image.mode == "I" else (1.0, 255.0, 65535.0)
        peak = float(values.max())
        white = next((top for top in tops if peak <= top), peak)
    gray = Image.fromarray(_quantise(values / white))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        gray.putalpha(Image.fromarray(_quantise(values != clear)))
    return gray


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    """Check an array's shape and values, and make a picture of it."""
    if not array.size:
        raise ImageError(
            f"{name}: the array is empty, its shape is {array.shape}; give one with pixels."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"{name}: an array of shape {array.shape} is not a photo; "
            "give (height, width) or (height, width, channels) with 1, 3 or 4 channels."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    if array.dtype == np.uint16:
        return Image.fromarray(_quantise(array / 65535))
    if array.dtype == np.bool_:
        return Image.fromarray(_quantise(array))
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"{name}: an array of {array.dtype} is not a photo; "
            "give uint8, uint16, bool, or floats from 0 to 1."
        )
    if not np.isfinite(array).all():
        raise ImageError(f"{name}: the array holds values that are not numbers; replace them.")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise ImageError(
            f"{name}: floats must lie from 0 to 1, but these go from {low:g} to {high:g}; "
            "scale them, or give uint8."
        )
    return Image.fromarray(_quantise(array))


def _quantise(fractions: NDArray[Any]) -> NDArray[np.uint8]:
    """Fractions of full brightness -> 0 to 255, rounded to nearest."""
    levels: NDArray[np.uint8] = np.rint(np.clip(fractions, 0, 1) * 255.0).astype(np.uint8)
    return levels
