import pytest

from captioner.words.writing import is_right_to_left, is_unspaced, may_break
from training.metrics import score
from training.metrics.ptb import split_words


@pytest.mark.parametrize("letter", ["狗", "ひ", "カ", "ー", "ห", "々"])
def test_some_writings_have_no_spaces_between_words(letter):
    assert is_unspaced(letter)


@pytest.mark.parametrize("letter", ["a", "к", "ك", "ב", "न", "강", "7", "。", "ิ", " ", "\u200b"])
def test_others_do_and_marks_are_no_letters(letter):
    assert not is_unspaced(letter)


def test_words_may_begin_at_any_letter_but_those_that_go_with_the_one_before():
    assert may_break("海", "滩")
    assert may_break("狗", "i")
    assert may_break("i", "狗")
    assert not may_break("i", "P")
    assert not may_break("し", "ょ")
    assert not may_break("ボ", "ー")
    assert not may_break("人", "々")
    assert not may_break("狗", "。")


def test_the_first_letter_says_which_way_a_line_runs():
    assert is_right_to_left("כלב and dog")
    assert is_right_to_left("  7, كلب")
    assert not is_right_to_left("dog כלב")
    assert not is_right_to_left("狗 123 ...")
    assert not is_right_to_left("")


# How scores split them


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("一只狗\uff0c很快。", ["一", "只", "狗", "很", "快"]),
        ("砂浜を走るiPad 2台", ["砂", "浜", "を", "走", "る", "ipad", "2", "台"]),
        ("كلب يركض على الشاطئ، بسرعة.", ["كلب", "يركض", "على", "الشاطئ", "بسرعة"]),
        ("כֶּלֶב רָץ", ["כֶּלֶב", "רָץ"]),
        ("बिल्ली सो रही है।", ["बिल्ली", "सो", "रही", "है"]),
        ("می\u200cرود گربه", ["می\u200cرود", "گربه"]),
        ("강아지가 달린다!", ["강아지가", "달린다"]),
        ("วิ่ง", ["วิ่", "ง"]),
        ("Рыжая собака.", ["рыжая", "собака"]),
        ("A man's t-shirt.", ["a", "man", "'s", "t-shirt"]),  # English keeps its rules
    ],
)
def test_sentences_are_split_as_their_writing_asks(sentence, words):
    assert split_words(sentence) == words


def test_a_chinese_caption_that_is_partly_right_scores_in_between():
    references = {1: ["一只狗在海滩上奔跑"], 2: ["两个女孩在草地上"]}
    right = score(references, {1: "一只狗在海滩上奔跑", 2: "两个女孩在草地上"})
    partly = score(references, {1: "一只猫在海滩上", 2: "两个女孩在草地上"})
    assert right["Bleu_4"] == pytest.approx(1)
    for name, value in right.items():
        assert 0 < partly[name] < value
