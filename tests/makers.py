"""Photos as cameras, phones and programs write them, every byte made here.

Each maker's notes are laid out as that maker does, with offsets from where that maker counts them,
so that a program which moves them can no longer read what they say.
"""

import struct
import zlib
from collections.abc import Callable
from functools import partial
from hashlib import md5
from io import BytesIO

from PIL import ImageCms

from tests.photos import encode, noise

HUMAN = "Grandma in Rome, 1974"
ASCII, SHORT, LONG, UNDEFINED, BYTE, RATIONAL = 2, 3, 4, 7, 1, 5

Value = tuple[int, int, int, bytes]
"""Tag, type, number of items, and their bytes."""


def text(tag: int, words: str) -> Value:
    content = words.encode() + b"\0"
    return tag, ASCII, len(content), content


def directory(values: list[Value], *, order: str, at: int, following: int = 0) -> bytes:
    """A directory that lies `at` bytes from where its offsets count, its values behind it."""
    fields, behind = b"", b""
    start = at + 2 + 12 * len(values) + 4
    for tag, kind, count, content in sorted(values):
        fields += struct.pack(f"{order}HHI", tag, kind, count)
        if len(content) <= 4:
            fields += content.ljust(4, b"\0")
        else:
            fields += struct.pack(f"{order}I", start + len(behind))
            behind += content + bytes(len(content) % 2)
    return (
        struct.pack(f"{order}H", len(values))
        + fields
        + struct.pack(f"{order}I", following)
        + behind
    )


def block(
    order: str,
    main: list[Value],
    details: list[Value] = (),
    notes: Callable[[int], bytes] | None = None,
    *,
    thumbnail: bytes = b"",
) -> bytes:
    """Exif data: the main directory, Exif's own one with maker notes, one with a thumbnail."""

    def pointer(tag: int, to: int) -> Value:
        return tag, LONG, 1, struct.pack(f"{order}I", to)

    def build(exif: int, second: int, maker: int) -> tuple[bytes, bytes]:
        first = directory([*main, pointer(0x8769, exif)], order=order, at=8, following=second)
        inside = [*details, (0x9000, UNDEFINED, 4, b"0221")]
        if notes:
            content = notes(maker)
            inside.append((0x927C, UNDEFINED, len(content), content))
        return first, directory(inside, order=order, at=exif)

    first, inside = build(0, 0, 0)  # for their lengths
    exif = 8 + len(first)
    second = exif + len(inside) if thumbnail else 0
    maker = exif + inside.index(notes(0)) if notes else 0
    first, inside = build(exif, second, maker)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    data = head + first + inside
    if thumbnail:
        small = [pointer(0x0201, second + 2 + 12 * 3 + 4), pointer(0x0202, len(thumbnail))]
        small.append((0x0103, SHORT, 1, struct.pack(f"{order}H", 6)))
        data += directory(small, order=order, at=second) + thumbnail
    return data


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def jpeg(*segments: bytes, exif: bytes = b"", behind: bytes = b"", seed: int = 0) -> bytes:
    """A JPEG as cameras write it: Exif first, no JFIF."""
    plain = encode(noise(48, 64, seed=seed), "JPEG")
    tables = plain.index(b"\xff\xdb")
    parts = [segment(0xE1, b"Exif\0\0" + exif)] if exif else [plain[2:tables]]
    return plain[:2] + b"".join([*parts, *segments]) + plain[tables:] + behind


def png(*chunks: bytes) -> bytes:
    plain = encode(noise(48, 64), "PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def packet(properties: str, attributes: str = "") -> bytes:
    return (
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\n"
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF "
        "xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='' "
        "xmlns:dc='http://purl.org/dc/elements/1.1/' xmlns:xmp='http://ns.adobe.com/xap/1.0/' "
        f"xmp:Rating='4' {attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta>\n"
        + " " * 200
        + "<?xpacket end='w'?>"
    ).encode()


def alternatives(name: str, *texts: tuple[str, str]) -> str:
    items = "".join(f"<rdf:li xml:lang='{lang}'>{words}</rdf:li>" for lang, words in texts)
    return f"<{name}><rdf:Alt>{items}</rdf:Alt></{name}>"


def xmp(properties: str, attributes: str = "") -> bytes:
    """The segment of a JPEG."""
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet(properties, attributes))


def records(*sets: tuple[int, int, bytes]) -> bytes:
    """The segment of a JPEG with IPTC records, between other resources of Photoshop."""
    content = b"".join(b"\x1c" + struct.pack(">BBH", a, b, len(c)) + c for a, b, c in sets)

    def resource(number: int, inside: bytes) -> bytes:
        head = b"8BIM" + struct.pack(">HHI", number, 0, len(inside))
        return head + inside + bytes(len(inside) % 2)

    resolution = struct.pack(">IHHIHH", 300 << 16, 1, 1, 300 << 16, 1, 1)
    parts = (
        resource(0x03ED, resolution)
        + resource(0x0404, content)
        + resource(0x0406, b"\0\3\0\0\0\1\0")
    )
    return segment(0xED, b"Photoshop 3.0\0" + parts)


def pictures(size_of_first: int, second: bytes) -> bytes:
    """The index of a JPEG with a gain map behind it; its size is that of any other."""
    fields = struct.pack("<HHI", 0xB000, 7, 4) + b"0100" + struct.pack("<HHII", 0xB001, 4, 1, 2)
    fields += struct.pack("<HHII", 0xB002, 7, 32, 50)
    at = size_of_first and size_of_first - 10
    entries = struct.pack("<IIIHH", 0x30000, size_of_first, 0, 0, 0)
    entries += struct.pack("<IIIHH", 0, len(second), at, 0, 0)
    return segment(0xE2, b"MPF\0II*\0" + struct.pack("<IH", 8, 3) + fields + bytes(4) + entries)


THUMBNAIL = encode(noise(12, 16, seed=9), "JPEG")
PREVIEW = b"\xff\xd8" + encode(noise(32, 48, seed=7), "JPEG").partition(b"\xff\xdb")[2]
PREVIEW = PREVIEW[:2] + b"\xff\xdb" + PREVIEW[2:]
SONY_PREVIEW = bytes(32) + b"\0" + PREVIEW[1:]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def wide(words: str) -> bytes:
    return (words + "\0").encode("utf-16-le")


def camera(order: str, maker: str, model: str, description: str | None = None) -> list[Value]:
    values = [text(0x010F, maker), text(0x0110, model), text(0x0131, "1.0.3")]
    values.append((0x0112, SHORT, 1, struct.pack(f"{order}H", 1)))
    values.append((0x011A, RATIONAL, 1, struct.pack(f"{order}II", 72, 1)))
    return values if description is None else [*values, text(0x010E, description)]


def details(order: str) -> list[Value]:
    return [
        (0x829A, RATIONAL, 1, struct.pack(f"{order}II", 1, 250)),
        (0x8827, SHORT, 1, struct.pack(f"{order}H", 400)),
        text(0x9003, "2009:08:07 06:05:04"),
    ]


def canon(at: int, preview: int | None = None) -> bytes:
    """Offsets count from Exif's own beginning."""
    notes = [
        text(0x0006, "Canon EOS 40D"),
        text(0x0007, "Firmware 1.1.1"),
        text(0x0009, "Ada Lovelace"),
    ]
    if preview is not None:
        words = struct.pack("<12I", 24, 2, len(PREVIEW), 48, 32, preview, *[0] * 6)
        notes.append((0x00B6, LONG, 12, words))
    return directory(notes, order="<", at=at)


def nikon(_at: int) -> bytes:
    """Offsets count from a header of their own."""
    notes = [text(0x0004, "FINE  "), text(0x0005, "AUTO        "), text(0x001D, "No= 0012345")]
    return b"Nikon\0\2\x10\0\0MM\0*" + struct.pack(">I", 8) + directory(notes, order=">", at=8)


def olympus(at: int) -> bytes:
    notes = [
        text(0x0207, "SR95 firmware"),
        (0x0209, UNDEFINED, 32, b"OLYMPUS DIGITAL CAMERA".ljust(32, b"\0")),
    ]
    return b"OLYMP\0\1\0" + directory(notes, order="<", at=at + 8)


def panasonic(at: int) -> bytes:
    notes = [
        (0x0025, UNDEFINED, 16, b"F12 0908070001\0\0"),
        (0x0069, UNDEFINED, 72, b"Rome".ljust(72, b"\0")),
    ]
    return b"Panasonic\0\0\0" + directory(notes, order="<", at=at + 12)


def sony(at: int, preview: int | None = None) -> bytes:
    notes = [
        text(0xB020, "Standard       "),
        (0xB000, BYTE, 4, b"\3\0\0\0"),
        text(0x2002, "a longer text"),
    ]
    if preview is not None:
        notes.append((0x2001, UNDEFINED, len(SONY_PREVIEW), struct.pack("<I", preview)))
    return b"SONY DSC \0\0\0" + directory(notes, order="<", at=at + 12)


def casio(at: int, preview: int = 0) -> bytes:
    notes = [
        (0x0003, LONG, 1, struct.pack(">I", len(PREVIEW))),
        (0x0004, LONG, 1, struct.pack(">I", preview)),
        (0x0002, SHORT, 2, struct.pack(">HH", 48, 32)),
    ]
    return b"QVC\0\0\0" + directory(notes, order=">", at=at + 6)


def fujifilm(_at: int) -> bytes:
    """Offsets count from the notes' beginning."""
    notes = [
        text(0x1000, "NORMAL "),
        text(0x0010, "FPX 12345678 592D35333839 2009:08:07 0123456789AB"),
    ]
    return b"FUJIFILM" + struct.pack("<I", 12) + directory(notes, order="<", at=12)


def apple(_at: int) -> bytes:
    notes = [
        text(0x0011, "0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9"),
        (0x0001, 9, 1, struct.pack(">i", 14)),
    ]
    return b"Apple iOS\0\0\1MM" + directory(notes, order=">", at=14)


def iphone() -> bytes:
    gain = encode(noise(24, 32, seed=5).convert("L"), "JPEG")
    exif = block(">", camera(">", "Apple", "iPhone 15", HUMAN), details(">"), apple)
    around = [records((1, 90, b"\x1b%G"), (2, 0, b"\0\2"), (2, 80, "José".encode()))]
    size = len(jpeg(pictures(0, gain), *around, exif=exif))
    index = pictures(0, gain)
    first = jpeg(index, *around, exif=exif)
    header = first.index(b"MPF\0") + 4
    index = pictures(size, gain)
    index = index.replace(struct.pack("<I", size - 10), struct.pack("<I", size - header))
    video = struct.pack(">I", 24) + b"ftypmp42" + bytes(12)
    return jpeg(index, *around, exif=exif, behind=gain + video)


def pixel() -> bytes:
    """XMP in a packet and, longer, in segments of its own."""
    extended = packet(
        "", "xmlns:GImage='http://ns.google.com/photos/1.0/image/' GImage:Mime='image/jpeg' "
        f"GImage:Data='{'QUJD' * 20000}'"
    )  # fmt: skip
    guid = md5(extended, usedforsecurity=False).hexdigest().upper().encode()
    head = b"http://ns.adobe.com/xmp/extension/\0" + guid
    parts = [
        segment(0xE1, head + struct.pack(">II", len(extended), at) + extended[at : at + 60000])
        for at in range(0, len(extended), 60000)
    ]
    attributes = (
        "xmlns:xmpNote='http://ns.adobe.com/xmp/note/' "
        f"xmpNote:HasExtendedXMP='{guid.decode()}'"
    )  # fmt: skip
    exif = block("<", camera("<", "Google", "Pixel 8"), details("<"), thumbnail=THUMBNAIL)
    return jpeg(xmp("", attributes), *parts, exif=exif)


def windows() -> bytes:
    """As the Explorer does when somebody types in title, subject and comments."""
    fields = [
        (0x9C9B, BYTE, len(wide(HUMAN)), wide(HUMAN)),
        (0x9C9C, BYTE, len(wide("scanned by Bo")), wide("scanned by Bo")),
        (0x9C9F, BYTE, len(wide("Rome")), wide("Rome")),
        (0xEA1C, UNDEFINED, 2060, b"\x1c\xea" + bytes(2058)),
    ]
    exif = block(">", [*camera(">", "Canon", "Canon EOS 40D", HUMAN), *fields], details(">"))
    title = alternatives("dc:title", ("x-default", HUMAN))
    return jpeg(xmp(title + alternatives("dc:description", ("x-default", HUMAN))), exif=exif)


def digikam() -> bytes:
    comment = b"UNICODE\0" + HUMAN.encode("utf-16-le")
    inside = [*details("<"), (0x9286, UNDEFINED, len(comment), comment)]
    exif = block("<", camera("<", "NIKON", "D70", HUMAN), inside)
    properties = alternatives("dc:description", ("x-default", HUMAN), ("de-DE", "Oma in Rom"))
    properties += alternatives("tiff:ImageDescription", ("x-default", HUMAN))
    properties += alternatives("exif:UserComment", ("x-default", HUMAN))
    properties += "<acdsee:notes>" + HUMAN + "</acdsee:notes>"
    attributes = (
        "xmlns:tiff='http://ns.adobe.com/tiff/1.0/' xmlns:exif='http://ns.adobe.com/exif/1.0/' "
        "xmlns:acdsee='http://ns.acdsee.com/iptc/1.0/'"
    )
    texts = ((1, 90, b"\x1b%G"), (2, 0, b"\0\4"), (2, 25, "Rüm".encode()), (2, 120, HUMAN.encode()))
    return jpeg(xmp(properties, attributes), records(*texts), segment(0xFE, b"kept"), exif=exif)


def scanner() -> bytes:
    """IPTC in Latin-1, as before there was XMP."""
    return jpeg(
        records((2, 0, b"\0\2"), (2, 80, "José".encode("latin-1")), (2, 120, HUMAN.encode()))
    )


def dji() -> bytes:
    exif = block("<", camera("<", "DJI", "FC220", "DCIM\\100MEDIA\\DJI_0001.JPG"), details("<"))
    attributes = (
        "xmlns:drone-dji='http://www.dji.com/drone-dji/1.0/' drone-dji:FlightYawDegree='-1.5'"
    )
    return jpeg(xmp("", attributes), exif=exif)


def itxt(keyword: str, words: str) -> bytes:
    return chunk(b"iTXt", keyword.encode() + bytes(5) + words.encode())


def webp(*, exif: bytes = b"", **options: object) -> bytes:
    return encode(noise(48, 64), "WEBP", exif=b"Exif\0\0" + exif if exif else b"", **options)


def taken(
    order: str, maker: str, model: str, description: str | None, notes: Callable[[int], bytes]
) -> bytes:
    """A JPEG as its camera wrote it."""
    main = camera(order, maker, model, description)
    return jpeg(exif=block(order, main, details(order), notes, thumbnail=THUMBNAIL))


def with_preview(
    order: str, maker: str, model: str, notes: Callable[[int, int], bytes], preview: bytes
) -> bytes:
    """The same with a preview behind the picture, to which the maker's notes point."""

    def build(start: int) -> bytes:
        main = camera(order, maker, model, HUMAN)
        return jpeg(exif=block(order, main, details(order), partial(notes, preview=start)))

    return build(len(build(0)) - 12) + preview


def make() -> dict[str, bytes]:
    """All of them, by the name of the file."""
    human = block(">", camera(">", "Apple", "iPhone 12", HUMAN), details(">"), apple)
    description = chunk(b"tEXt", b"Description\0" + HUMAN.encode())
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(HUMAN.encode()))
    parameters = itxt("parameters", "a cat\nSteps: 20, Sampler: Euler a")
    scan = BytesIO()
    noise(48, 64).save(scan, "TIFF", tiffinfo={270: HUMAN, 271: "EPSON"})
    return {
        "canon.jpg": taken("<", "Canon", "Canon EOS 40D", HUMAN, canon),
        "nikon.jpg": taken(">", "NIKON CORPORATION", "NIKON D80", "a", nikon),
        "olympus.jpg": taken("<", "OLYMPUS", "C-50Z", "OLYMPUS DIGITAL CAMERA         ", olympus),
        "panasonic.jpg": taken("<", "Panasonic", "DMC-FZ28", " " * 31, panasonic),
        "eos300d.jpg": with_preview("<", "Canon", "Canon EOS 300D", canon, PREVIEW),
        "casio.jpg": with_preview(">", "CASIO COMPUTER CO.,LTD", "EX-Z3", casio, PREVIEW),
        "alpha.jpg": with_preview("<", "SONY", "DSLR-A700", sony, SONY_PREVIEW),
        "sony.jpg": taken("<", "SONY", "DSLR-A200", "SONY DSC", sony),
        "fujifilm.jpg": taken("<", "FUJIFILM", "FinePix F31fd", None, fujifilm),
        "iphone.jpg": iphone(),
        "pixel.jpg": pixel(),
        "dji.jpg": dji(),
        "windows.jpg": windows(),
        "digikam.jpg": digikam(),
        "scanner.jpg": scanner(),
        "plain.jpg": jpeg(),
        "text.png": png(description, comment, itxt("Author", "José")),
        "exif.png": png(chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)), chunk(b"eXIf", human)),
        "diffusion.png": png(parameters, chunk(b"tEXt", b'Comment\0{"steps": 28}')),
        "lossy.webp": webp(quality=80),
        "lossless.webp": webp(lossless=True),
        "exif.webp": webp(exif=human, icc_profile=PROFILE),
        "editor.webp": webp(
            lossless=True, xmp=packet(alternatives("dc:description", ("x-default", HUMAN)))
        ),
        "scan.tif": scan.getvalue(),
    }
