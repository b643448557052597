import json
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import CheckpointError, ConfigError, DataError
from captioner.words.gathering import DisplayWord
from captioner.words.tokenizer import SPECIALS, Marks, Tokenizer
from tests.tongues import ENGLISH, MANY_TONGUES, assert_words_cover

ROOT = Path(__file__).parent.parent

# Whole words


def test_the_special_ids_come_first(whole_words: Tokenizer) -> None:
    special = (whole_words.pad_id, whole_words.start_id, whole_words.end_id, whole_words.unk_id)
    assert special == (0, 1, 2, 3)


def test_words_are_numbered_by_frequency_and_then_by_the_alphabet() -> None:
    tokenizer = Tokenizer.train_words(["b a c", "c", "b c a d"], min_count=1)
    assert [tokenizer.encode(word) for word in "cabd"] == [[4], [5], [6], [7]]
    assert len(tokenizer) == 8


def test_words_below_the_threshold_become_unk() -> None:
    tokenizer = Tokenizer.train_words(["red dog", "dog"], min_count=2)
    assert tokenizer.encode("a red dog") == [3, 3, 4]
    assert len(tokenizer) == 5


@pytest.mark.parametrize(
    ("raw", "same"),
    [
        ("dog 's", "dog's"),
        ("do n't", "don't"),
        ("The DOG's ball !", "the dog's ball"),
        ("the dog\u2019s ball", "the dog's ball"),
        ("the dog\u00b4s ball", "the dog's ball"),
        ('a "red" (dog) ; "ball": ...', "a red dog ball"),
        ("\uff41 red\u3000dog", "a red dog"),  # full width
        ("'red dog'", "red dog"),
        ("a dog\n\twith  snow", "a dog with snow"),
    ],
)
def test_spelling_variants_encode_alike(whole_words: Tokenizer, raw: str, same: str) -> None:
    assert whole_words.encode(raw) == whole_words.encode(same)
    assert whole_words.unk_id not in whole_words.encode(raw)


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("man's", ["man", "'s"]),
        ("don't", ["do", "n't"]),
        ("can't", ["ca", "n't"]),
        (
            "they're I'd we'll I've I'm",
            ["they", "'re", "i", "'d", "we", "'ll", "i", "'ve", "i", "'m"],
        ),
        ("t-shirt o'clock", ["t-shirt", "o'clock"]),
        ("black-and-white", ["black-and-white"]),
        ("7:30, 1,000 3.5. 2", ["7:30", "1,000", "3.5", "2"]),
        ("café naïve", ["café", "naïve"]),
        ("end--start", ["end", "start"]),
    ],
)
def test_captions_split_as_the_penn_treebank_does(caption: str, tokens: list[str]) -> None:
    tokenizer = Tokenizer.train_words([caption], min_count=1)
    separate = [tokenizer.words([i])[0].text.lower() for i in tokenizer.encode(caption)]
    assert separate == tokens


def test_endings_join_their_word_in_what_is_shown(whole_words: Tokenizer) -> None:
    ids = whole_words.encode("the man 's dog does n't like snow .")
    assert whole_words.decode(ids) == "The man's dog doesn't like snow"
    assert whole_words.words(ids) == [
        DisplayWord("The", (0,)),
        DisplayWord("man's", (1, 2)),
        DisplayWord("dog", (3,)),
        DisplayWord("doesn't", (4, 5)),
        DisplayWord("like", (6,)),
        DisplayWord("snow", (7,)),
    ]


def test_positions_count_the_specials_that_are_not_shown(whole_words: Tokenizer) -> None:
    ids = [1, *whole_words.encode("a dog's"), 3, *whole_words.encode("ball"), 2, 0, 0]
    assert whole_words.decode(ids) == "A dog's ball"
    assert [word.tokens for word in whole_words.words(ids)] == [(1,), (2, 3), (5,)]


@pytest.mark.parametrize("caption", ENGLISH)
def test_a_decoded_caption_encodes_to_the_same_ids(whole_words: Tokenizer, caption: str) -> None:
    ids = whole_words.encode(caption)
    assert whole_words.encode(whole_words.decode(ids)) == ids


def test_an_ending_without_a_word_stands_alone(whole_words: Tokenizer) -> None:
    ids = whole_words.encode("'s dog")
    assert whole_words.decode(ids) == "'s dog"
    assert_words_cover(whole_words, ids)


# Both


@pytest.fixture(scope="module", params=["whole_words", "pieces"])
def either(request: pytest.FixtureRequest) -> Tokenizer:
    tokenizer: Tokenizer = request.getfixturevalue(request.param)
    return tokenizer


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_words_cover_every_token_once_whatever_the_ids(
    either: Tokenizer, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, len(either) - 1), max_size=12))
    assert_words_cover(either, ids)


@given(text=st.text(max_size=30))
@settings(deadline=None, max_examples=150)
def test_any_text_encodes_and_decodes(either: Tokenizer, text: str) -> None:
    ids = either.encode(text)
    assert_words_cover(either, ids)
    assert not {either.pad_id, either.start_id, either.end_id} & set(ids)
    assert "unk" not in either.decode(ids).lower() or "unk" in text.lower()


def wordpieces() -> Tokenizer:
    """As pretrained models have them: no capitals, no accents, punctuation split off."""
    letters = [chr(n) for n in range(ord("a"), ord("z") + 1)]
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "dog", "'", *letters, *(f"##{x}" for x in letters)]
    model = tokenizers.models.WordPiece({x: n for n, x in enumerate(names)}, unk_token="[UNK]")
    engine = tokenizers.Tokenizer(model)
    engine.normalizer = tokenizers.normalizers.BertNormalizer()
    engine.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return Tokenizer(engine, Marks())


WORDPIECES = wordpieces()
TRICKY = st.lists(
    st.text("aZ  é\u0301\u00b4\u2019'ntsdog-7.:,\n\t\xa0\u3000\u1100\u1161\u017f\u03a3狗か\u3099")
)


@given(captions=TRICKY)
@settings(deadline=None)
def test_many_captions_encode_as_each_of_them_does(
    whole_words: Tokenizer, pieces: Tokenizer, captions: list[str]
) -> None:
    for tokenizer in (whole_words, pieces, WORDPIECES):
        for prompted in (tokenizer, tokenizer.behind("a dog")):
            ids = [prompted.encode(caption) for caption in captions]
            assert list(prompted.encode_each([captions, captions[:1]])) == [ids, ids[:1]]


@given(captions=TRICKY)
@settings(deadline=None)
def test_every_word_that_occurs_is_learned_and_no_other(captions: list[str]) -> None:
    captions = [*["dog"] * 100, *captions]
    tokenizer = Tokenizer.train_words(captions, min_count=1)
    counts = Counter(i for caption in captions for i in tokenizer.encode(caption))
    assert sorted(counts) == list(range(4, len(tokenizer)))
    assert [counts[i] for i in sorted(counts)] == sorted(counts.values(), reverse=True)


@pytest.mark.parametrize("mark", [*SPECIALS, "<end>", "<pad>", "[PAD]", "<s>", "</s>", "<unk>"])
def test_text_cannot_write_a_special(mark: str) -> None:
    captions = [f"{mark}{mark} a dog {mark}", mark] * 20
    for tokenizer in (
        Tokenizer.train_words(captions, min_count=1),
        Tokenizer.train_bpe(captions, vocabulary=400),
    ):
        for text in (mark, mark.upper(), f"a {mark} dog", f"{mark}dog{mark}"):
            assert min(tokenizer.encode(text), default=4) >= 4


def test_no_ids_give_an_empty_caption(either: Tokenizer) -> None:
    assert either.encode("") == []
    assert either.decode([]) == either.decode([1, 2, 0, 3]) == ""
    assert either.words([]) == []


@pytest.mark.parametrize("outside", [-1, 10_000])
def test_an_id_outside_the_vocabulary_is_refused(either: Tokenizer, outside: int) -> None:
    with pytest.raises(ValueError, match=f"Id {outside} is outside the vocabulary of"):
        either.decode([4, outside])


def test_json_carries_the_whole_tokenizer(either: Tokenizer) -> None:
    text = either.to_json()
    again = Tokenizer.from_json(text)
    assert again.to_json() == text
    assert len(again) == len(either)
    for caption in MANY_TONGUES:
        assert again.encode(caption) == either.encode(caption)
        assert again.words(again.encode(caption)) == either.words(either.encode(caption))


def test_a_tokenizer_can_be_sent_to_another_process(either: Tokenizer) -> None:
    assert pickle.loads(pickle.dumps(either)).to_json() == either.to_json()


def test_training_gives_the_same_vocabulary_in_every_process(pieces: Tokenizer) -> None:
    program = (
        "import json, sys; from captioner.words.tokenizer import Tokenizer;"
        "captions = json.load(sys.stdin);"
        "print(Tokenizer.train_bpe(captions, vocabulary=340).to_json(), end='')"
    )
    again = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        input=json.dumps(MANY_TONGUES * 3),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert again.stdout == pieces.to_json()


# Mistakes


@pytest.mark.parametrize("captions", [[], ["", "  "], ["...", "!"]])
def test_words_need_captions(captions: list[str]) -> None:
    with pytest.raises(DataError) as error:
        Tokenizer.train_words(captions, min_count=1)
    assert str(error.value) == ("There are no words to learn: the captions are missing or empty.")


@pytest.mark.parametrize("captions", [[], ["", " \n"]])
def test_pieces_need_captions(captions: list[str]) -> None:
    with pytest.raises(DataError) as error:
        Tokenizer.train_bpe(captions, vocabulary=300)
    assert str(error.value) == "There are no subwords to learn: the captions are missing or empty."


@pytest.mark.parametrize(
    ("min_count", "message"),
    [
        (0, "min_count is 0; it must be 1 or more."),
        (
            4,
            "min_count is 4, but the most frequent word occurs only 3 times; choose 3 or less.",
        ),
    ],
)
def test_a_threshold_that_leaves_no_word_is_refused(min_count: int, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Tokenizer.train_words(["dog dog", "a dog"], min_count=min_count)
    assert str(error.value) == message


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        Tokenizer.train_bpe(["a dog"], vocabulary=259)
    assert str(error.value) == "vocabulary is 259; it must be 260 or more."


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"model": 3}', "\x00"])
def test_json_of_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError) as error:
        Tokenizer.from_json(text)
    assert str(error.value).startswith("The checkpoint's tokenizer cannot be read: ")
    assert str(error.value).endswith(". Download or save it again.")


def changed(tokenizer: Tokenizer, **parts: Any) -> str:
    return json.dumps(json.loads(tokenizer.to_json()) | parts)


def quoting(regex: str) -> dict[str, Any]:
    """A normaliser that the library cannot work with where its pattern fits nothing at all."""
    replace = {"type": "Replace", "pattern": {"Regex": regex}, "content": "'"}
    return {"type": "Sequence", "normalizers": [replace, {"type": "NFKC"}, {"type": "Lowercase"}]}


def test_a_tokenizer_that_makes_the_library_panic_is_refused(whole_words: Tokenizer) -> None:
    crafted = changed(whole_words, normalizer=quoting(""))
    with pytest.raises(BaseException, match="index out of bounds") as panic:
        tokenizers.Tokenizer.from_str(crafted).encode("a b")
    assert not isinstance(panic.value, Exception)
    with pytest.raises(CheckpointError, match="checkpoint's tokenizer cannot be read: index out"):
        Tokenizer.from_json(crafted)


def test_a_panic_at_a_single_text_is_an_error_of_the_checkpoint(whole_words: Tokenizer) -> None:
    crafted = Tokenizer.from_json(changed(whole_words, normalizer=quoting("(?=é)")))
    with pytest.raises(CheckpointError, match="checkpoint's tokenizer cannot be read"):
        crafted.encode("éé")


@pytest.mark.parametrize(
    ("vocabulary", "told"),
    [
        ({"dog": 5}, "'dog', id 5"),
        ({"": 4}, "'', id 4"),
        ({"dog": 3}, "The checkpoint's vocabulary"),
        ({"dog": 4, "cat": 2**31}, "'cat', id 2147483648"),
    ],
)
def test_ids_that_cannot_be_written_are_refused(
    whole_words: Tokenizer, vocabulary: dict[str, int], told: str
) -> None:
    specials = {mark: number for number, mark in enumerate(SPECIALS)}
    model = {"type": "WordLevel", "vocab": specials | vocabulary, "unk_token": SPECIALS[3]}
    with pytest.raises(CheckpointError, match=told):
        Tokenizer.from_json(changed(whole_words, model=model))


def test_pieces_that_are_no_bytes_and_an_unknown_word_without_id_are_refused(
    pieces: Tokenizer, whole_words: Tokenizer
) -> None:
    with pytest.raises(CheckpointError, match="damaged at 'é大'"):
        Tokenizer.from_json(pieces.to_json().replace('"!":4', '"é大":4'))
    lost = whole_words.to_json().replace('"unk_token":"⟨unk⟩"', '"unk_token":"⟨none⟩"')
    with pytest.raises(CheckpointError, match=r"cannot be read: .*Missing"):
        Tokenizer.from_json(lost)


def test_json_with_other_specials_is_refused(whole_words: Tokenizer) -> None:
    with pytest.raises(CheckpointError) as error:
        Tokenizer.from_json(whole_words.to_json().replace("⟨end⟩", "[SEP]"))
    assert str(error.value) == (
        "The checkpoint's vocabulary does not begin with ⟨pad⟩, ⟨start⟩, ⟨end⟩, ⟨unk⟩; "
        "its tokenizer comes from another program."
    )


def test_the_tokenizer_works_without_torch() -> None:
    program = "import captioner.words.tokenizer, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
