"""Reads the tokenizer files of a pretrained captioner."""

from pathlib import Path

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from captioner.errors import CheckpointError, wrap_library_errors
from captioner.pretrained.family import Vocabulary
from captioner.pretrained.files import read_json, read_text
from captioner.words.tokenizer import Marks, Tokenizer


def read_vocabulary(folder: Path, vocabulary: Vocabulary) -> Tokenizer:
    """Read the tokenizer, with a token for every row of the embedding table.

    Args:
        folder: contains tokenizer.json, or BERT's vocab.txt, or GPT-2's vocab.json and merges.txt.
        vocabulary: vocabulary size and special ids from the configuration.

    Raises:
        CheckpointError: the files are missing or damaged, or do not belong to the configuration.
    """
    try:
        with wrap_library_errors(  # the library raises nothing narrower than Exception, or panics
            CheckpointError,
            lambda error: f"its vocabulary cannot be read ({error}); download or save it again.",
        ):
            engine = _read_engine(folder)
            _fill_up(engine, vocabulary, where=str(folder))
            added = engine.get_added_tokens_decoder()
            marks = Marks(
                pad=vocabulary.pad,
                start=vocabulary.start,
                end=vocabulary.end,
                unk=_unknown(engine),
                then=vocabulary.then,
                others=tuple(sorted(added)),
            )
            return Tokenizer.from_json(engine.to_str(), marks)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {str(error).removeprefix(f'{folder}: ')}") from error


def _read_engine(folder: Path) -> tokenizers.Tokenizer:
    text = read_text(folder, "tokenizer.json")
    if text is not None:
        return tokenizers.Tokenizer.from_str(text)
    words = read_text(folder, "vocab.txt")
    if words is not None:
        settings = read_json(folder, "tokenizer_config.json") or {}
        return _bert(words.split("\n"), lowercase=bool(settings.get("do_lower_case", True)))
    numbers, merges = read_json(folder, "vocab.json"), read_text(folder, "merges.txt")
    if numbers is not None and merges is not None:
        return _gpt2(numbers, merges)
    raise CheckpointError(
        f"{folder}: no tokenizer; expected tokenizer.json, vocab.txt, or vocab.json and merges.txt."
    )


def _bert(words: list[str], *, lowercase: bool) -> tokenizers.Tokenizer:
    """Build the tokenizer that `BertTokenizer` builds from vocab.txt, one token per line."""
    numbers = {word.rstrip("\r"): number for number, word in enumerate(words) if word}
    engine = tokenizers.Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    engine.add_special_tokens([mark for mark in marks if mark in numbers])
    return engine


def _gpt2(numbers: dict[str, int], merges: str) -> tokenizers.Tokenizer:
    """Build the tokenizer that GPT-2's and BART's classes build from their files."""
    lines = [line for line in merges.splitlines() if line and not line.startswith("#version")]
    pairs = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    engine = tokenizers.Tokenizer(models.BPE(numbers, pairs))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    marks = ("<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>", "<mask>")
    engine.add_special_tokens([mark for mark in marks if mark in numbers])
    return engine


def _fill_up(engine: tokenizers.Tokenizer, vocabulary: Vocabulary, *, where: str) -> None:
    """Add placeholder tokens, so that there is one per row of the embedding table."""
    known = engine.get_vocab_size(with_added_tokens=True)
    if known > vocabulary.rows:
        raise CheckpointError(
            f"{where}: {known} tokens, but vocab_size in config.json is {vocabulary.rows}; the two "
            "do not belong together."
        )
    missing = range(known, vocabulary.rows)
    engine.add_special_tokens([vocabulary.added.get(i, f"⟨{i}⟩") for i in missing])


def _unknown(engine: tokenizers.Tokenizer) -> int | None:
    """Return the id of the unknown token; None if any text can be encoded."""
    token = getattr(engine.model, "unk_token", None)
    return None if token is None else engine.token_to_id(token)
