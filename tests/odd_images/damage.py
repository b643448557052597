"""Files cut short, spoiled, named wrong, of another kind, or far too large."""

import gzip
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from tests.odd_images.odd import DAMAGED, FLAG, FUZZ, MISSING, NO_IMAGE, TOO_LARGE, Odd, chunk
from tests.photos import encode, png


def cut() -> Iterator[Odd]:
    kinds = {
        "jpeg": encode(FUZZ, "JPEG"),
        "progressive": encode(FUZZ, "JPEG", progressive=True),
        "png": encode(FUZZ, "PNG"),
        "gif": encode(FUZZ, "GIF"),
        "bmp": encode(FUZZ, "BMP"),
        "tiff": encode(FUZZ, "TIFF"),
        "lzw": encode(FUZZ, "TIFF", compression="tiff_lzw"),
        "webp": encode(FUZZ, "WEBP"),
        "lossless": encode(FUZZ, "WEBP", lossless=True),
        "ppm": encode(FUZZ, "PPM"),
        "jp2": encode(FUZZ, "JPEG2000"),
    }
    for kind, whole in kinds.items():
        for tenths in range(1, 10):
            part = whole[: len(whole) * tenths // 10]
            yield Odd(f"cut {tenths} {kind}.{kind}", part, reason=DAMAGED)
    yield Odd(
        "empty.jpg", b"", reason=r"the file is empty \(0 bytes\); copy or download it again\."
    )
    yield Odd("one byte.jpg", b"\xff", reason=NO_IMAGE)
    for n, start in enumerate((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0",
                               b"RIFF\4\0\0\0WEBP")):  # fmt: skip
        yield Odd(f"nothing but a start {n}.jpg", start, reason=DAMAGED)


def flipped() -> Iterator[Odd]:
    png_file, jpeg, gif, bmp = (encode(FUZZ, kind) for kind in ("PNG", "JPEG", "GIF", "BMP"))

    def flip(file: bytes, *places: int) -> bytes:
        changed = bytearray(file)
        for place in places:
            changed[place] ^= 0xFF
        return bytes(changed)

    for place, reason in {0: NO_IMAGE, 8: DAMAGED, 12: DAMAGED, 16: DAMAGED, 24: DAMAGED,
                          29: DAMAGED, 60: DAMAGED, 2000: DAMAGED}.items():  # fmt: skip
        yield Odd(f"flipped {place}.png", flip(png_file, place), reason=reason)
    yield Odd("flipped end.png", flip(png_file, len(png_file) - 7))
    for place in (0, 1):
        yield Odd(f"flipped {place}.jpg", flip(jpeg, place), reason=NO_IMAGE)
    scan = jpeg.index(b"\xff\xda")
    frame, huffman = jpeg.index(b"\xff\xc0") + 5, jpeg.index(b"\xff\xc4") + 6
    places = {"table": 30, "frame": frame, "huffman": huffman, "scan head": scan + 5}
    for name, place in places.items():
        yield Odd(f"flipped {name}.jpg", flip(jpeg, place))
    for place in range(scan + 20, scan + 520, 100):
        yield Odd(f"flipped scan {place}.jpg", flip(jpeg, place, place + 1))
    for place in (6, 10, 13, 800):
        yield Odd(f"flipped {place}.gif", flip(gif, place))
    for place in (2, 10, 14, 18, 28, 30):
        yield Odd(f"flipped {place}.bmp", flip(bmp, place))
    for place in (4, 12, 16, 20, 30, 300):
        yield Odd(f"flipped {place}.webp", flip(encode(FUZZ, "WEBP"), place))
    for place in (0, 2, 4, 5, 8, 9, 12, 20):
        yield Odd(f"flipped {place}.tif", flip(encode(FUZZ, "TIFF"), place))


def misnamed() -> Iterator[Odd]:
    for kind, ending in [("PNG", "jpg"), ("GIF", "png"), ("BMP", "jpeg"), ("TIFF", "JPG"),
                         ("PPM", "webp"), ("TGA", "gif"), ("WEBP", "txt")]:  # fmt: skip
        options = {"lossless": True} if kind == "WEBP" else {}
        yield Odd(f"really {kind}.{ending}", encode(FLAG, kind, **options), shown=FLAG)


def foreign() -> Iterator[Odd]:
    files = {
        "letter": b"Dear reader, this is no picture.",
        "page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "table": b'{"error": "no such photo"}',
        "document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "archive": b"PK\3\4\x14\0\0\0\x08\0" + bytes(100),
        "packed": gzip.compress(encode(FLAG, "PNG"), mtime=0),
        "film": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(100),
        "program": b"\x7fELF\2\1\1" + bytes(100),
        "song": b"ID3\4\0\0\0\0\0\0" + bytes(100),
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
        "blanks": b" " * 4096,
        "lines": b"\n" * 4096,
        "sidecar": b'<?xml version="1.0"?><x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
        "before": b"garbage" + encode(FLAG, "JPEG"),
        "noise": np.random.default_rng(5).integers(0, 256, 4096, np.uint8).tobytes(),
    }
    for name, content in files.items():
        yield Odd(f"{name}.jpg", content, reason=NO_IMAGE)
    drawing = r"SVG is a drawing, not a photo; export it as PNG first\."
    yield Odd("drawing.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", reason=drawing)
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    yield Odd("program.eps", program, reason=r"EPS is a drawing, not a photo; .+")
    for name, content in {
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
        "MPEG": b"\0\0\1\xb3\x16\0\xf0\xc4\2\xff\xff\xe0" + bytes(99),
        "GRIB": b"GRIB\0\0\0\1" + bytes(99),
        "BUFR": b"BUFR\0\0\0\4" + bytes(99),
    }.items():
        data = rf"this is {name} data, not a photo; save it as JPEG\."
        yield Odd(f"{name}.jpg", content, reason=data)
    meta = (
        b"\xd7\xcd\xc6\x9a" + bytes(6) + b"\x10\0\x10\0\x60\0" + bytes(6) + b"\1\0\t\0" + bytes(99)
    )
    yield Odd(
        "drawing.wmf", meta, reason=r"WMF is a drawing, not a photo; export it as PNG first\."
    )
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    yield Odd("phone.heic", heic, reason=rf"{DAMAGED}|{MISSING}")
    yield Odd("camera.raf", b"FUJIFILMCCD-RAW 0201FF389501" + bytes(99),
              reason=rf"a raw photo that LibRaw .+; export it as JPEG\.|{MISSING}")  # fmt: skip
    yield Odd("cut.jxl", b"\xff\x0a\0\x10\xb0\x13", reason=rf"{DAMAGED}|{MISSING}")
    deep = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 32, 48, 16, 3) + bytes(99)
    yield Odd("deep.psd", deep, reason=r"a Photoshop file that cannot be read \(16 bits .+\); .+")


def bombs() -> Iterator[Odd]:
    huge = struct.pack(">II", 60000, 60000)
    ink = encode(FLAG, "PNG")
    header = b"IHDR" + huge + ink[24:29]
    spoiled = ink[:12] + header + struct.pack(">I", zlib.crc32(header)) + ink[33:]
    yield Odd("bomb.png", spoiled, reason=TOO_LARGE)
    yield Odd("white bomb.png", png((2**31 - 1, 1), 1, 0, bytes(2**10)), reason=TOO_LARGE)
    gif = encode(FLAG, "GIF")
    yield Odd("bomb.gif", gif[:6] + b"\xff\xff\xff\xff" + gif[10:], reason=TOO_LARGE)
    bmp = encode(FLAG, "BMP")
    yield Odd("bomb.bmp", bmp[:18] + struct.pack("<ii", 60000, 60000) + bmp[26:], reason=TOO_LARGE)
    jpeg = encode(FLAG, "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    yield Odd("bomb.jpg", jpeg[:frame] + b"\xff\xdc\xff\xdc" + jpeg[frame + 4 :], reason=TOO_LARGE)
    yield Odd("bomb.ppm", b"P6 60000 60000 255\n" + bytes(99), reason=TOO_LARGE)
    text = b"Comment\0\0" + zlib.compress(bytes(2**23))
    yield Odd("text bomb.png", ink[:33] + chunk(b"zTXt", text) + ink[33:])
    profile = b"ICC\0\0" + zlib.compress(bytes(2**23))
    yield Odd("profile bomb.png", ink[:33] + chunk(b"iCCP", profile) + ink[33:])
