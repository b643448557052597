"""A page to browse captioned photos, its pictures next to it."""

import os
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from captioner.config import PreprocessConfig
from captioner.gallery import GalleryPhoto, write_gallery
from captioner.overlay import Style
from captioner.photo.framing import fit_geometry
from tests.captions import caption_of, one_hot, word
from tests.photos import encode, noise, quarters

WORDS = [
    {"word": "red", "attention": {"grid": [2, 2], "weights": [[1.0, 0.0], [0.0, 0.0]]}},
    {"word": "grass", "attention": {"grid": [2, 2], "weights": [[0.0, 0.0], [0.0, 1.0]]}},
]
SQUASHED = fit_geometry(quarters().height, quarters().width, PreprocessConfig())


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text of the cards."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.raw: dict[str, str] = {}
        self.feed((folder / "index.html").read_text())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if not self.elements:
            return
        if self.elements[-1][0] in ("style", "script") and data.strip():
            self.raw.setdefault(self.elements[-1][0], data)
        elif self.elements[-1][0] in ("figcaption", "b", "div", "p"):
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def entry(n: int = 0, **changed) -> GalleryPhoto:
    values = {"name": f"{n}.png", "source": encode(quarters(), "PNG"), "caption": "red grass"}
    return GalleryPhoto(**values | changed)


def test_a_card_shows_the_photo_its_caption_and_its_name(tmp_path):
    photo = tmp_path / "a photo é#1.png"
    noise(400, 800).save(photo)
    shown = write_gallery(
        tmp_path / "gallery",
        [entry(name="a/b.png", source=photo, caption="a dog & a cat"), entry(caption="red")],
        title="Mine <3",
    )
    page = Page(tmp_path / "gallery")
    assert shown == 2
    assert page.text.split() == ["a", "dog", "&", "a", "cat", "a/b.png", "red", "0.png"]
    first, second = page.all("img")
    assert first["alt"] == "a dog & a cat"
    assert first["loading"] == "lazy"
    with Image.open(tmp_path / "gallery" / first["src"]) as thumbnail:
        assert thumbnail.size == (int(first["width"]), int(first["height"])) == (320, 160)
    with Image.open(tmp_path / "gallery" / second["src"]) as thumbnail:
        assert thumbnail.size == (48, 32)  # a small photo is not enlarged
    (link,) = page.all("a")  # bytes have no place to go to
    assert (tmp_path / "gallery" / unquote(link["href"])).resolve() == photo
    assert "<title>Mine &lt;3</title>" in (tmp_path / "gallery" / "index.html").read_text()


def test_nothing_in_a_name_or_a_caption_becomes_part_of_the_page(tmp_path):
    evil = "</script><script>alert(\"1\")</script><img src=x onerror='alert(2)'>\n\0\ud800&amp;"
    source = encode(quarters(), "PNG")
    words = [dict(WORDS[0], word='"><b onclick=alert(3)>')]
    entries = [
        entry(name=evil, source=source, caption=evil),
        entry(name="b", caption='x "><b onclick=alert(3)> y', words=words, geometry=SQUASHED),
    ]
    write_gallery(tmp_path, entries, title=evil)
    page = Page(tmp_path)
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert len(page.all("img")) == len(page.all("figure")) == 2
    assert not any("onclick" in name or "onerror" in name for _, a in page.elements for name in a)
    shown = "</script><script>alert(\"1\")</script><img src=x onerror='alert(2)'> &amp;"
    assert [image["alt"] for image in page.all("img")] == [shown, 'x "><b onclick=alert(3)> y']


def test_the_policy_allows_the_pages_own_style_and_script_and_pictures_and_no_more(tmp_path):
    write_gallery(tmp_path, [entry()])
    page = Page(tmp_path)
    (policy,) = (m["content"] for m in page.all("meta") if "http-equiv" in m)
    digests = {
        kind: f"'sha256-{b64encode(sha256(page.raw[kind].encode()).digest()).decode()}'"
        for kind in ("style", "script")
    }
    assert policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' file:; "
        f"style-src {digests['style']}; script-src {digests['script']}"
    )
    assert not any("style" in attributes for _, attributes in page.elements)
    assert "http:" not in page.raw["script"]
    assert "https:" not in page.raw["script"]


def test_every_word_has_a_layer_of_heat_where_the_model_looked(tmp_path):
    entries = [entry(words=WORDS, caption="It is red like grass.", geometry=SQUASHED)]
    write_gallery(tmp_path, entries, style=Style(smooth=False))
    page = Page(tmp_path)
    (figure,) = page.all("figure")
    assert figure["data-words"] == "2"
    assert [b["data-n"] for b in page.all("b")] == ["0", "1"]
    assert page.text.startswith("It is red like grass.")
    with Image.open(tmp_path / figure["data-heat"]) as sheet:
        assert sheet.size == (64, 2 * 43)
        light = np.asarray(sheet.convert("RGBA").convert("RGB")).astype(int).sum(axis=2)
    bright = light > light.max() / 2
    red, grass = bright[:43], bright[43:]
    assert red[:21, :32].all()
    assert not red[22:].any()
    assert not red[:, 32:].any()
    assert grass[22:, 32:].all()
    assert not grass[:21].any()


def test_what_is_to_be_doubted_is_marked(tmp_path):
    words = [dict(WORDS[0], doubtful=True), dict(WORDS[1], doubtful=False)]
    entries = [
        entry(words=words, geometry=SQUASHED, doubts=["low confidence", "not a photo?"]),
        entry(1, words=words[1:], geometry=SQUASHED, caption="grass"),
    ]
    write_gallery(tmp_path, entries)
    page = Page(tmp_path)
    assert [b.get("title") for b in page.all("b")] == ["doubtful", None, None]
    assert [span["class"] for span in page.all("span") if "doubt" in span["class"]] == ["doubt"]
    assert "low confidence, not a photo?" in (tmp_path / "index.html").read_text()


def test_the_heat_of_a_letterboxed_photo_lies_on_the_photo(tmp_path):
    photo = quarters(40, 80)
    caption = caption_of(
        photo, [word("top", one_hot((4, 4), 1, 0))], fit="letterbox", height=64, width=64
    )
    write_gallery(
        tmp_path,
        [
            GalleryPhoto(
                name="n",
                source=photo,
                caption=caption.text,
                words=caption.to_dict()["words"],
                geometry=caption.geometry,
            )
        ],
        style=Style(smooth=False),
    )
    with Image.open(tmp_path / Page(tmp_path).all("figure")[0]["data-heat"]) as sheet:
        light = np.asarray(sheet.convert("RGBA").convert("RGB")).astype(int).sum(axis=2)
    assert light.shape == (32, 64)
    bright = light > light.max() / 2  # the second of four rows is the photo's upper half
    assert bright[:16, :16].all()
    assert bright.sum() == 16 * 16


def test_without_a_geometry_and_settings_there_is_no_heat(tmp_path):
    write_gallery(tmp_path, [entry(words=WORDS)])
    page = Page(tmp_path)
    assert page.all("b") == []
    assert "data-heat" not in page.all("figure")[0]
    assert list(tmp_path.glob("pictures/*.png")) == []


def test_a_photo_that_is_gone_keeps_its_caption(tmp_path):
    write_gallery(tmp_path, [entry(source=tmp_path / "gone.jpg", caption="a dog", words=WORDS)])
    assert Page(tmp_path).text.split("\n")[0] == "This photo can no longer be read.a dog"
    assert list((tmp_path / "pictures").iterdir()) == []


def test_a_thumbnail_is_drawn_again_only_if_its_photo_is_newer(tmp_path):
    photo = tmp_path / "photo.png"
    quarters().save(photo)
    os.utime(photo, (10**9, 10**9))
    write_gallery(tmp_path / "g", [entry(source=photo)])
    (thumbnail,) = (tmp_path / "g" / "pictures").iterdir()
    before = thumbnail.stat().st_mtime_ns
    write_gallery(tmp_path / "g", [entry(source=photo)])
    assert thumbnail.stat().st_mtime_ns == before
    noise(60, 60).save(photo)
    os.utime(photo, (2 * 10**9, 2 * 10**9))
    write_gallery(tmp_path / "g", [entry(source=photo)])
    assert Page(tmp_path / "g").all("img")[0]["width"] == "60"
    thumbnail.write_bytes(b"half a thumb")
    os.utime(photo, (10**9, 10**9))
    write_gallery(tmp_path / "g", [entry(source=photo)])
    assert Page(tmp_path / "g").all("img")[0]["width"] == "60"


def test_photos_of_the_same_name_in_other_folders_have_their_own_thumbnails(tmp_path):
    names = ["a/x.png", "b/x.png", "\udcff.png", "X.PNG", "x.png"]
    write_gallery(tmp_path, [entry(name=name) for name in names])
    sources = {image["src"] for image in Page(tmp_path).all("img")}
    assert len(sources) == len(names)
    assert {f"pictures/{path.name}" for path in (tmp_path / "pictures").iterdir()} == sources


def test_entries_are_taken_one_by_one_and_a_run_that_fails_leaves_the_old_page(tmp_path):
    write_gallery(tmp_path, [entry(caption="old")])

    def broken():
        for n in range(3):
            yield entry(n)
            assert len(list((tmp_path / "pictures").iterdir())) == n + 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gallery(tmp_path, broken())
    assert "old" in Page(tmp_path).text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "pictures"]


def test_a_card_is_less_than_a_kilobyte(tmp_path):
    file = encode(quarters(), "PNG")
    caption = "a man in a red shirt is standing on top of a snow covered mountain"
    entries = (entry(n, source=file, caption=f"{caption} {n}") for n in range(20))
    assert write_gallery(tmp_path, entries) == 20
    assert (tmp_path / "index.html").read_text().count("<figure") == 20
    cards = (tmp_path / "index.html").stat().st_size
    write_gallery(tmp_path, [])
    cards -= (tmp_path / "index.html").stat().st_size
    assert cards / 20 < 1000
