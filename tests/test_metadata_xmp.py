"""The caption in XMP packets that others have written."""

import pytest

from captioner.errors import MetadataError
from captioner.metadata import read_sidecar_captions, sidecar
from tests.written import read_sidecar

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
CAPTION = f'<dc:description {DC} {RDF}><rdf:Alt><rdf:li xml:lang="x-default">new</rdf:li></rdf:Alt>'
CAPTION += "</dc:description>"

RICH = f"""\
<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<!-- a comment with <dc:description>nothing</dc:description> -->
<x:xmpmeta xmlns:x='adobe:ns:meta/'>
<rdf:RDF {RDF}><rdf:Description rdf:about='' xmlns:xmp='http://ns.adobe.com/xap/1.0/'
  xmp:Rating = '5' xmp:Label="a > b &#10; &quot;">
  <dc:subject {DC}><rdf:Bag><rdf:li>dog</rdf:li></rdf:Bag></dc:subject>
  <d:description xmlns:d='http://purl.org/dc/elements/1.1/'>
    <rdf:Alt>
     <rdf:li xml:lang='x-default'>old &amp; gray</rdf:li>
     <rdf:li xml:lang='en-US'>old &amp; gray</rdf:li>
     <rdf:li xml:lang='de-DE'>alt</rdf:li>
    </rdf:Alt>
  </d:description >
  <xmp:CreatorTool><![CDATA[<&>]]></xmp:CreatorTool>
</rdf:Description></rdf:RDF>
</x:xmpmeta>
          \t
<?xpacket end='w'?>"""


def put(packet: str, caption: str = "new", **options) -> str:
    changed = sidecar(caption, packet.encode(), name="p.xmp", **options).decode()
    assert read_sidecar(changed.encode(), name="p.xmp") == caption
    return changed


def described(inside: str, attributes: str = "") -> str:
    return f'<rdf:RDF {RDF}><rdf:Description rdf:about=""{attributes}{inside}</rdf:RDF>'


def error(packet: str | bytes) -> str:
    content = packet.encode() if isinstance(packet, str) else packet
    with pytest.raises(MetadataError) as caught:
        sidecar("new", content, name="p.xmp")
    with pytest.raises(MetadataError, match=r"^p\.xmp: "):
        read_sidecar(content, name="p.xmp")
    return str(caught.value)


def test_only_the_caption_changes_and_other_languages_stay_but_copies_of_it():
    start, end = RICH.index("<d:description"), RICH.index("  <xmp:CreatorTool")
    german = '<rdf:li xml:lang="de-DE">alt</rdf:li></rdf:Alt>'
    expected = CAPTION.replace("</rdf:Alt>", german) + "\n"
    assert read_sidecar(RICH.encode(), name="p") == "old & gray"
    assert put(RICH) == RICH[:start] + expected + RICH[end:]


def test_a_packet_that_has_the_caption_is_unchanged():
    once = put(RICH)
    assert put(once) == once


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (described("/>"), described(f">{CAPTION}</rdf:Description>")),
        (described("></rdf:Description>"), described(f">{CAPTION}</rdf:Description>")),
        (
            described("/>", f' {DC} dc:description="a > b" dc:title="t"'),
            described(f">{CAPTION}</rdf:Description>", f' {DC} dc:title="t"'),
        ),
        (
            described(f"><dc:description {DC}>plain</dc:description></rdf:Description>"),
            described(f">{CAPTION}</rdf:Description>"),
        ),
        (
            described(f"><dc:description {DC}/></rdf:Description>"),
            described(f">{CAPTION}</rdf:Description>"),
        ),
        (
            f"<rdf:RDF {RDF}/>",
            f'<rdf:RDF {RDF}><rdf:Description {RDF} rdf:about="">{CAPTION}</rdf:Description>'
            "</rdf:RDF>",
        ),
        (
            '<R:RDF xmlns:R="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><R:Description/></R:RDF>',
            '<R:RDF xmlns:R="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f"<R:Description>{CAPTION}</R:Description></R:RDF>",
        ),
        ("\ufeff" + described("/>"), "\ufeff" + described(f">{CAPTION}</rdf:Description>")),
        (described("/>") + "\0\0", described(f">{CAPTION}</rdf:Description>") + "\0\0"),
    ],
    ids=[
        "empty", "open", "attribute", "plain text", "no text", "no description", "other prefix",
        "byte order mark", "ends like a C string",
    ],
)  # fmt: skip
def test_the_caption_finds_its_place_however_the_packet_is_written(packet, expected):
    assert put(packet) == expected


def test_of_several_captions_one_is_left():
    twice = described(
        f"><dc:description {DC}>a</dc:description></rdf:Description>"
        f"<rdf:Description><dc:description {DC}>b</dc:description></rdf:Description>"
    )
    assert put(twice) == described(
        f">{CAPTION}</rdf:Description><rdf:Description></rdf:Description>"
    )


def test_a_caption_of_something_in_the_photo_is_not_the_photos():
    face = (
        '<m:Regions xmlns:m="m"><rdf:Bag><rdf:li><rdf:Description>'
        f"<dc:description {DC}>a face</dc:description></rdf:Description></rdf:li></rdf:Bag>"
        "</m:Regions>"
    )
    packet = described(f">{face}</rdf:Description>")
    assert read_sidecar(packet.encode(), name="p") is None
    assert put(packet) == described(f">{CAPTION}{face}</rdf:Description>")


def test_without_a_caption_for_all_the_first_language_is_read():
    packet = put(RICH).replace("x-default", "fr")
    assert read_sidecar(packet.encode(), name="p") == "new"


def test_line_ends_and_quotes_survive():
    for caption in ("a\r\nb\rc\nd", "]]>", "\"'&lt;", "  spaced  "):
        put(RICH, caption)


def test_captions_in_other_properties_are_read_and_replaced_and_what_is_none_stays():
    namespaces = (
        ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        ' xmlns:acdsee="http://ns.acdsee.com/iptc/1.0/"'
    )

    def packet(tiff: str, comment: str, notes: str, caption: str = "") -> str:
        def alternatives(name: str, text: str) -> str:
            uri = f"http://ns.adobe.com/{name.partition(':')[0]}/1.0/"
            prefix = name.partition(":")[0]
            return (
                f'<{name} xmlns:{prefix}="{uri}" {RDF}><rdf:Alt><rdf:li xml:lang="x-default">'
                f"{text}</rdf:li></rdf:Alt></{name}>"
            )

        return described(
            f">{caption}{alternatives('tiff:ImageDescription', tiff)}"
            f"{alternatives('exif:UserComment', comment)}<acdsee:notes "
            f'xmlns:acdsee="http://ns.acdsee.com/iptc/1.0/">{notes}</acdsee:notes>'
            "</rdf:Description>",
            namespaces,
        )

    old = packet("Rome", "SONY DSC", "Rome, 1974")
    assert read_sidecar_captions(old.encode(), name="p") == ["Rome, 1974"]
    assert put(old) == packet("new", "SONY DSC", "new", CAPTION)
    as_attributes = described("/>", f'{namespaces} tiff:ImageDescription="Rome" acdsee:notes="x"')
    changed = put(as_attributes)
    assert "Rome" not in changed
    assert changed.count(">new<") == 3
    assert put(changed) == changed


@pytest.mark.parametrize("blank", ["", " \n", "\0\0", "\ufeff"])
def test_blanks_are_no_caption_and_a_blank_sidecar_is_started_anew(blank):
    packet = described(f">{CAPTION.replace('new', blank.strip(chr(0)))}</rdf:Description>")
    assert read_sidecar(packet.encode(), name="p") is None
    assert put(packet) == described(f">{CAPTION}</rdf:Description>")
    assert read_sidecar(blank.encode(), name="p") is None
    assert put(blank) == sidecar("new", name="p").decode()


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        ("-", "p.xmp: its XMP is damaged (syntax error: line 1, column 0); remove it first."),
        (
            "<a><b></a>",
            "p.xmp: its XMP is damaged (mismatched tag: line 1, column 8); remove it first.",
        ),
        ("<a/>", "p.xmp: its XMP has no rdf:RDF element; remove it first."),
        (
            '<?xml version="1.0" encoding="ISO-8859-1"?><a/>',
            "p.xmp: its XMP is encoded in ISO-8859-1; convert it to UTF-8 first.",
        ),
        (
            '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
            "p.xmp: its XMP has a document type declaration, which is unsafe and never needed; "
            "remove the XMP first.",
        ),
        (
            described("/>").encode("utf-16"),
            "p.xmp: its XMP is not UTF-8; convert it first.",
        ),
    ],
)
def test_what_is_no_xmp_is_refused(packet, text):
    assert error(packet) == text


def test_a_packet_nested_deep_is_read_or_refused_without_crashing():
    deep = "<a>" * 100_000 + "</a>" * 100_000
    assert put(described(f">{deep}</rdf:Description>")).endswith("</rdf:RDF>")
