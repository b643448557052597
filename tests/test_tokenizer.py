import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import CheckpointError, ConfigError, DataError
from captioner.tokenizer import SPECIALS, DisplayWord, Tokenizer, join_words

ROOT = Path(__file__).parent.parent

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


@pytest.fixture(scope="module")
def whole_words() -> Tokenizer:
    return Tokenizer.train_words(ENGLISH, min_count=1)


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    return Tokenizer.train_bpe(MANY_TONGUES * 3, vocabulary=340)


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


# Pieces of words


@pytest.mark.parametrize(
    ("caption", "shown"),
    [
        ("A man's dog doesn't like it", ["A", "man's", "dog", "doesn't", "like", "it"]),
        ("a dog , a ball 's owner .", ["A", "dog,", "a", "ball's", "owner"]),
        ("iPad and ball", ["iPad", "and", "ball"]),
        ("كلب يركض على الشاطئ", ["كلب", "يركض", "على", "الشاطئ"]),
        ("כלב רץ", ["כלב", "רץ"]),
        ("a 👨\u200d👩\u200d👧 family", ["A", "👨\u200d👩\u200d👧", "family"]),
        ("ẅ 𓀀 ǆ", ["Ẅ", "𓀀", "ǆ"]),
    ],
)
def test_pieces_gather_to_the_words_between_spaces(
    pieces: Tokenizer, caption: str, shown: list[str]
) -> None:
    assert texts(pieces, caption) == shown
    assert pieces.decode(pieces.encode(caption)) == " ".join(shown)


def test_chinese_is_joined_without_spaces_and_split_at_whole_characters() -> None:
    tokenizer = Tokenizer.train_bpe(["狗"], vocabulary=260)  # nothing but bytes
    ids = tokenizer.encode("一只狗\uff0c看iPad狗 狗。")
    words = tokenizer.words(ids)
    assert [word.text for word in words] == ["一", "只", "狗\uff0c", "看", "iPad", "狗", "狗"]
    assert tokenizer.decode(ids) == join_words(words) == "一只狗\uff0c看iPad狗 狗"
    assert words[1] == DisplayWord("只", (4, 5, 6), spaced=False)
    assert words[6] == DisplayWord("狗", (23, 24, 25, 26), spaced=True)


def test_frequent_chinese_runs_are_shown_as_one_word() -> None:
    tokenizer = Tokenizer.train_bpe(["海滩"] * 9 + ["狗"], vocabulary=280)
    assert texts(tokenizer, "海滩狗") == ["海滩", "狗"]


def test_a_caption_without_spaces_does_not_become_one_word() -> None:
    tokenizer = Tokenizer.train_bpe(["一只狗在海滩上奔跑很快"] * 9, vocabulary=400)
    words = texts(tokenizer, "一只狗在海滩上奔跑很快")
    assert "".join(words) == "一只狗在海滩上奔跑很快"
    assert len(words) > 1
    assert max(map(len, words)) <= 5


def test_signs_that_go_with_the_letter_before_begin_no_word() -> None:
    tokenizer = Tokenizer.train_bpe(["犬"], vocabulary=260)  # nothing but bytes
    assert texts(tokenizer, "しょボード人々") == ["しょ", "ボー", "ド", "人々"]


@pytest.mark.parametrize(
    ("raw", "same"),
    [
        ("كلب ، قطة \u06d4", "كلب، قطة"),
        ("狗 \uff0c 猫 。", "狗\uff0c 猫"),
        ("\u200fكلב\u200e", "كلב"),  # marks of direction
    ],
)
def test_spelling_variants_of_other_languages_encode_alike(
    pieces: Tokenizer, raw: str, same: str
) -> None:
    assert pieces.encode(raw) == pieces.encode(same)


def test_joiners_inside_persian_words_stay() -> None:
    tokenizer = Tokenizer.train_bpe(["گربه می\u200cرود"] * 3, vocabulary=300)
    assert texts(tokenizer, "گربه می\u200cرود") == ["گربه", "می\u200cرود"]


def test_words_of_a_writing_without_spaces_are_refused() -> None:
    with pytest.raises(ConfigError) as error:
        Tokenizer.train_words(["一只狗在海滩上奔跑", "两个女孩 iPad"], min_count=1)
    assert str(error.value) == (
        "The captions have no spaces between words, so whole sentences would be numbered; learn "
        'pieces of words instead: data.words = "bpe".'
    )
    assert len(Tokenizer.train_words(["a dog says 猫", "кот и собака"], min_count=1)) == 4 + 7


def test_thai_vowel_signs_stay_with_their_letter(pieces: Tokenizer) -> None:
    words = texts(pieces, "หมาวิ่งบนชายหาด")
    assert "".join(words) == "หมาวิ่งบนชายหาด"
    assert not any(word[0] in "\u0e34\u0e48" for word in words)


@pytest.mark.parametrize("caption", MANY_TONGUES)
def test_pieces_give_back_any_text(pieces: Tokenizer, caption: str) -> None:
    ids = pieces.encode(caption)
    assert pieces.unk_id not in ids
    plain = caption.replace(" .", "").replace(" '", "'").replace(" ,", ",").replace(" !", "!")
    assert pieces.decode(ids) == plain.removesuffix("。")[0].upper() + plain.removesuffix("。")[1:]
    assert_words_cover(pieces, ids)


def test_lowercase_reads_capitals_as_small_letters() -> None:
    tokenizer = Tokenizer.train_bpe(ENGLISH, vocabulary=280, lowercase=True)
    assert tokenizer.encode("A Dog") == tokenizer.encode("a dog")
    assert tokenizer.decode(tokenizer.encode("the DOG")) == "The dog"


def test_bytes_that_spell_nothing_are_left_out_but_keep_their_place(pieces: Tokenizer) -> None:
    lead = pieces.encode("犬")[1]  # the first byte of three, after the space
    dog = pieces.encode("dog")
    words = pieces.words([*dog, lead, *dog])
    assert join_words(words) == "Dog dog"
    assert_words_cover(pieces, [*dog, lead])
    assert pieces.words([lead]) == []
    assert pieces.decode([lead]) == ""


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
        "import json, sys; from captioner.tokenizer import Tokenizer;"
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
    assert str(error.value) == ("There are no words to number: the captions are missing or empty.")


@pytest.mark.parametrize("captions", [[], ["", " \n"]])
def test_pieces_need_captions(captions: list[str]) -> None:
    with pytest.raises(DataError) as error:
        Tokenizer.train_bpe(captions, vocabulary=300)
    assert str(error.value) == ("There are no pieces to number: the captions are missing or empty.")


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
    assert str(error.value).startswith("The words of the checkpoint cannot be read: ")
    assert str(error.value).endswith(". Fetch or write it again.")


def test_json_with_other_specials_is_refused(whole_words: Tokenizer) -> None:
    with pytest.raises(CheckpointError) as error:
        Tokenizer.from_json(whole_words.to_json().replace("⟨end⟩", "[SEP]"))
    assert str(error.value) == (
        "The words of the checkpoint must begin with ⟨pad⟩, ⟨start⟩, ⟨end⟩, ⟨unk⟩; "
        "this tokenizer comes from another program."
    )


def test_the_tokenizer_works_without_torch() -> None:
    program = "import captioner.tokenizer, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
