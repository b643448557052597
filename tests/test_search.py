import itertools
import math
import random

import pytest
import torch

from captioner.decoders import RecurrentConfig, TransformerConfig
from captioner.model import build_decoder
from captioner.search import Candidates
from captioner.search.arrays import arrays_of
from tests import searching
from tests.searching import find, in_namespace
from tests.toys import END, GARDEN, PAD, SPECIALS, START, UNKNOWN, A, B, C, TableDecoder

pytestmark = pytest.mark.usefixtures("namespace")

GARDEN_CAPTIONS = {(B,): 0.36, (A,): 0.24, (A, B): 0.18, (A, C): 0.18, (B, C): 0.04}
LONG = {(): {A: 1.0}, (A,): {A: 0.9, END: 0.1}, (A, A): {A: 0.9, END: 0.1}}


def random_table(seed: int, *, max_words: int) -> dict:
    """Probabilities of END, A, B and C after every caption of up to `max_words` words."""
    chance = random.Random(seed)
    table = {}
    for length in range(max_words + 1):
        for words in itertools.product((A, B, C), repeat=length):
            weights = [chance.random() ** 2 for _ in range(4)]
            table[words] = {
                w: p / sum(weights) for w, p in zip((END, A, B, C), weights, strict=True)
            }
    return table


def stop(words, total, table, penalty):
    """Score a caption of as many words as are allowed."""
    after = table[words]
    if after[END] == max(after.values()):
        return (total + math.log(after[END])) / (len(words) + 1) ** penalty, words, True
    return total / len(words) ** penalty, words, False


def every_caption(table: dict, *, max_words: int, penalty: float) -> list:
    """Return (score, words, finished) of all captions there are, best first."""
    captions = []
    for words in table:
        total = sum(math.log(table[words[:t]][word]) for t, word in enumerate(words))
        if len(words) == max_words:
            captions.append(stop(words, total, table, penalty))
        else:
            total += math.log(table[words][END])
            captions.append((total / (len(words) + 1) ** penalty, words, True))
    return sorted(captions, reverse=True)


def plain_beam(table: dict, *, beam: int, max_words: int, penalty: float) -> list:
    """Beam search as one would write it down, never stopping early."""
    live, kept = [(0.0, ())], []
    for _ in range(max_words):
        grown = sorted(
            (
                (total + math.log(p), (*words, w))
                for total, words in live
                for w, p in table[words].items()
            ),
            reverse=True,
        )
        kept += [(s / len(w) ** penalty, w[:-1], True) for s, w in grown[:beam] if w[-1] == END]
        live = [(s, w) for s, w in grown if w[-1] != END][:beam]
    kept += [stop(words, total, table, penalty) for total, words in live]
    return sorted(kept, reverse=True)[:beam]


def as_list(found: Candidates) -> list:
    return [
        (s, tuple(w), f) for s, w, f in zip(found.score, found.tokens, found.finished, strict=True)
    ]


def assert_same(found: list, expected: list) -> None:
    assert [row[1:] for row in found] == [row[1:] for row in expected]
    assert [row[0] for row in found] == pytest.approx([row[0] for row in expected], abs=1e-5)


def tiny(kind: str, *, words: int = 20, end_bias: float = 0.0, dropout: float = 0.1):
    """A decoder whose random weights say captions of many lengths."""
    torch.manual_seed({"lstm": 0, "transformer": 1}[kind])
    config = (
        RecurrentConfig(width=16, embedding_dim=8, attention_width=8, dropout=dropout, tie=False)
        if kind == "lstm"
        else TransformerConfig(
            width=16,
            layers=2,
            heads=2,
            feedforward_width=32,
            dropout=dropout,
            max_positions=12,
            tie=False,
        )
    )
    decoder = build_decoder(config, words=words, feature_dim=6).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
        decoder.words.bias[END] = end_bias
    return decoder


def features(images: int, *, seed: int = 1) -> torch.Tensor:
    return 3 * torch.randn(images, 5, 6, generator=torch.Generator().manual_seed(seed))


both_decoders = pytest.mark.parametrize("kind", ["lstm", "transformer"])
all_methods = pytest.mark.parametrize("method", ["greedy", "beam", "sample"])


def own(method, **settings):
    """Of these settings those that the method has, and the method."""
    sampling = {"temperature", "top_k", "top_p", "seed"}
    theirs = {"beam": sampling, "sample": {"beam"}, "greedy": {"beam", *sampling}}[method]
    return {"method": method, **{k: v for k, v in settings.items() if k not in theirs}}


def test_a_wider_beam_finds_the_caption_greedy_search_walks_past():
    [greedy] = find(TableDecoder(GARDEN), method="greedy")
    [wide] = find(TableDecoder(GARDEN), beam=2)
    assert greedy.tokens == [[A]]
    assert wide.tokens == [[B], [A]]
    assert [math.exp(x) for x in greedy.log_probability] == pytest.approx([0.24])
    assert [math.exp(x) for x in wide.log_probability] == pytest.approx([0.36, 0.24])


def test_each_word_comes_with_its_probability_and_end_comes_last():
    [found] = find(TableDecoder(GARDEN), beam=2)
    assert [math.exp(x) for x in found.log_probabilities[0]] == pytest.approx([0.4, 0.9])
    assert [math.exp(x) for x in found.log_probabilities[1]] == pytest.approx([0.6, 0.4])
    assert found.finished == [True, True]
    assert found.score == found.log_probability


def test_a_beam_wider_than_all_captions_returns_them_all_likeliest_first():
    [found] = find(TableDecoder(GARDEN), beam=50)
    assert [tuple(words) for words in found.tokens] == list(GARDEN_CAPTIONS)
    assert [math.exp(x) for x in found.log_probability] == pytest.approx(
        list(GARDEN_CAPTIONS.values())
    )


def test_a_length_penalty_ranks_by_log_probability_per_word_and_end():
    [found] = find(TableDecoder(GARDEN), beam=50, length_penalty=1.0)
    scores = {words: math.log(p) / (len(words) + 1) for words, p in GARDEN_CAPTIONS.items()}
    assert [tuple(words) for words in found.tokens] == [(B,), (A, B), (A, C), (A,), (B, C)]
    assert found.score == pytest.approx([scores[tuple(words)] for words in found.tokens])


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, -0.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_enough_beam_equals_trying_every_caption(seed, penalty):
    table = random_table(seed, max_words=3)
    [found] = find(TableDecoder(table), beam=len(table), max_words=3, length_penalty=penalty)
    assert_same(as_list(found), every_caption(table, max_words=3, penalty=penalty))


@both_decoders
def test_a_wide_enough_beam_equals_trying_every_caption_of_a_real_decoder(kind):
    decoder, seen = tiny(kind, words=7), features(1)
    table = {}
    for words in [w for n in range(4) for w in itertools.product((A, B, C), repeat=n)]:
        with torch.no_grad():
            logits = decoder.forward(seen, torch.tensor([[[START, *words]]])).logits[0, 0, -1]
        p = logits[[END, A, B, C]].softmax(dim=0).tolist()
        table[words] = dict(zip((END, A, B, C), p, strict=True))
    [found] = find(decoder, seen, beam=len(table), max_words=3)
    assert_same(as_list(found), every_caption(table, max_words=3, penalty=0.0))


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.5, -0.5])
@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_stopping_early_changes_nothing(beam, penalty):
    tables = [random_table(seed, max_words=5) for seed in range(6)]
    decoder = TableDecoder(*tables)
    found = find(decoder, beam=beam, max_words=5, length_penalty=penalty)
    for candidates, table in zip(found, tables, strict=True):
        expected = plain_beam(table, beam=beam, max_words=5, penalty=penalty)
        assert_same(as_list(candidates), expected)
    if penalty == 0:
        assert sum(decoder.rows_read) < 6 * 6  # and it did stop early


def test_a_beam_stops_as_soon_as_its_kept_captions_cannot_be_beaten():
    decoder = TableDecoder({(): {END: 0.9, A: 0.1}, (A,): {A: 1.0}})
    [found] = find(decoder, beam=1, max_words=9)
    assert found.tokens == [[]]
    assert decoder.rows_read == [1]


def test_a_length_penalty_keeps_a_beam_going_while_a_longer_caption_can_win():
    table = {(): {END: 0.6, A: 0.3, B: 0.1}, **{(A,) * n: {A: 1.0} for n in range(1, 5)}}
    assert math.log(0.3) / 2 < math.log(0.6) < math.log(0.3) / 4
    [found] = find(TableDecoder(table), beam=1, max_words=4, length_penalty=1.0)
    assert found.tokens == [[A] * 4]
    assert found.score == pytest.approx([math.log(0.3) / 4])


@all_methods
def test_finished_images_leave_the_batch(method):
    short, long = {(): {END: 1.0}}, {(A,) * n: {A: 1.0} for n in range(3)}
    decoder = TableDecoder(long, short, long, short)
    found = find(decoder, **own(method, beam=1))
    assert [candidates.tokens for candidates in found] == [[[A] * 3], [[]], [[A] * 3], [[]]]
    assert decoder.rows_read == [4, 2, 2, 2]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_search_is_a_beam_of_one(seed):
    decoder = TableDecoder(*(random_table(10 * seed + i, max_words=4) for i in range(5)))
    assert find(decoder, method="greedy", max_words=4) == find(decoder, beam=1, max_words=4)


@both_decoders
@pytest.mark.parametrize(
    ("method", "penalty"), [("greedy", 0.0), ("sample", 0.0), ("beam", 0.0), ("beam", 1.0)]
)
def test_captions_found_together_are_those_found_one_by_one(method, penalty, kind):
    decoder, seen = tiny(kind, end_bias=1.5), features(12, seed=2)
    settings = {"method": method, "max_words": 8, "length_penalty": penalty}
    together = find(decoder, seen, **settings)
    lengths = {len(candidates.tokens[0]) for candidates in together}
    assert len(lengths) > 2, "the test needs captions of several lengths"
    for i, candidates in enumerate(together):
        [alone] = find(decoder, seen[i : i + 1], **settings)
        assert candidates.tokens == alone.tokens
        assert candidates.finished == alone.finished
        assert candidates.score == pytest.approx(alone.score, abs=1e-5)


@both_decoders
@all_methods
def test_reported_probabilities_are_those_the_decoder_reads_back(method, kind):
    decoder, seen = tiny(kind, end_bias=1.0), features(10)
    found = find(decoder, seen, **own(method, max_words=8, temperature=2.0, top_k=9, seed=5))
    assert any(all(candidates.finished) for candidates in found)
    assert not all(all(candidates.finished) for candidates in found)
    allowed = [word for word in range(20) if word not in SPECIALS]
    for i, candidates in enumerate(found):
        for k, words in enumerate(candidates.tokens):
            read = torch.tensor([[[START, *words]]])
            with torch.no_grad():
                logits = decoder.forward(seen[i : i + 1], read).logits[0, 0]
            log_p = torch.full_like(logits, -math.inf)
            log_p[:, allowed] = logits[:, allowed].log_softmax(dim=-1)
            said = [*words, END] if candidates.finished[k] else words
            expected = [log_p[t, word].item() for t, word in enumerate(said)]
            assert candidates.log_probabilities[k] == pytest.approx(expected, abs=1e-5)
            assert candidates.log_probability[k] == pytest.approx(sum(expected), abs=1e-5)


@both_decoders
def test_a_wider_beam_never_starts_from_copies_of_one_hypothesis(kind):
    for candidates in find(tiny(kind), features(4), beam=6, max_words=5):
        assert len({tuple(words) for words in candidates.tokens}) == 6


def test_a_beam_wider_than_the_vocabulary_fills_up_over_the_steps():
    [found] = find(TableDecoder(random_table(0, max_words=2)), beam=9, max_words=2)
    assert_same(
        as_list(found), every_caption(random_table(0, max_words=2), max_words=2, penalty=0)[:9]
    )


@all_methods
def test_forbidden_words_never_appear_and_take_no_probability(method):
    table = {(): {PAD: 0.3, START: 0.2, UNKNOWN: 0.1, A: 0.4}, (A,): {UNKNOWN: 0.9, END: 0.1}}
    [found] = find(TableDecoder(table), **own(method, beam=4))
    assert found.tokens == [[A]]
    assert found.log_probabilities[0] == pytest.approx([0.0, 0.0], abs=1e-6)


@all_methods
@pytest.mark.parametrize("max_words", [1, 2, 7])
def test_captions_are_cut_at_the_most_words_allowed(max_words, method):
    for candidates in find(
        tiny("lstm", end_bias=-50), features(3), method=method, max_words=max_words
    ):
        assert {len(words) for words in candidates.tokens} == {max_words}
        assert {len(logs) for logs in candidates.log_probabilities} == {max_words}
        assert not any(candidates.finished)


@all_methods
def test_a_caption_of_exactly_the_most_words_allowed_can_finish(method):
    [found] = find(TableDecoder({(): {A: 1.0}, (A,): {B: 1.0}}), method=method, max_words=2)
    assert found.tokens[0] == [A, B]
    assert found.finished[0]
    assert len(found.log_probabilities[0]) == 3


def test_unfinished_captions_compete_with_finished_ones():
    [found] = find(TableDecoder(LONG), beam=2, max_words=2)
    assert found.tokens == [[A, A], [A]]
    assert found.finished == [False, True]
    assert [math.exp(x) for x in found.score] == pytest.approx([0.9, 0.1])


def test_the_length_of_an_unfinished_caption_has_no_end_to_count():
    [found] = find(TableDecoder(LONG), beam=2, max_words=2, length_penalty=1.0)
    assert found.score == pytest.approx([math.log(0.9) / 2, math.log(0.1) / 2])


def test_of_equally_likely_words_the_lower_id_goes_first():
    table = {(): dict.fromkeys((A, B, C), 1 / 3)}
    assert find(TableDecoder(table), method="greedy")[0].tokens == [[A]]
    assert find(TableDecoder(table), beam=2)[0].tokens == [[A], [B]]
    assert find(TableDecoder(table), beam=3)[0].tokens == [[A], [B], [C]]


def test_top_takes_the_first_of_equals():
    values = torch.randint(4, (50, 40), generator=torch.Generator().manual_seed(0)).float()
    values[:10] = torch.randn(10, 40, generator=torch.Generator().manual_seed(1))
    for count in (1, 3, 17, 40):
        places = arrays_of(in_namespace(values)).top(in_namespace(values), count)
        for row, row_places in zip(values.tolist(), places.tolist(), strict=True):
            assert row_places == sorted(range(40), key=lambda place: -row[place])[:count]


def test_search_twice_gives_the_same_to_the_last_bit():
    decoder, seen = tiny("transformer"), features(4)
    for method in ("greedy", "beam", "sample"):
        first = find(decoder, seen, method=method, max_words=8)
        assert first == find(decoder, seen, method=method, max_words=8)


@all_methods
def test_no_images_give_no_captions(method):
    assert find(tiny("lstm"), features(0), method=method) == []


@all_methods
def test_half_precision_decoders_are_searched_in_single_precision(method):
    decoder = tiny("lstm").to(torch.bfloat16)
    for candidates in find(decoder, features(3).bfloat16(), method=method, max_words=5):
        for logs, total in zip(
            candidates.log_probabilities, candidates.log_probability, strict=True
        ):
            assert total == pytest.approx(sum(logs), abs=1e-6)


def test_search_leaves_no_gradients_and_no_modes_behind():
    decoder = tiny("lstm")
    find(decoder, features(2).requires_grad_(), max_words=3)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert all(parameter.grad is None for parameter in decoder.parameters())


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_a_decoder_in_training_captions_without_dropout_and_stays_in_training(kind):
    decoder, seen = tiny(kind, dropout=0.5), features(3)
    expected = find(decoder, seen, max_words=5)
    decoder.train()
    frozen = next(module for module in decoder.modules() if isinstance(module, torch.nn.LayerNorm))
    frozen.eval()
    if searching.NAMESPACE == "torch":
        assert find(decoder, seen, max_words=5) == expected
    assert [module for module in decoder.modules() if not module.training] == [frozen]
