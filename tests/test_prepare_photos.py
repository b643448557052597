"""Photos as `data.prepare` writes them into shards."""

import pytest

from captioner.errors import ConfigError, ImageError
from captioner.photo import load_photo
from data.prepare.shard_plan import ShardSettings
from data.prepare.shrink import pack_photo
from tests.cameras import heic
from tests.photos import encode, noise, quarters, turned


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"short_side": -1}, "short_side is -1; it must be 0 to 10000."),
        ({"quality": 96}, "quality is 96; it must be 1 to 95."),
        ({"photos": 0}, "photos is 0; it must be 1 or more."),
        ({"seed": -1}, "seed is -1; it must be 0 or more."),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        ShardSettings(**settings)
    assert str(error.value) == message


def test_a_photo_made_smaller_has_the_short_side_asked_for_and_stands_upright():
    content = turned(quarters(480, 640), 6, "JPEG", quality=95)
    packed, suffix = pack_photo(content, name="x", short_side=120, quality=90)
    photo = load_photo(packed)
    assert (photo.size, suffix) == ((160, 120), "jpg")
    assert photo.getpixel((20, 20))[0] > 200  # red at the top left
    assert photo.getpixel((140, 20))[1] > 200
    assert len(packed) < len(content)


def test_quality_says_how_much_of_a_photo_is_kept():
    content = encode(noise(200, 200), "PNG")
    sizes = [
        len(pack_photo(content, name="x", short_side=100, quality=quality)[0])
        for quality in (50, 90)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_that_is_small_enough_stays_as_it_is(kind):
    content = encode(noise(40, 60), kind)
    suffix = {"JPEG": "jpg"}.get(kind, kind.lower())
    assert pack_photo(content, name="photo", short_side=0, quality=90) == (content, suffix)
    assert pack_photo(content, name="photo", short_side=40, quality=90) == (content, suffix)


def test_a_photo_that_pillow_does_not_read_keeps_the_end_of_its_name():
    pytest.importorskip("pillow_heif")
    content = heic(noise(64, 64))
    assert pack_photo(content, name="a/photo.HEIC", short_side=0, quality=90) == (content, "heic")
    assert pack_photo(content, name="a/photo.HEIC", short_side=32, quality=90)[1] == "jpg"


def test_a_photo_that_cannot_be_read_is_refused_in_any_size():
    for short_side in (0, 20):
        with pytest.raises(ImageError, match=r"^broken\.jpg: "):
            pack_photo(
                encode(noise(), "JPEG")[:400], name="broken.jpg", short_side=short_side, quality=9
            )
