"""Vocabularies that others trained: their marks, and their tokens as words."""

import json
from dataclasses import replace

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from captioner.checkpoint.header import format_header, parse_header
from captioner.config import SearchConfig
from captioner.errors import CheckpointError, ConfigError
from captioner.words.constraints import constraints_of
from captioner.words.gathering import DisplayWord, gather_wordpieces
from captioner.words.tokenizer import Marks, Tokenizer
from tests.conftest import TOYS

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *["a", "man", "'", "s", "t", "-", "shirt"])
WORDS += (*["play", "##ing", "dogs", "don", ",", "o", "clock"], "[DEC]")
BERT = Marks(pad=0, start=18, end=3, unk=1, others=(2,))


def bert() -> Tokenizer:
    engine = tokenizers.Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    engine.normalizer = normalizers.BertNormalizer()
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]"])
    engine.enable_truncation(3)
    engine.enable_padding(length=30)
    return Tokenizer.from_json(engine.to_str(), BERT)


def gpt2() -> Tokenizer:
    """Bytes and a few pieces; one mark is start, end and padding."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, "do", "dog", "Ġdog", "Ġa", "<|endoftext|>"]
    merges = [("d", "o"), ("do", "g"), ("Ġ", "dog"), ("Ġ", "a")]
    engine = tokenizers.Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.add_special_tokens(["<|endoftext|>"])
    return Tokenizer.from_json(engine.to_str(), Marks(pad=260, start=260, end=260, unk=None))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a man's t-shirt", "A man's t-shirt"),
        ("a man, playing", "A man, playing"),
        ("dogs don't clock", "Dogs don't clock"),
        ("dogs' t-shirt", "Dogs' t-shirt"),
        ("a o'clock", "A o'clock"),
        ("", ""),
    ],
)
def test_wordpieces_are_shown_as_they_were_written(text, shown):
    tokenizer = bert()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == shown
    places = [place for word in tokenizer.words(ids) for place in word.tokens]
    assert places == list(range(len(ids)))


def test_every_wordpiece_belongs_to_one_word():
    assert gather_wordpieces([(0, "##s"), (1, "man"), (4, "-"), (5, "##ing"), (6, ",")]) == [
        DisplayWord("s", (0,)),
        DisplayWord("man-ing,", (1, 4, 5, 6)),
    ]


def test_text_is_read_whole_and_without_marks_whatever_the_file_asks_for():
    assert bert().encode("A man's playing") == [4, 5, 6, 7, 11, 12]


def test_marks_are_neither_written_nor_shown_but_for_the_end():
    tokenizer = bert()
    ids = (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id, tokenizer.unk_id)
    assert ids == (0, 18, 3, 1)
    assert tokenizer.never_written == (0, 1, 2, 18)
    assert tokenizer.decode([18, 4, 1, 5, 3, 0, 2]) == "A man"


def test_a_mark_that_starts_and_ends_captions_may_be_written():
    tokenizer = gpt2()
    assert tokenizer.never_written == ()
    assert tokenizer.decode([260, *tokenizer.encode("a dog"), 260]) == "A dog"
    assert constraints_of(SearchConfig(prompt="a dog"), tokenizer).prefix == (260, 64, 258)


def test_a_forbidden_word_is_so_at_the_beginning_too():
    found = constraints_of(SearchConfig(forbid=("dog",), require=("dog",)), gpt2())
    assert found.forbidden == ((258,), (257,))
    assert found.required == ((258,),)
    assert constraints_of(SearchConfig(forbid=("man",)), bert()).forbidden == ((5,),)


def test_a_mark_can_be_neither_given_nor_forbidden():
    assert constraints_of(SearchConfig(forbid=("[SEP]",)), bert()).forbidden == ()
    for prompt in ("[SEP] a man", "a zebra"):
        with pytest.raises(ConfigError, match="which has a word that this model does not know"):
            constraints_of(SearchConfig(prompt=prompt), bert())


@pytest.mark.parametrize("make", [bert, gpt2])
def test_a_header_keeps_the_marks(make):
    tokenizer = make()
    header = replace(TOYS["lstm"](tokenizer)[1], tokenizer=tokenizer)
    text = format_header(header)
    again = parse_header(text, where="m.safetensors").tokenizer
    assert again.is_same(tokenizer)
    assert json.loads(text)["marks"]["end"] == tokenizer.end_id


def test_a_mark_without_a_token_is_damage():
    with pytest.raises(
        CheckpointError, match="vocabulary has no id 99, which its header gives to a special"
    ):
        Tokenizer.from_json(bert().to_json(), replace(BERT, start=99))


def test_another_kind_of_vocabulary_is_refused_by_name():
    engine = tokenizers.Tokenizer(models.Unigram([("a", 0.0)], unk_id=0))
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.from_json(engine.to_str(), BERT)
    assert str(caught.value) == (
        "The checkpoint's tokenizer is of type Unigram; choose one of type WordLevel or BPE or "
        "WordPiece."
    )
