"""Photos as phones and cameras write them, made here: HEIC, and a DNG with its preview."""

import struct
from io import BytesIO

import numpy as np
from PIL import Image

from tests.photos import TURNS


def heic(picture: Image.Image, *, orientation: int = 1, gain_map: bool = False, **options) -> bytes:
    """A HEIC photo of the bytes of its pixels; with an orientation both as HEIF and Exif say it.

    A gain map is what iPhones put beside a photo to brighten it on their screens.
    """
    import pillow_heif

    turn = TURNS[orientation]
    stored = picture if turn is None else picture.transpose(turn)
    if gain_map:
        stored = stored.convert("RGBA")
        stored.putalpha(Image.linear_gradient("L").resize(stored.size))
    file = pillow_heif.from_pillow(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file[0].info["exif"] = exif.tobytes()
    stream = BytesIO()
    file.save(stream, quality=-1, chroma=444, **options)
    return _with_gain_map(stream.getvalue()) if gain_map else stream.getvalue()


def _with_gain_map(content: bytes) -> bytes:
    """Call the picture that holds the transparency a gain map, which has a longer name."""
    alpha, gain = b"urn:mpeg:hevc:2015:auxid:1", b"urn:com:apple:photo:2020:aux:hdrgainmap"
    assert content.count(alpha) == 1
    shift = len(gain) - len(alpha)
    file = bytearray(content)
    for box in (b"auxC", b"ipco", b"iprp", b"meta"):
        at = file.index(box) - 4
        struct.pack_into(">I", file, at, struct.unpack_from(">I", file, at)[0] + shift)
    at = file.index(b"iloc") + 4
    assert file[at : at + 6] == b"\0\0\0\0\x44\x40"  # version 0, all numbers of four bytes
    (items,) = struct.unpack_from(">H", file, at + 6)
    at += 8
    for _ in range(items):
        base, extents = struct.unpack_from(">IH", file, at + 4)
        struct.pack_into(">I", file, at + 4, base + shift)
        at += 10 + 8 * extents
    return bytes(file).replace(alpha, gain)


def deep_heic(picture: Image.Image) -> bytes:
    """A HEIC photo of ten bits."""
    return _of_ten_bits(np.asarray(picture) / 255, quality=-1, chroma=444)


def hdr_heic(picture: Image.Image) -> bytes:
    """The same photo in PQ with the primaries of BT.2020, as cameras write HDR into HIF files."""
    shown = np.asarray(picture) / 255  # IEC 61966-2-1, ITU-R BT.2087, SMPTE ST 2084
    linear = np.where(shown > 0.04045, ((shown + 0.055) / 1.055) ** 2.4, shown / 12.92)
    to_wide = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    power = (linear @ np.array(to_wide).T * 203 / 10_000) ** (2610 / 16384)
    signal = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    return _of_ten_bits(
        signal, quality=95, chroma=422, color_primaries=9, transfer_characteristics=16,
        matrix_coefficients=9, full_range_flag=1,
    )  # fmt: skip


def _of_ten_bits(fractions: np.ndarray, **options) -> bytes:
    import pillow_heif

    values = np.rint(fractions * 65535).astype(np.uint16)
    file = pillow_heif.from_bytes(
        mode="RGB;16", size=(values.shape[1], values.shape[0]), data=values.tobytes()
    )
    stream = BytesIO()
    file.save(stream, **options)
    return stream.getvalue()


_FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 10: "ii"}


def dng(
    preview: bytes | None, *, orientation: int = 1, sensor: tuple[int, int] = (64, 48)
) -> bytes:
    """A raw photo in DNG 1.4: a tiny thumbnail first, the sensor's values, and a JPEG preview."""
    data = bytearray(b"II*\0" + bytes(4))

    def put(content: bytes) -> int:
        data.extend(bytes(-len(data) % 4))
        data.extend(content)
        return len(data) - len(content)

    def directory(tags: dict[int, tuple[int, tuple]]) -> int:
        body = struct.pack("<H", len(tags))
        for tag, (kind, values) in sorted(tags.items()):
            content = (
                values[0]
                if kind == 2
                else b"".join(
                    struct.pack(f"<{_FORMATS[kind]}", *(v if isinstance(v, tuple) else (v,)))
                    for v in values
                )
            )
            count = len(content) if kind == 2 else len(values)
            place = (
                content.ljust(4, b"\0") if len(content) <= 4 else struct.pack("<I", put(content))
            )
            body += struct.pack("<HHI", tag, kind, count) + place
        return put(body + bytes(4))

    width, height = sensor
    values = np.full((height, width), 8000, "<u2").tobytes()
    pictures = [
        directory(
            {254: (4, (0,)), 256: (4, (width,)), 257: (4, (height,)), 258: (3, (16,)),
             259: (3, (1,)), 262: (3, (32803,)), 273: (4, (put(values),)), 277: (3, (1,)),
             278: (4, (height,)), 279: (4, (len(values),)), 33421: (3, (2, 2)),
             33422: (1, (0, 1, 1, 2)), 50717: (4, (16383,))}
        )
    ]  # fmt: skip
    if preview is not None:
        across, down = Image.open(BytesIO(preview)).size
        pictures.append(
            directory(
                {254: (4, (1,)), 256: (4, (across,)), 257: (4, (down,)), 258: (3, (8, 8, 8)),
                 259: (3, (7,)), 262: (3, (6,)), 273: (4, (put(preview),)), 277: (3, (3,)),
                 278: (4, (down,)), 279: (4, (len(preview),))}
            )
        )  # fmt: skip
    unit = ((1, 1), (0, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1), (0, 1), (1, 1))
    first = {
        254: (4, (1,)), 271: (2, (b"Maker\0",)), 272: (2, (b"Model\0",)),
        274: (3, (orientation,)), 330: (4, tuple(pictures)), 50706: (1, (1, 4, 0, 0)),
        50708: (2, (b"Maker Model\0",)), 50721: (10, unit), 50778: (3, (21,)),
    }  # fmt: skip
    if preview is not None:
        thumbnail = put(Image.new("RGB", (16, 12), "gray").tobytes())
        first |= {
            256: (4, (16,)), 257: (4, (12,)), 258: (3, (8, 8, 8)), 259: (3, (1,)), 262: (3, (2,)),
            273: (4, (thumbnail,)), 277: (3, (3,)), 278: (4, (12,)), 279: (4, (576,)),
        }  # fmt: skip
    start = directory(first)
    data[4:8] = struct.pack("<I", start)
    return bytes(data)
