"""Captions in XMP packets: the property dc:description, which may have several languages.

Some programs (Immich, digiKam, ACDSee) also use other properties, which are read and, if they hold
a caption, replaced. Alt text has its own property. Captions by a model are marked in captioner's
own namespace.

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
"""Properties that hold captions, in order of precedence, with their usual prefixes."""
_ALT_TEXT = f"{_IPTC} AltTextAccessibility"
_MODEL, _CONFIDENCE = f"{_OURS} model", f"{_OURS} confidence"
_DIGESTS = {_DESCRIPTION: f"{_OURS} digest", _ALT_TEXT: f"{_OURS} altTextDigest"}
"""Properties that hold the digest of the text a model wrote into another property."""
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
"""An empty packet for embedding; byte order mark and id as in ISO 16684-1, 7.3.2."""

_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_TAG_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*(?:"[^"]*"|'[^']*')""")
_PADDING = re.compile(rb"\s+(?=<\?xpacket end)")
_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""

Span = tuple[int, int]
"""Byte range of a packet, end exclusive."""


def new_sidecar() -> bytes:
    """Return a sidecar without properties."""
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + _EMPTY


def is_bare(packet: bytes) -> bool:
    """Whether a sidecar was created by `new_sidecar` and is empty now."""
    emptied = new_sidecar().replace(b'about=""/>', b'about=""></rdf:Description>')
    return packet in (new_sidecar(), emptied)


def set_caption(
    packet: bytes | None,
    caption: str,
    *,
    over_exif: bool = False,
    fields: Fields = "caption",
    mark: Mark | None = None,
) -> bytes:
    """Write a caption into a packet.

    Args:
        packet: a packet, wrapped or not; None starts a new one.
        caption: text for any language (x-default); empty removes the old caption.
        over_exif: also write tiff:ImageDescription, even if it did not exist.
        fields: whether to write the caption, the alt text, or both.
        mark: marks the caption as written by a model; None for any other caption.

    Returns:
        The packet with the new caption. Captions in other languages are kept, unless they repeat
        the old caption.

    Raises:
        MetadataError: the packet is not XMP, or the caption has characters that XML forbids.
    """
    if forbidden := _FORBIDDEN.search(caption):
        raise MetadataError(
            f"the caption contains {forbidden.group()!r}, which XMP cannot store; remove it."
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
                wanted[key] = _merged(old, caption)
    if fields != "caption":
        wanted[_ALT_TEXT] = _merged(found.properties[_ALT_TEXT], alt_text(caption))
    wanted |= _marks(found, wanted, mark)
    changes: dict[str, bytes] = {}
    for key, texts in wanted.items():
        old = found.properties[key]
        if texts != old.texts or old.attributes or len(old.elements) > 1:
            changes[key] = _property(key, texts) if texts else b""
    return _splice(packet, found, changes) if changes else packet


def _merged(old: "_Property", caption: str) -> dict[str, str]:
    """Merge a caption with those in other languages that do not repeat the old caption."""
    outdated = old.texts.get(_DEFAULT)
    others = {
        language: text
        for language, text in old.texts.items()
        if language.lower() != _DEFAULT and text != outdated
    }
    if caption:
        return {_DEFAULT: caption, **others}
    return {language: text for language, text in others.items() if text}


def _marks(
    found: "_Found", wanted: dict[str, dict[str, str]], mark: Mark | None
) -> dict[str, dict[str, str]]:
    """Return the marks of the properties that change; other marks are kept."""
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
    """Return the default-language captions, dc:description first.

    Raises:
        MetadataError: the packet is not XMP.
    """
    keys = [] if fields == "alt-text" else [*_PREFIXES]
    keys += [] if fields == "caption" else [_ALT_TEXT]
    properties = _read(packet).properties
    captions = (_caption_of(properties[key]) for key in keys)
    return [caption for caption in captions if caption is not None]


def get_digests(packet: bytes) -> frozenset[str]:
    """Return the digests of texts that models wrote.

    Raises:
        MetadataError: the packet is not XMP.
    """
    properties = _read(packet).properties
    return frozenset(text for key in _DIGESTS.values() for text in properties[key].texts.values())


def without_padding(packet: bytes) -> bytes:
    """Remove the padding at the end of a packet."""
    return _PADDING.sub(b"\n", packet)


@dataclass
class _Property:
    """Occurrences of one property in a packet."""

    elements: list[Span] = field(default_factory=list)
    """Occurrences as an element, from start tag to end tag."""
    attributes: list[Span] = field(default_factory=list)
    """Occurrences as an attribute of rdf:Description, as some writers use it."""
    texts: dict[str, str] = field(default_factory=dict)
    """Text by language."""


@dataclass
class _Found:
    """Captions and marks of a packet, with their positions."""

    holders: list[Span] = field(default_factory=list)
    """Start tags of rdf:RDF."""
    descriptions: list[Span] = field(default_factory=list)
    """Start tags of rdf:Description, the parent of all properties."""
    properties: dict[str, _Property] = field(
        default_factory=lambda: {key: _Property() for key in _ALL_PREFIXES}
    )


def _caption_of(found: _Property) -> str | None:
    """Return the default-language caption, or else the first."""
    texts = [found.texts.get(_DEFAULT), *found.texts.values()]
    return next((caption for caption in map(caption_in, texts) if caption is not None), None)


class _Parser:
    """Parses a packet and records the byte range of the caption."""

    def __init__(self, packet: bytes) -> None:
        self.packet, self.found = packet, _Found()
        self.path: list[str] = []  # names of the open elements, `namespace local`
        self.begun: int | None = None  # offset of the open property
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
            raise MetadataError(f"its XMP is encoded in {encoding}; convert it to UTF-8 first.")

    def _doctype(self, *_: object) -> None:
        raise MetadataError(
            "its XMP has a document type declaration, which is unsafe and never needed; remove the "
            "XMP first."
        )

    def _tag(self, start: int | None = None) -> Span:
        """Return the byte range of the tag at `start`, or of the current tag."""
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
            if self.language is None and self.text.strip():  # plain text instead of rdf:Alt
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
        """Return the byte range of an attribute of the current start tag."""
        _, local, prefix = full.split(" ")
        start, end = self._tag()
        _, name_end = _span(_TAG_NAME, self.packet, start)
        attributes = _ATTRIBUTE.finditer(self.packet, name_end, end)
        spans = {found.group(1): found.span() for found in attributes}
        return spans[f"{prefix}:{local}".encode()]


def _span(pattern: re.Pattern[bytes], packet: bytes, start: int) -> Span:
    """Return the byte range of a match, which the parser guarantees."""
    found = pattern.match(packet, start)
    assert found is not None
    return found.span()


def _unprefixed(full: str) -> str:
    """Drop the prefix from expat's `namespace local prefix`."""
    return " ".join(full.split(" ")[:2])


def _read(packet: bytes) -> _Found:
    parser = _Parser(packet)
    try:
        packet.decode()  # expat also accepts UTF-16, which cannot be edited here
        parser.expat.Parse(packet.rstrip(b"\0"), True)  # some writers append a NUL
    except UnicodeDecodeError as error:
        raise MetadataError("its XMP is not UTF-8; convert it first.") from error
    except expat.ExpatError as error:
        raise MetadataError(f"its XMP is damaged ({error}); remove it first.") from error
    if not parser.found.holders:
        raise MetadataError("its XMP has no rdf:RDF element; remove it first.")
    return parser.found


def _property(key: str, texts: dict[str, str]) -> bytes:
    """Serialise a property that declares its own prefixes, so that it can go anywhere."""
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
    """Replace properties in place, or insert them before all others."""
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
    """Return the edit (start, end, replacement) that inserts a first child element."""
    start, end = parent
    if not packet.endswith(b"/>", 0, end):
        return end, end, child
    _, name_end = _span(_TAG_NAME, packet, start)
    return end - 2, end, b">" + child + b"</" + packet[start + 1 : name_end] + b">"
