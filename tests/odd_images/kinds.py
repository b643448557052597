"""Sound photos of every shape, depth, kind and orientation, and some without any pixel."""

import struct
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO

import numpy as np
import tifffile
from PIL import Image, features

from tests.cameras import deep_heic, dng, heic
from tests.odd_images.odd import DAMAGED, FLAG, Odd
from tests.photos import TURNS, encode, png, press_profile, turned


def shapes() -> Iterator[Odd]:
    sizes = [(1, 1), (1, 2), (2, 1), (3, 7), (1, 20000), (20000, 1), (17, 4000)]
    for height, width in sizes:
        picture = Image.new("RGB", (width, height), (200, 100, 50))
        for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF"):
            name = f"{height}x{width}.{kind.lower()}"
            yield Odd(name, encode(picture, kind), picture, 0 if kind != "JPEG" else 4)
    nothing = DAMAGED
    for size in [(0, 5), (5, 0), (0, 0)]:
        yield Odd(f"{size[1]}x{size[0]}.png", png(size, 8, 2, b""), reason=nothing)
    gif = encode(FLAG, "GIF")
    yield Odd("0x0.gif", gif[:6] + bytes(4) + gif[10:], FLAG)  # its frame has a size


def modes() -> Iterator[Odd]:
    cmyk = Image.merge("CMYK", [Image.new("L", (48, 32), ink) for ink in (0, 255, 255, 0)])
    red = Image.new("RGB", (48, 32), "red")
    yield Odd("cmyk.tif", encode(cmyk, "TIFF"), red)
    yield Odd("cmyk.jpg", encode(cmyk, "JPEG", quality=100), red, 4)
    yield Odd("press.tif", encode(cmyk, "TIFF", icc_profile=press_profile()),
              Image.new("RGB", (48, 32), "black"), 40)  # fmt: skip
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    gray = Image.fromarray(np.rint(ramp / 65535 * 255).astype(np.uint8)).convert("RGB")
    for kind in ("PNG", "TIFF", "PPM"):
        yield Odd(f"16 bit.{kind.lower()}", encode(Image.fromarray(ramp), kind), gray)
    yield Odd("32 bit.tif", encode(Image.fromarray(ramp.astype(np.int32)), "TIFF"), gray)
    yield Odd("float.tif", encode(Image.fromarray((ramp / 65535).astype(np.float32)), "TIFF"), gray)
    lost = np.full((4, 4), np.nan, np.float32)
    numbers = r"it holds pixels that are not numbers; save it as JPEG or PNG\."
    yield Odd("no numbers.tif", encode(Image.fromarray(lost), "TIFF"), reason=numbers)
    deep = struct.pack(">6H", 65535, 32896, 0, 0, 257, 514)
    orange = Image.fromarray(np.array([[[255, 128, 0], [0, 1, 2]]], np.uint8))
    yield Odd("16 bit colour.png", png((2, 1), 16, 2, deep), orange)
    clear = struct.pack(">8H", 65535, 32896, 0, 65535, 9, 9, 9, 0)
    white = Image.fromarray(np.array([[[255, 128, 0], [255, 255, 255]]], np.uint8))
    yield Odd("16 bit clear.png", png((2, 1), 16, 6, clear), white)
    for depth, content in {1: b"\x50", 2: b"\x33", 4: b"\x0f\x0f"}.items():
        stripes = Image.fromarray(np.array([[0, 255, 0, 255]], np.uint8)).convert("RGB")
        yield Odd(f"{depth} bit.png", png((4, 1), depth, 0, content), stripes)
    glass = FLAG.convert("RGBA")
    glass.putalpha(Image.new("L", (48, 32), 0))
    blank = Image.new("RGB", (48, 32), "white")
    for kind, options in {"PNG": {}, "WEBP": {"lossless": True, "exact": True}, "TIFF": {},
                          "TGA": {}, "ICO": {"sizes": [(48, 32)]}}.items():  # fmt: skip
        yield Odd(f"glass.{kind.lower()}", encode(glass, kind, **options), blank)
    palette = FLAG.quantize(4)
    index = palette.getpixel((0, 0))
    hole = FLAG.copy()
    hole.paste("white", (0, 0, 24, 16))
    yield Odd("palette.png", encode(palette, "PNG", transparency=index), hole)
    alphas = bytes(0 if n == index else 255 for n in range(4))
    yield Odd("palette alphas.png", encode(palette, "PNG", transparency=alphas), hole)
    yield Odd("palette.gif", encode(palette, "GIF", transparency=index), hole)
    dots = Image.effect_noise((48, 32), 90).convert("1")
    for kind in ("PNG", "TIFF", "BMP", "PPM", "GIF", "PCX"):
        yield Odd(f"dots.{kind.lower()}", encode(dots, kind), dots.convert("RGB"))
    yield Odd("fax.tif", encode(dots, "TIFF", compression="group4"), dots.convert("RGB"))
    la = Image.merge("LA", [Image.new("L", (9, 9), 100), Image.new("L", (9, 9), 255)])
    yield Odd("gray alpha.png", encode(la, "PNG"), Image.new("RGB", (9, 9), (100, 100, 100)))


def animated() -> Iterator[Odd]:
    second = Image.new("RGB", FLAG.size, "black")
    kinds = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
    for kind, options in kinds.items():
        film = encode(FLAG, kind, save_all=True, append_images=[second] * 30, **options)
        yield Odd(f"film.{kind.lower()}", film, FLAG)
    album = encode(FLAG, "MPO", save_all=True, append_images=[second], quality=95, subsampling=0)
    yield Odd("album.mpo", album, FLAG, 4)
    gif = encode(FLAG, "GIF", save_all=True, append_images=[second] * 3)
    yield Odd("cut in its second frame.gif", gif[: len(gif) * 9 // 10], FLAG)


def orientations() -> Iterator[Odd]:
    for orientation in TURNS:
        for kind, options, tolerance in [
            ("JPEG", {"quality": 95, "subsampling": 0}, 4),
            ("PNG", {}, 0),
            ("WEBP", {"lossless": True}, 0),
            ("TIFF", {}, 0),
        ]:
            file = turned(FLAG, orientation, kind, **options)
            yield Odd(f"turned {orientation}.{kind.lower()}", file, FLAG, tolerance)


def others() -> Iterator[Odd]:
    raw = encode(FLAG, "TIFF")
    little = struct.unpack_from("<I", raw, 4)[0]
    (entries,) = struct.unpack_from("<H", raw, little)
    link = little + 2 + 12 * entries
    yield Odd("circle.tif", raw[:link] + raw[4:8] + raw[link + 4 :], FLAG)
    yield Odd("many entries.tif", raw[:little] + b"\xff\xff" + raw[little + 2 :])
    yield Odd("deflate.tif", encode(FLAG, "TIFF", compression="tiff_adobe_deflate"), FLAG)
    yield Odd("packbits.tif", encode(FLAG, "TIFF", compression="packbits"), FLAG)
    yield Odd("large.tif", encode(FLAG, "TIFF", big_tiff=True), FLAG)
    yield Odd("rle.tga", encode(FLAG, "TGA", compression="tga_rle"), FLAG)
    bmp = encode(FLAG, "BMP")
    upside = bmp[:22] + struct.pack("<i", -32) + bmp[26:]
    yield Odd("upside down.bmp", upside, FLAG.transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    yield Odd("trailing.bmp", bmp + b"trailing", FLAG)
    yield Odd("trailing.gif", encode(FLAG, "GIF") + b"trailing", FLAG)
    yield Odd("trailing.webp", encode(FLAG, "WEBP", lossless=True) + b"trailing", FLAG)
    for kind in ("DDS", "SGI", "PCX", "QOI"):
        yield Odd(f"kind.{kind.lower()}", encode(FLAG, kind), FLAG)
    gray = FLAG.convert("L")
    yield Odd("kind.spider", encode(gray.convert("F"), "SPIDER"), gray.convert("RGB"))
    yield Odd("colours.jp2", encode(FLAG, "JPEG2000"), FLAG)
    if features.check("avif"):
        avif = encode(FLAG, "AVIF", quality=100, subsampling="4:4:4")
        yield Odd("kind.avif", avif, FLAG, 8)
        for tenths in range(1, 10, 2):
            yield Odd(f"cut {tenths}.avif", avif[: len(avif) * tenths // 10], reason=DAMAGED)


def cameras() -> Iterator[Odd]:
    """Kinds that optional packages read, where these are installed."""
    preview = encode(FLAG, "JPEG", quality=95, subsampling=0)
    if find_spec("rawpy"):
        yield Odd("camera.dng", dng(preview), FLAG, 4)
        over = encode(FLAG.rotate(180), "JPEG", quality=95, subsampling=0)
        yield Odd("turned.dng", dng(over, orientation=3), FLAG, 4)
        yield Odd("no preview.dng", dng(None), reason=r"a raw photo without a preview .+")
    if find_spec("pillow_heif"):
        yield Odd("phone plain.heic", heic(FLAG), FLAG, 1)
        yield Odd("phone turned.heic", heic(FLAG, orientation=6), FLAG, 1)
        yield Odd("phone gain map.heic", heic(FLAG, gain_map=True), FLAG, 1)
        yield Odd("camera.hif", deep_heic(FLAG), FLAG, 1)
    if find_spec("pillow_jxl"):
        import pillow_jxl  # noqa: F401  # registers itself

        yield Odd("kind.jxl", encode(FLAG, "JXL", lossless=True), FLAG)


def scans() -> Iterator[Odd]:
    """TIFF files that Pillow shows wrong or not at all."""
    pixels = np.asarray(FLAG)
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    for name, values in {
        "16": planes.astype(np.uint16) * 257,
        "float": (planes / 255).astype(np.float32),
    }.items():
        for order in "<>":
            for packing in (None, "zlib"):
                stream = BytesIO()
                tifffile.imwrite(
                    stream, values, photometric="rgb", planarconfig="separate",
                    byteorder=order, compression=packing, metadata=None,
                )  # fmt: skip
                yield Odd(f"planes {name} {order} {packing}.tif", stream.getvalue(), FLAG)
