"""Files whose parts are odd: metadata, segments of JPEGs, chunks of PNGs."""

import struct
import zlib
from collections.abc import Iterator

from PIL import ImageCms

from tests.odd_images.odd import DAMAGED, FLAG, FUZZ, UNREAD, Odd, chunk, segment
from tests.photos import encode, png, press_profile


def exif() -> Iterator[Odd]:
    kinds = {
        "none": b"Exif\0\0 no TIFF at all",
        "far": b"Exif\0\0II*\0\xff\xff\xff\x7f",
        "cut": b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01",
        "many": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\1\3\0\1\0\0\0\1\0\0\0",
        "99": b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x63\0\0\0\0\0\0",
        "0": b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\0\0\0\0\0\0\0",
        "text": b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\2\0\0\0\4six\0\0\0\0\0",
        "itself": b"Exif\0\0MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\x08",
    }
    for name, exif in kinds.items():
        jpeg = encode(FLAG, "JPEG", exif=exif, quality=95, subsampling=0)
        yield Odd(f"exif {name}.jpg", jpeg, FLAG, 4)
        file = encode(FLAG, "PNG")
        yield Odd(f"exif {name}.png", file[:33] + chunk(b"eXIf", exif[6:]) + file[33:], FLAG)
        webp = encode(FLAG, "WEBP", lossless=True, exif=exif)
        yield Odd(f"exif {name}.webp", webp, FLAG)


def profiles() -> Iterator[Odd]:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kinds = {
        "srgb": srgb,
        "none": b"no profile at all, but long enough to be taken for one" * 4,
        "short": srgb[:100],
        "cut": srgb[:300],
        "press": press_profile(),
        "sized wrong": b"\xff\xff\xff\xff" + srgb[4:],
    }
    for name, profile in kinds.items():
        for kind in ("PNG", "JPEG", "TIFF"):
            options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
            file = encode(FLAG, kind, icc_profile=profile, **options)
            yield Odd(f"profile {name}.{kind.lower()}", file, FLAG, 4 if options else 1)
    jpeg = encode(FLAG, "JPEG", quality=95, subsampling=0)
    part = segment(0xE2, b"ICC_PROFILE\0\2\3" + srgb[:50])
    yield Odd("profile in parts.jpg", jpeg[:2] + part + jpeg[2:], FLAG, 4)


def large_metadata() -> Iterator[Odd]:
    jpeg = encode(FLAG, "JPEG", quality=95, subsampling=0)
    for name, marker in {"comments": 0xFE, "exif": 0xE1, "xmp": 0xE1, "photoshop": 0xED}.items():
        start = {"exif": b"Exif\0\0MM\0*", "xmp": b"http://ns.adobe.com/xap/1.0/\0",
                 "photoshop": b"Photoshop 3.0\0"}.get(name, b"")  # fmt: skip
        content = segment(marker, start.ljust(65533, b"x")) * 50
        yield Odd(f"large {name}.jpg", jpeg[:2] + content + jpeg[2:], FLAG, 4)
    file = encode(FLAG, "PNG")
    text = chunk(b"tEXt", b"Comment\0" + b"x" * 2**20)
    yield Odd("large text.png", file[:33] + text * 4 + file[33:], FLAG)
    private = chunk(b"prVt", bytes(2**22))
    yield Odd("large private.png", file[:33] + private + file[33:], FLAG)
    webp = encode(FLAG, "WEBP", lossless=True, xmp=b"<x/>" * 2**20)
    yield Odd("large xmp.webp", webp, FLAG)


def jpegs() -> Iterator[Odd]:
    fine = {"quality": 95, "subsampling": 0}
    jpeg = encode(FLAG, "JPEG", **fine)
    for name, file in {
        "trailing zeros": jpeg + bytes(10_000),
        "trailing photo": jpeg + encode(FUZZ, "JPEG"),
        "trailing text": jpeg + b"SEFT",
        "fill bytes": jpeg[:2] + b"\xff" * 20 + jpeg[2:],
        "no jfif": jpeg[:2] + jpeg[20:],
        "restarts": encode(FLAG, "JPEG", restart_marker_blocks=1, **fine),
        "progressive": encode(FLAG, "JPEG", progressive=True, **fine),
        "optimised": encode(FLAG, "JPEG", optimize=True, **fine),
        "gray": encode(FLAG, "JPEG", keep_rgb=True, **fine),
        "unknown segment": jpeg[:2] + segment(0xEF, b"private") + jpeg[2:],
        "empty comment": jpeg[:2] + segment(0xFE, b"") + jpeg[2:],
    }.items():
        yield Odd(f"{name}.jpg", file, FLAG, 4)
    frame = jpeg.index(b"\xff\xc0")
    for name, file in {
        "two starts": jpeg[:2] + jpeg,
        "negative segment": jpeg[:2] + b"\xff\xfe\0\0" + jpeg[2:],
    }.items():
        yield Odd(f"{name}.jpg", file)
    for name, file in {
        "no end": jpeg[:-2],
        "lossless": jpeg[: frame + 1] + b"\xc3" + jpeg[frame + 2 :],
        "hierarchical": jpeg[: frame + 1] + b"\xc5" + jpeg[frame + 2 :],
        "no height": jpeg[: frame + 5] + b"\0\0" + jpeg[frame + 7 :],
        "no width": jpeg[: frame + 7] + b"\0\0" + jpeg[frame + 9 :],
        "tables alone": jpeg[:frame] + b"\xff\xd9",
        "no tables": jpeg[:20] + jpeg[frame:],
        "start and end": b"\xff\xd8\xff\xd9",
    }.items():
        yield Odd(f"{name}.jpg", file, reason=DAMAGED)
    for name, file in {
        "twelve bits": jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :],
        "nine channels": jpeg[: frame + 9] + b"\x09" + jpeg[frame + 10 :],
    }.items():
        yield Odd(f"{name}.jpg", file, reason=UNREAD)


def pngs() -> Iterator[Odd]:
    file = encode(FLAG, "PNG")
    head, rest = file[:33], file[33:]
    start = rest.index(b"IDAT") - 4
    pixels = rest[start + 8 : -16]
    one_by_one = b"".join(chunk(b"IDAT", pixels[n : n + 1]) for n in range(len(pixels)))
    end = chunk(b"IEND", b"")
    for name, content in {
        "bytes one by one": head + one_by_one + end,
        "empty pixels first": head + chunk(b"IDAT", b"") + rest,
        "gamma": head + chunk(b"gAMA", struct.pack(">I", 45455)) + rest,
        "unknown private": head + chunk(b"abCd", b"?") + rest,
        "time": head + chunk(b"tIME", b"\7\xe8\1\1\0\0\0") + rest,
        "text without end": head + chunk(b"tEXt", b"no zero") + rest,
        "trailing": file + b"trailing",
        "trailing photo": file + encode(FUZZ, "PNG"),
    }.items():
        yield Odd(f"{name}.png", content, FLAG)
    for name, content in {
        "spoiled pixels": head + chunk(b"IDAT", pixels, check=1) + end,
        "spoiled private": head + chunk(b"abCd", b"?", check=1) + rest,
        "no end": file[:-12],
        "clear colour cut": head + chunk(b"tRNS", b"\0") + rest,
        "chunk of letters": head + chunk(b"ab\xff\xfe", b"?") + rest,
        "palette twice": head + 2 * chunk(b"PLTE", bytes(6)) + rest,
    }.items():
        yield Odd(f"{name}.png", content)
    for name, content in {
        "spoiled header": file[:29] + b"\0\0\0\0" + rest,
        "no pixels": head + end,
        "no zlib": head + chunk(b"IDAT", b"no zlib") + end,
        "too few pixels": head + chunk(b"IDAT", zlib.compress(bytes(9))) + end,
        "no header": file[:8] + rest,
        "three bits": png((4, 1), 3, 2, bytes(9)),
        "colour nine": png((4, 1), 8, 9, bytes(9)),
        "long chunk": head + b"\x7f\xff\xff\xffabCd" + rest,
    }.items():
        yield Odd(f"{name}.png", content, reason=DAMAGED)
