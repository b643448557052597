import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.metrics import score, score_words
from training.metrics.bleu import bleu
from training.metrics.cider import cider_d, document_frequencies
from training.metrics.ptb import split_words
from training.metrics.rouge import rouge_l

ROOT = Path(__file__).parent.parent
GOLDEN = json.loads((ROOT / "tests/golden/metrics_words.json").read_text(encoding="utf-8"))

# A caption is a list of words; a set is one image's references and its caption.
Set = tuple[list[list[str]], list[str]]

split = str.split


def theirs(sets: list[Set]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Score with coco-caption's own code: of the corpus, and of every image."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    references = {i: [" ".join(words) for words in refs] for i, (refs, _) in enumerate(sets)}
    candidates = {i: [" ".join(words)] for i, (_, words) in enumerate(sets)}
    bleus, image_bleus = Bleu(4).compute_score(references, candidates, verbose=0)
    corpus = {f"Bleu_{n}": value for n, value in enumerate(bleus, start=1)}
    images = {f"Bleu_{n}": list(values) for n, values in enumerate(image_bleus, start=1)}
    for name, metric in (("ROUGE_L", Rouge()), ("CIDEr", Cider())):
        corpus[name], values = metric.compute_score(references, candidates)
        images[name] = list(values)
    return corpus, images


def ours(sets: list[Set]) -> tuple[dict[str, float], dict[str, list[float]]]:
    references, candidates = [refs for refs, _ in sets], [words for _, words in sets]
    _, image_bleus = bleu(references, candidates)
    images = {f"Bleu_{n + 1}": [values[n] for values in image_bleus] for n in range(4)}
    _, images["ROUGE_L"] = rouge_l(references, candidates)
    _, images["CIDEr"] = cider_d(references, candidates)
    return score_words(references, candidates), images


def generate_sets(count: int, *, seed: int) -> list[Set]:
    """Draw from a small grammar: five references, and a caption sharing some of their words."""
    draw = random.Random(seed)
    nouns = ["man", "woman", "dog", "cat", "girl", "boy", "horse", "bus", "bench", "t-shirt"]
    verbs = ["sits", "runs", "jumps", "rides", "stands", "is sitting", "plays with a ball"]
    places = ["on a beach", "in the snow", "near a red bench", "next to the man 's dog", "outside"]

    def sentence(noun: str, verb: str) -> list[str]:
        adjective = draw.choice(["", "small", "black and white", "very very old"])
        words = [draw.choice(["a", "the", "two"]), adjective, noun, verb]
        words += draw.sample(places, k=draw.randint(0, 2))
        return " ".join(words).split()

    sets = []
    for _ in range(count):
        noun, verb = draw.choice(nouns), draw.choice(verbs)
        references = [sentence(noun, draw.choice([verb, draw.choice(verbs)])) for _ in range(5)]
        sets.append((references, sentence(draw.choice([noun, draw.choice(nouns)]), verb)))
    return sets


ODD_SETS: list[Set] = [
    ([["a", "dog"]], []),
    ([["a", "dog"], []], ["a", "dog"]),
    ([[]], []),
    ([["dog"]], ["dog"]),
    ([["dog"]], ["cat"]),
    ([["a", "dog", "runs", "on", "grass"]], ["a", "dog", "runs", "on", "grass"]),
    ([["the", "cat", "sat"]] * 5, ["the"] * 12),
    ([["a", "b"], ["a", "b", "c", "d"]], ["a", "b", "c"]),
    ([["a", "dog"], ["a", "big", "dog"]], ["a", "dog", "and"] * 60),
    ([["very", "very", "very", "long"] * 40], ["very", "long"]),
]


def assert_same(sets: list[Set]) -> None:
    (corpus, images), (their_corpus, their_images) = ours(sets), theirs(sets)
    assert corpus == pytest.approx(their_corpus, abs=1e-9)
    for name, values in images.items():
        assert values == pytest.approx(their_images[name], abs=1e-9), name


def test_scores_of_1000_generated_sets_are_those_of_coco_caption():
    assert_same(generate_sets(1000, seed=1))


def test_scores_of_odd_captions_are_those_of_coco_caption():
    assert_same(ODD_SETS)
    assert_same(ODD_SETS + generate_sets(20, seed=2))


words = st.lists(st.sampled_from(["a", "dog", "on", "the", "beach", "'s"]), max_size=8)
reference = words.filter(bool)


@given(st.lists(st.tuples(st.lists(reference, min_size=1, max_size=4), words), min_size=1))
@settings(deadline=None, max_examples=40)
def test_scores_of_any_sets_are_those_of_coco_caption(sets):
    assert_same(sets)


def test_sentences_are_split_as_java_splits_them():
    different = {}
    for sentence, expected in GOLDEN["sentences"]:
        found = split_words(sentence)
        # Java joins "1 1/2" with an unbreakable space, at which coco-caption splits again.
        if found != [part for word in expected for part in word.split()]:
            different[sentence] = " ".join(found)
    assert len(GOLDEN["sentences"]) == 1277
    assert different == {
        "A woman, me@example.org, runs": "a woman me@example.org runs",
        # Java takes a run of Chinese for one word; here each character is one.
        "a dog near 日本 sits": "a dog near 日 本 sits",
        "日本 is here .": "日 本 is here",
        "a man sees 日本.": "a man sees 日 本",
        "A woman, 日本, runs": "a woman 日 本 runs",
        "a man sees a\u3000b.": "a man sees a b",
    }


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("", ""),
        (" \n\t ", ""),
        ("...?!", "?!"),
        ("A man's T-shirt doesn't fit.", "a man 's t-shirt does n't fit"),
        ("He cannot, she's gonna.", "he can not she 's gon na"),
        ('The "U.S." flag\non Main St.', "the u.s. flag on main st."),
        ("Two dogs. One (brown) runs!!", "two dogs one -lrb- brown -rrb- runs !!"),
        ("$3.50 for 1,000 black/white cats", "$ 3.50 for 1,000 black/white cats"),
        ("rock 'n' roll at 3:30pm", "rock 'n' roll at 3:30 pm"),
        ("dogs\u2019 beds \u2014 don\u2019t touch", "dogs beds do n't touch"),
    ],
)
def test_words_are_lower_case_and_without_punctuation(sentence, expected):
    assert split_words(sentence) == expected.split()


@given(st.text())
@settings(deadline=None)
def test_any_text_is_split_into_words_without_blanks(text):
    for word in split_words(text):
        assert word
        assert word.split() == [word]


def test_identical_captions_score_highest():
    references = {1: ["a dog runs on grass"], 2: ["two red cars wait here"]}
    captions = {1: "A dog runs on grass.", 2: "Two red cars wait here!"}
    expected = {f"Bleu_{n}": 1.0 for n in range(1, 5)} | {"ROUGE_L": 1.0, "CIDEr": 10.0}
    assert score(references, captions) == pytest.approx(expected)


def test_bleu_counts_a_word_no_oftener_than_a_reference_has_it():
    # The example of Papineni et al. 2002, section 2.1.
    references = [split("the cat is on the mat"), split("there is a cat on the mat")]
    corpus, _ = bleu([references], [["the"] * 7])
    assert corpus[0] == pytest.approx(2 / 7)


def test_bleu_punishes_captions_shorter_than_the_closest_reference():
    references = [split("a dog runs on the wide green grass"), split("a dog runs on grass")]
    corpus, _ = bleu([references], [split("a dog runs")])
    # coco-caption gives a caption too short for any run of four words one that matches a little.
    four = (1e-15 / 1e-9) ** (1 / 4)
    assert corpus == pytest.approx([math.exp(1 - 5 / 3) * p for p in (1, 1, 1, four)])


def test_bleu_takes_the_shorter_of_two_references_equally_close():
    _, (scores,) = bleu([[["a"] * 2, ["a"] * 4]], [["a"] * 3])
    assert scores[0] == pytest.approx(1.0)


def test_rouge_is_the_longest_common_subsequence():
    # The example of Lin 2004, section 3.1.
    references = [[split("police killed the gunman")]] * 2
    _, scores = rouge_l(references, [split("police kill the gunman"), split("the gunman kill")])
    precision, recall = 2 / 3, 2 / 4
    lower = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert scores == pytest.approx([0.75, lower])


def test_rouge_takes_precision_and_recall_from_different_references():
    references = [["dog"], ["a", "dog", "runs", "far"]]
    assert rouge_l([references], [["dog"]])[0] == pytest.approx(1.0)


def test_cider_of_a_single_image_is_zero():
    assert score({7: ["a dog"]}, {7: "a dog"})["CIDEr"] == 0.0


def test_cider_weighs_words_by_other_images_when_asked():
    everything = document_frequencies([[split("a dog")], [split("a cat")], [split("two cats")]])
    assert everything.images == 3
    assert everything.weight(("a",)) == pytest.approx(math.log(3 / 2))
    assert everything.weight(("unheard",)) == pytest.approx(math.log(3))
    mean, _ = cider_d([[split("a dog")]], [split("a dog")], frequencies=everything)
    assert mean == pytest.approx(10 * 2 / 4)  # both n-gram orders that two words have


def test_cider_falls_with_the_difference_in_length():
    others = [["two", "red", "cars"]]
    references, caption = [["dog"], ["dog"]], ["dog"]
    same, _ = cider_d([references, others], [caption, others[0]])
    longer, _ = cider_d([[["dog"] * 7] * 2, others], [caption, others[0]])
    assert longer < same


def test_references_and_captions_of_other_images_are_refused():
    with pytest.raises(ValueError, match="must be of the same images"):
        score({1: ["a dog"]}, {2: "a dog"})


@pytest.mark.parametrize("sets", [{}, {1: []}])
def test_nothing_to_compare_with_is_refused(sets):
    with pytest.raises(ValueError, match="at least one image, each with at least one reference"):
        score(sets, dict.fromkeys(sets, "a dog"))


def test_metrics_do_without_torch():
    check = "import sys, training.metrics; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=300)
