"""The caption in an XMP packet: the property dc:description, an alternative in several languages.

Some programs (Immich, digiKam, ACDSee) also use other properties, which are read and, if they hold
a caption, replaced. Alt text has its own property. Captions by a model are marked in a namespace of
this program.

An existing packet is edited, not rewritten: the parser reports the byte range of the caption, and
everything else is preserved byte for byte.

Source: ISO 16684-1 (XMP specification part 1), sections 7 (RDF/XML) and 8.2.2.4 (alternatives).
"""

import re
from dataclasses import dataclass, field
from html import escape  # saxutils brings in urllib
from xml.parsers import expat

from captioner.errors import MetadataError
from captioner.metadata.marks import Fields, Mark, alt_text, text_digest
from captioner.metadata.placeholders import caption_in

_DC = "http://purl.org/dc/elements/1.1/"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_ACDSEE = "http://ns.acdsee.com/iptc/1.0/"
_IPTC = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_OURS = "urn:captioner:xmp:1/"
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
_ALT_TEXT = f"{_IPTC} AltTextAccessibility"
_MODEL, _CONFIDENCE = f"{_OURS} model", f"{_OURS} confidence"
_DIGESTS = {_DESCRIPTION: f"{_OURS} digest", _ALT_TEXT: f"{_OURS} altTextDigest"}
"""Where the digest of what a model wrote into a property stands."""
_ALL_PREFIXES = _PREFIXES | {
    _ALT_TEXT: "Iptc4xmpCore",
    **dict.fromkeys((_MODEL, _CONFIDENCE, *_DIGESTS.values()), "captioner"),
}

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
    """Return a sidecar without properties."""
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + _EMPTY


def is_bare(packet: bytes) -> bool:
    """Whether a sidecar was made by `new_sidecar` and is empty now."""
    emptied = new_sidecar().replace(b'about=""/>', b'about=""></rdf:Description>')
    return packet in (new_sidecar(), emptied)


def set_caption(
    packet: bytes | None,
    caption: str,
    *,
    language: str | None = None,
    over_exif: bool = False,
    fields: Fields = "caption",
    mark: Mark | None = None,
) -> bytes:
    """Put a caption into a packet.

    Args:
        packet: a packet, wrapped or not; None starts one.
        caption: the text, for any language; an empty one removes the old caption.
        language: also store it under this language, such as `en`.
        over_exif: also write tiff:ImageDescription, even if there is none.
        fields: whether it is the caption, the alt text, or both.
        mark: whose it is; None for a caption that no model wrote.

    Returns:
        The packet with the new caption. Captions in other languages are kept, except copies of the
        old one.

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
    wanted: dict[str, dict[str, str]] = {}
    if fields != "alt-text":
        always = (_DESCRIPTION, _OVER_EXIF) if over_exif else (_DESCRIPTION,)
        for key in _PREFIXES:
            old = found.properties[key]
            if key in always or _caption_of(old) is not None:
                wanted[key] = _merged(old, caption, language if key == _DESCRIPTION else None)
    if fields != "caption":
        wanted[_ALT_TEXT] = _merged(found.properties[_ALT_TEXT], alt_text(caption), language)
    wanted |= _marks(found, wanted, mark)
    changes: dict[str, bytes] = {}
    for key, texts in wanted.items():
        old = found.properties[key]
        if texts != old.texts or old.attributes or len(old.elements) > 1:
            changes[key] = _property(key, texts) if texts else b""
    return _splice(packet, found, changes) if changes else packet


def _merged(old: "_Property", caption: str, language: str | None) -> dict[str, str]:
    """A caption by language, with those in further languages that are no copies of the old one."""
    own = {_DEFAULT: caption} | ({language: caption} if language else {})
    taken, outdated = {written.lower() for written in own}, old.texts.get(_DEFAULT)
    own |= {
        other: text
        for other, text in old.texts.items()
        if other.lower() not in taken and text != outdated
    }
    return own if caption else {other: text for other, text in own.items() if text}


def _marks(
    found: "_Found", wanted: dict[str, dict[str, str]], mark: Mark | None
) -> dict[str, dict[str, str]]:
    """What is said of the properties that change; of the others it stays."""
    digests = {
        place: text_digest(wanted[key].get(_DEFAULT, "")) if mark else None
        for key, place in _DIGESTS.items()
        if key in wanted
    }
    others = any(found.properties[place].texts for place in set(_DIGESTS.values()) - set(digests))
    said: dict[str, str | None] = dict(digests)
    if mark or not others:
        confidence = mark.confidence if mark else None
        said |= {
            _MODEL: mark.model if mark else None,
            _CONFIDENCE: None if confidence is None else str(confidence),
        }
    return {place: {_DEFAULT: text} if text else {} for place, text in said.items()}


def get_captions(packet: bytes, *, fields: Fields = "caption") -> list[str]:
    """Read the captions for any language, dc:description first.

    Raises:
        MetadataError: the packet is no XMP.
    """
    keys = [] if fields == "alt-text" else [*_PREFIXES]
    keys += [] if fields == "caption" else [_ALT_TEXT]
    properties = _read(packet).properties
    captions = (_caption_of(properties[key]) for key in keys)
    return [caption for caption in captions if caption is not None]


def get_digests(packet: bytes) -> frozenset[str]:
    """Read the digests of what models wrote.

    Raises:
        MetadataError: the packet is no XMP.
    """
    properties = _read(packet).properties
    return frozenset(text for key in _DIGESTS.values() for text in properties[key].texts.values())


def without_padding(packet: bytes) -> bytes:
    """Remove the padding at the end of a packet."""
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
        default_factory=lambda: {key: _Property() for key in _ALL_PREFIXES}
    )


def _caption_of(found: _Property) -> str | None:
    """The caption for every reader, or else the first."""
    texts = [found.texts.get(_DEFAULT), *found.texts.values()]
    return next((caption for caption in map(caption_in, texts) if caption is not None), None)


class _Parser:
    """Parses a packet and records the byte range of the caption."""

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
    prefix = _ALL_PREFIXES[key]
    tag = f"{prefix}:{local}"
    if namespace in (_ACDSEE, _OURS):  # plain text
        return f'<{tag} xmlns:{prefix}="{namespace}">{_escaped(texts[_DEFAULT])}</{tag}>'.encode()
    items = "".join(
        f'<rdf:li xml:lang="{escape(language)}">{_escaped(text)}</rdf:li>'
        for language, text in texts.items()
    )
    return (
        f'<{tag} xmlns:{prefix}="{namespace}" xmlns:rdf="{_RDF}"><rdf:Alt>{items}</rdf:Alt></{tag}>'
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
