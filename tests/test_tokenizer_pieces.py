import pytest

from captioner.errors import ConfigError
from captioner.words.gathering import DisplayWord, join_words
from captioner.words.tokenizer import Tokenizer
from tests.tongues import MANY_TONGUES, assert_words_cover, texts


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
        "The captions have no spaces between words, so whole sentences would be learned as words; "
        'learn subwords instead: data.words = "bpe".'
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


def test_bytes_that_spell_nothing_are_left_out_but_keep_their_place(pieces: Tokenizer) -> None:
    lead = pieces.encode("犬")[1]  # the first byte of three, after the space
    dog = pieces.encode("dog")
    words = pieces.words([*dog, lead, *dog])
    assert join_words(words) == "Dog dog"
    assert_words_cover(pieces, [*dog, lead])
    assert pieces.words([lead]) == []
    assert pieces.decode([lead]) == ""
