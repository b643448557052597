"""Captions in several languages, and what must be true of the words they are split into."""

from captioner.words.gathering import join_words
from captioner.words.tokenizer import SPECIALS, Tokenizer

ENGLISH = [
    "A man's dog doesn't like the red t-shirt .",
    "a dog plays with two dogs in the snow",
    "The dog 's ball is red , and so is the dog !",
    "I don't see the man at 7:30",
]
MANY_TONGUES = [
    *ENGLISH,
    "一只狗在海滩上奔跑\uff0c很快。",
    "砂浜を走る犬",
    "كلب يركض على الشاطئ",
    "כלב רץ על החוף",
    "หมาวิ่งบนชายหาด",
    "A man with an iPad 😀 and a 👨\u200d👩\u200d👧 family",
]


def texts(tokenizer: Tokenizer, caption: str) -> list[str]:
    return [word.text for word in tokenizer.words(tokenizer.encode(caption))]


def assert_words_cover(tokenizer: Tokenizer, ids: list[int]) -> None:
    words = tokenizer.words(ids)
    caption = tokenizer.decode(ids)
    assert join_words(words) == caption
    if all(word.spaced for word in words[1:]):
        assert " ".join(word.text for word in words) == caption
    assert all(word.text and word.tokens for word in words)
    covered = [position for word in words for position in word.tokens]
    if words:
        assert covered == [p for p, i in enumerate(ids) if i >= len(SPECIALS)]
