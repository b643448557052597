"""The caption in an XMP packet: the property dc:description, an alternative in several languages.

Some programs (Immich, digiKam, ACDSee) keep it in another property, too; that one is read, and
where it holds a caption it gets the new one.

A packet that exists is not written anew. The parser tells where in its bytes the caption lies, and
only there it is changed; every other property, comment and blank stays the byte it was.

Source: ISO 16684-1 (XMP specification part 1), sections 7 (RDF/XML) and 8.2.2.4 (alternatives).
"""

import re
from dataclasses import dataclass, field
from html import escape  # saxutils brings in urllib
from xml.parsers import expat

from captioner.errors import MetadataError
from captioner.metadata.placeholders import caption_in

_DC = "http://purl.org/dc/elements/1.1/"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_ACDSEE = "http://ns.acdsee.com/iptc/1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML = "http://www.w3.org/XML/1998/namespace"
_DEFAULT = "x-default"

_DESCRIPTION, _OVER_EXIF = f"{_DC} description", f"{_TIFF} ImageDescription"
_PREFIXES = {
    _DESCRIPTION: "dc",
    _OVER_EXIF: "tiff",
    f"{_EXIF} UserComment": "exif",
    f"{_ACDSEE} notes": "acdsee",
}
"""Properties that hold captions, those read first in front, each with its usual prefix."""

_EMPTY = f"""\
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="captioner">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
""".encode()
_WRAPPED = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
    + _EMPTY
    + b'<?xpacket end="w"?>'
)
"""An empty packet as photos hold it; the mark and the id are the ones of ISO 16684-1, 7.3.2."""

_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_TAG_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*(?:"[^"]*"|'[^']*')""")
_PADDING = re.compile(rb"\s+(?=<\?xpacket end)")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""

Span = tuple[int, int]
"""Bytes of a packet, from the first to before the last."""


def new_sidecar() -> bytes:
    """A sidecar file without properties."""
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + _EMPTY


def set_caption(
    packet: bytes | None,
    caption: str,
    *,
    language: str | None,
    over_exif: bool = False,
) -> bytes:
    """Put a caption into a packet.

    Args:
        packet: a packet, wrapped or not; None starts one.
        caption: the text, for every reader.
        language: the caption's language too, such as `en`, so that readers may ask for it.
        over_exif: put it into tiff:ImageDescription, too, even if there is none.

    Returns:
        The packet, its old caption replaced. Captions in further languages stay, except copies of
        the old one.

    Raises:
        MetadataError: the packet is no XMP, or the caption has characters that XML cannot hold.
    """
    if forbidden := _FORBIDDEN.search(caption):
        raise MetadataError(
            f"the caption holds {forbidden.group()!r}, which XMP cannot store; remove it."
        )
    if packet is None:
        packet = _WRAPPED
    found = _read(packet)
    own = {_DEFAULT: caption} | ({language: caption} if language else {})
    changes: dict[str, bytes] = {}
    always = (_DESCRIPTION, _OVER_EXIF) if over_exif else (_DESCRIPTION,)
    for key, old in found.properties.items():
        if key not in always and _caption_of(old) is None:
            continue
        outdated = old.texts.get(_DEFAULT)
        texts = own if key == _DESCRIPTION else {_DEFAULT: caption}
        taken = {written.lower() for written in texts}
        texts = texts | {
            other: text
            for other, text in old.texts.items()
            if other.lower() not in taken and text != outdated
        }
        if texts != old.texts or old.attributes or len(old.elements) != 1:
            changes[key] = _property(key, texts)
    return _splice(packet, found, changes) if changes else packet


def get_captions(packet: bytes) -> list[str]:
    """Read the captions, dc:description first; of each, the one for readers of any language.

    Raises:
        MetadataError: the packet is no XMP.
    """
    captions = (_caption_of(found) for found in _read(packet).properties.values())
    return [caption for caption in captions if caption is not None]


def without_padding(packet: bytes) -> bytes:
    """Take out the blanks that writers leave at the end for others to write into."""
    return _PADDING.sub(b"\n", packet)


@dataclass
class _Property:
    """What a packet says in one of the properties."""

    elements: list[Span] = field(default_factory=list)
    """As it should be: an element, from its start tag to its end tag."""
    attributes: list[Span] = field(default_factory=list)
    """As an attribute of rdf:Description, as some writers put it."""
    texts: dict[str, str] = field(default_factory=dict)
    """The caption by language."""


@dataclass
class _Found:
    """What a packet says about its caption."""

    holders: list[Span] = field(default_factory=list)
    """Start tags of rdf:RDF."""
    descriptions: list[Span] = field(default_factory=list)
    """Start tags of rdf:Description, which hold the properties."""
    properties: dict[str, _Property] = field(
        default_factory=lambda: {key: _Property() for key in _PREFIXES}
    )


def _caption_of(found: _Property) -> str | None:
    """The caption for every reader, or else the first."""
    texts = [found.texts.get(_DEFAULT), *found.texts.values()]
    return next((caption for caption in map(caption_in, texts) if caption is not None), None)


class _Parser:
    """Walks through a packet and notes where the caption lies."""

    def __init__(self, packet: bytes) -> None:
        self.packet, self.found = packet, _Found()
        self.path: list[str] = []  # names of the open elements, `namespace local`
        self.begun: int | None = None  # where the open property begins
        self.open = _Property()  # that property
        self.language: str | None = None  # of the open rdf:li
        self.text = ""
        self.expat = expat.ParserCreate("utf-8", " ")
        self.expat.namespace_prefixes = True
        self.expat.XmlDeclHandler = self._declaration
        self.expat.StartDoctypeDeclHandler = self._doctype
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end
        self.expat.CharacterDataHandler = self._characters

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            raise MetadataError(f"its XMP is written in {encoding}; convert it to UTF-8 first.")

    def _doctype(self, *_: object) -> None:
        raise MetadataError(
            "its XMP declares a document type, which XMP never needs and attacks use; remove the "
            "XMP first."
        )

    def _tag(self, start: int | None = None) -> Span:
        """Where the tag that begins there, or else the current one, stands."""
        start = self.expat.CurrentByteIndex if start is None else start
        return _span(_TAG, self.packet, start)

    def _start(self, full: str, attributes: dict[str, str]) -> None:
        element = _unprefixed(full)
        parent = self.path[-1] if self.path else None
        self.path.append(element)
        if element == f"{_RDF} RDF":
            self.found.holders.append(self._tag())
        elif element == f"{_RDF} Description" and parent == f"{_RDF} RDF":
            self.found.descriptions.append(self._tag())
            for attribute, value in attributes.items():
                written = self.found.properties.get(_unprefixed(attribute))
                if written is not None:
                    written.texts.setdefault(_DEFAULT, value)
                    written.attributes.append(self._attribute(attribute))
        elif element in self.found.properties and self._in_description():
            self.begun = self.expat.CurrentByteIndex
            self.open = self.found.properties[element]
            self.text, self.language = "", None
        elif element == f"{_RDF} li" and self.begun is not None:
            languages = (v for k, v in attributes.items() if _unprefixed(k) == f"{_XML} lang")
            self.text, self.language = "", next(languages, _DEFAULT)

    def _end(self, full: str) -> None:
        element = _unprefixed(full)
        if element == f"{_RDF} li" and self.begun is not None and self.language is not None:
            self.open.texts.setdefault(self.language, self.text)
        elif self.begun is not None and self._in_description():
            if self.language is None and self.text.strip():  # plain text, as some writers put it
                self.open.texts.setdefault(_DEFAULT, self.text.strip())
            _, end = self._tag(self.begun)
            closed = self.packet.endswith(b"/>", 0, end)
            self.open.elements.append((self.begun, end if closed else self._tag()[1]))
            self.begun = None
        self.path.pop()

    def _characters(self, text: str) -> None:
        if self.begun is not None:
            self.text += text

    def _in_description(self) -> bool:
        """Whether the current element is a property of the photo itself."""
        return self.path[-3:-1] == [f"{_RDF} RDF", f"{_RDF} Description"]

    def _attribute(self, full: str) -> Span:
        """Where an attribute stands in the current start tag."""
        _, local, prefix = full.split(" ")
        start, end = self._tag()
        _, name_end = _span(_TAG_NAME, self.packet, start)
        attributes = _ATTRIBUTE.finditer(self.packet, name_end, end)
        spans = {found.group(1): found.span() for found in attributes}
        return spans[f"{prefix}:{local}".encode()]


def _span(pattern: re.Pattern[bytes], packet: bytes, start: int) -> Span:
    """Where a part of a tag stands that the parser has read."""
    found = pattern.match(packet, start)
    assert found is not None
    return found.span()


def _unprefixed(full: str) -> str:
    """Expat's `namespace local prefix` without the prefix."""
    return " ".join(full.split(" ")[:2])


def _read(packet: bytes) -> _Found:
    parser = _Parser(packet)
    try:
        packet.decode()  # the parser takes UTF-16 too, and there the caption could not be put in
        parser.expat.Parse(packet.rstrip(b"\0"), True)  # some writers end it like a C string
    except UnicodeDecodeError as error:
        raise MetadataError("its XMP is not in UTF-8; convert it first.") from error
    except expat.ExpatError as error:
        raise MetadataError(f"its XMP is damaged ({error}); remove it first.") from error
    if not parser.found.holders:
        raise MetadataError("its XMP holds no rdf:RDF; remove it first.")
    return parser.found


def _property(key: str, texts: dict[str, str]) -> bytes:
    """A property by itself: it declares its own prefixes and can stand anywhere."""
    namespace, local = key.split(" ")
    tag = f"{_PREFIXES[key]}:{local}"
    if namespace == _ACDSEE:  # plain text
        return f'<{tag} xmlns:acdsee="{namespace}">{_escaped(texts[_DEFAULT])}</{tag}>'.encode()
    items = "".join(
        f'<rdf:li xml:lang="{escape(language)}">{_escaped(text)}</rdf:li>'
        for language, text in texts.items()
    )
    return (
        f'<{tag} xmlns:{_PREFIXES[key]}="{namespace}" xmlns:rdf="{_RDF}">'
        f"<rdf:Alt>{items}</rdf:Alt></{tag}>"
    ).encode()


def _escaped(text: str) -> str:
    return escape(text, quote=False).replace("\r", "&#13;")


def _splice(packet: bytes, found: _Found, captions: dict[str, bytes]) -> bytes:
    """Put new properties where the old ones were, or else first among the properties."""
    changes, added = [], b""
    for key, caption in captions.items():
        old = found.properties[key]
        changes += [(start, end, b"") for start, end in old.elements[1:] + old.attributes]
        if old.elements:
            changes.append((*old.elements[0], caption))
        else:
            added += caption
    if added and found.descriptions:
        changes.append(_first_child(packet, found.descriptions[0], added))
    elif added:
        about = f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="">'.encode()
        child = about + added + b"</rdf:Description>"
        changes.append(_first_child(packet, found.holders[0], child))
    for start, end, new in sorted(changes, reverse=True):
        packet = packet[:start] + new + packet[end:]
    return packet


def _first_child(packet: bytes, parent: Span, child: bytes) -> tuple[int, int, bytes]:
    """The bytes to replace, and by what, to put an element right behind a start tag."""
    start, end = parent
    if not packet.endswith(b"/>", 0, end):
        return end, end, child
    _, name_end = _span(_TAG_NAME, packet, start)
    return end - 2, end, b">" + child + b"</" + packet[start + 1 : name_end] + b">"
