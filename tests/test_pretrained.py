"""Captioners that others trained: here they say what they say in transformers."""

import math
from functools import cache, partial
from pathlib import Path

import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from torch.testing import assert_close

from captioner.checkpoint.header import read_header
from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.config import AttentionConfig, SearchConfig
from captioner.model import build_model
from captioner.pipeline import Captioner
from captioner.pretrained.configuration import Section
from captioner.pretrained.families import FAMILIES
from captioner.pretrained.keys import assign
from captioner.search import search
from captioner.words.constraints import Constraints
from captioner.words.tokenizer import Marks, Tokenizer
from tests import foreign

MAKERS = {
    "blip": foreign.blip,
    "florence-2": partial(foreign.florence, seed=1),
    "git": foreign.git,
    "vit-gpt2": foreign.vit_gpt2,
    "vit-gpt2 with a bridge": partial(foreign.vit_gpt2, width=48),
    "deit-gpt2": partial(foreign.vit_gpt2, encoder="DeiT"),
    "vit-bert": foreign.vit_bert,
    "vit-bert with a bridge": partial(foreign.vit_bert, width=48),
}
families = pytest.mark.parametrize("family", MAKERS)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """By family: transformers' model, and the folder that it wrote."""

    @cache
    def make(family):
        model = MAKERS[family]()
        photos = {"size": {"height": 64, "width": 64}} if family == "florence-2" else None
        return model, foreign.write(model, tmp_path_factory.mktemp("tiny") / family, photos=photos)

    return make


def noise(images: int, side: int = 64) -> torch.Tensor:
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(1))


def captions(header, *, images: int, length: int = 9) -> torch.Tensor:
    """Random words behind START."""
    words = torch.randint(5, 70, (images, length), generator=torch.Generator().manual_seed(2))
    given = header.tokenizer.prefix
    words[:, : len(given)] = torch.tensor(given)
    return words


@families
def test_logits_and_attention_are_those_of_transformers(pairs, family):
    theirs, folder = pairs(family)
    model, header = load_checkpoint(folder)
    pixels, words = noise(4), captions(header, images=4)
    with torch.no_grad():
        reading = model(pixels, words[:, None], with_attention=True)
        logits, attention = foreign.read(theirs, pixels, words)
    assert logits.std() > 0.3
    assert_close(reading.logits[:, 0], logits, rtol=0, atol=1e-5)
    assert_close(reading.attention[:, 0], attention, rtol=0, atol=1e-5)


@families
def test_word_by_word_it_says_what_it_says_of_the_whole(pairs, family):
    model, header = load_checkpoint(pairs(family)[1])
    words = captions(header, images=3)[:, None]
    with torch.no_grad():
        features = model.encoder(noise(3))
        whole = model.decoder(features, words, with_attention=True)
        state = model.decoder.init_state(features)
        for t in range(words.shape[2]):
            reading, state = model.decoder.step_with_attention(words[:, :, t], state)
            assert_close(reading.logits[:, :, 0], whole.logits[:, :, t], rtol=0, atol=1e-5)
            assert_close(
                reading.attention[..., 0, :], whole.attention[..., t, :], rtol=0, atol=1e-5
            )


@families
@pytest.mark.parametrize("prompt", [[], [6, 9, 10]])
def test_greedy_captions_are_those_of_transformers(pairs, family, prompt):
    theirs, folder = pairs(family)
    model, header = load_checkpoint(folder)
    pixels = noise(24)
    config = SearchConfig(method="greedy", max_words=12)
    found = [own.tokens[0] for own in find(model, header, pixels, prompt, config)]
    expected = foreign.generate(theirs, pixels, prompt, beam=1, length=12)
    assert found == expected
    assert len({tuple(words) for words in found}) > 4


@families
def test_beam_search_finds_captions_that_score_no_worse(pairs, family):
    theirs, folder = pairs(family)
    model, header = load_checkpoint(folder)
    pixels = noise(24)
    config = SearchConfig(beam=3, max_words=12, length_penalty=1.0)
    found = find(model, header, pixels, [], config)
    expected = foreign.generate(theirs, pixels, [], beam=3, length=12)
    same = [own.tokens[0] == words for own, words in zip(found, expected, strict=True)]
    assert sum(same) >= 20
    for image, (own, words) in enumerate(zip(found, expected, strict=True)):
        assert own.score[0] >= score(model, header, pixels[image], words, limit=12) - 1e-4


def find(model, header, pixels, prompt, config):
    """Search with every token allowed, as transformers does."""
    tokenizer = header.tokenizer
    constraints = Constraints(prefix=(*tokenizer.prefix, *prompt), end_id=tokenizer.end_id)
    with torch.no_grad():
        features = model.encoder(pixels)
    return search(model.decoder, features, config=config, constraints=constraints)


def score(model, header, pixels, words, *, limit):
    """Mean log-probability of a caption; if it was cut off, END counts only where it came next."""
    tokenizer = header.tokenizer
    given, first = [*tokenizer.prefix, *words, tokenizer.end_id], len(tokenizer.prefix)
    with torch.no_grad():
        logits = model(pixels[None], torch.tensor([[given[:-1]]])).logits[0, 0, first - 1 :]
    logs = logits.log_softmax(dim=-1)[range(len(words) + 1), given[first:]]
    cut = len(words) == limit and logits[-1].argmax() != tokenizer.end_id
    return float(logs[:-1].mean() if cut else logs.mean())


REAL = {
    "blip base": lambda: transformers.BlipConfig(text_config={"num_attention_heads": 12}),
    "blip large": lambda: transformers.BlipConfig(
        text_config={"num_attention_heads": 12, "encoder_hidden_size": 1024},
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
    ),
    "git base": transformers.GitConfig,
    "git large": lambda: transformers.GitConfig(
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
        },
    ),
    "florence-2 base": lambda: transformers.Florence2Config(
        text_config={
            "vocab_size": 51289,
            "d_model": 768,
            **{f"{side}_layers": 6 for side in ("encoder", "decoder")},
            **{f"{side}_attention_heads": 12 for side in ("encoder", "decoder")},
            **{f"{side}_ffn_dim": 3072 for side in ("encoder", "decoder")},
        },
        vision_config={"projection_dim": 768},
        image_token_id=51288,
    ),
    "florence-2 large": lambda: transformers.Florence2Config(
        text_config={"vocab_size": 51289},
        vision_config={
            "embed_dim": (256, 512, 1024, 2048),
            "num_heads": (8, 16, 32, 64),
            "num_groups": (8, 16, 32, 64),
        },
        image_token_id=51288,
    ),
    "vit-gpt2": lambda: transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(),
        transformers.GPT2Config(is_decoder=True, add_cross_attention=True),
    ),
    "vit-bert": lambda: transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(),
        transformers.BertConfig(is_decoder=True, add_cross_attention=True),
    ),
}
"""Configurations of the size people use."""
PARAMETERS = {
    "blip base": 224.0,
    "blip large": 446.3,
    "git base": 176.6,
    "git large": 394.2,
    "vit-gpt2": 238.7,
    "vit-bert": 223.7,
    "florence-2 base": 231.5,
    "florence-2 large": 770.3,
}
"""Millions."""


@pytest.mark.parametrize("name", REAL)
def test_every_weight_of_the_real_sizes_has_its_place(name):
    config = REAL[name]()
    with torch.device("meta"):
        theirs = foreign.build(config)
        family = FAMILIES[config.model_type](Section(config.to_dict(), where="config.json"))
        if family.finish is not None:
            marks = Marks(pad=1, start=2, then=(0,), end=2, unk=None)
            words = Tokenizer.from_json(foreign.bart_words().to_str(), marks)
            family = family.finish(family, words)
        ours = build_model(
            family.model, preprocess=family.photos, words=family.vocabulary.rows
        ).state_dict()
    stored = {key: tuple(x.shape) for key, x in foreign.names(theirs).items()}
    expected = {key: tuple(x.shape) for key, x in ours.items()}
    zeros = ["decoder.words.bias"] if name.startswith(("vit-gpt2", "florence")) else []
    found = assign(stored, expected, family.rules, zeros=zeros, where="here")
    assert [key for key, assembly in found.items() if not assembly.pieces] == zeros
    millions = sum(math.prod(shape) for shape in expected.values()) / 1e6
    assert millions == pytest.approx(PARAMETERS[name], abs=0.06)


@families
def test_a_caption_reports_the_share_of_attention_on_the_class_token(pairs, family, photos):
    captioner = Captioner.load(pairs(family)[1])
    assert captioner.header.search.prompt == ("a picture of" if family == "blip" else "")
    caption = captioner.caption(photos[0], max_words=8)
    assert caption.words
    assert caption.view == captioner.header.attention
    assert caption.view == AttentionConfig(layer=2 if family == "blip" else None)
    for word in caption.words:
        assert word.attention.shape == ((2, 2) if family == "florence-2" else (4, 4))
        assert word.attention.sum() == pytest.approx(1, abs=1e-5)
        assert 0 < word.gate < 1
        # A head like BERT's scores no sum of what was read.
        assert (word.evidence is None) == family.startswith(("blip", "vit-bert"))
    assert not caption.text.startswith("A picture of")


@families
@pytest.mark.parametrize("prompt", [None, "a dog"])
def test_a_sentence_of_yours_is_read_behind_start_and_prompt(pairs, family, prompt, photos):
    """Of the spellings that are shown alike, the likeliest counts."""
    captioner = Captioner.load(pairs(family)[1])
    header, prepared = captioner.header, captioner.prepare(photos[0])
    prefix = header.plan(prompt=header.search.prompt if prompt is None else prompt)[1].prefix
    assert len(prefix) > 1 or (prompt is None and family not in ("blip", "florence-2"))
    forms = ("a man", "A man", " a man", " A man")
    ids = {tuple(header.tokenizer.encode(form)) for form in forms}
    assert len(ids) == (1 if family.startswith(("blip", "git", "vit-bert")) else 4)
    with torch.no_grad():
        pixels = torch.from_numpy(prepared.pixels)[None]
        logs = [spelled(captioner, pixels, prefix, own) for own in ids]
    expected = max(logs, key=sum)
    read = captioner.read_sentence(prepared, "a man", prompt=prompt)
    assert read.text == "A man"
    assert read.log_probability == pytest.approx(sum(expected), abs=1e-4)
    assert [word.text for word in read.words] == ["A", "man"]
    assert read.log_probability < sum(math.log(word.probability) for word in read.words) < 0
    assert all(word.attention.sum() == pytest.approx(1, abs=1e-5) for word in read.words)


def spelled(captioner, pixels, prefix, ids):
    """Log-probabilities of these tokens and END behind a prefix, without the tokens never said."""
    tokenizer = captioner.header.tokenizer
    logits = captioner.model(pixels, torch.tensor([[[*prefix, *ids]]])).logits[0, 0]
    logits[:, list(tokenizer.never_written)] = -torch.inf
    logs = logits[len(prefix) - 1 :].log_softmax(dim=-1)
    return logs[range(len(ids) + 1), [*ids, tokenizer.end_id]].tolist()


@families
@pytest.mark.parametrize("prompt", [None, "a dog"])
def test_a_sentence_is_completed_as_greedy_search_writes_it(pairs, family, prompt, photos):
    captioner = Captioner.load(pairs(family)[1])
    given = {} if prompt is None else {"prompt": prompt}
    for photo in photos:
        greedy = captioner.caption(photo, method="greedy", no_repeat=0, **given)
        whole = captioner.complete(photo, "", prompt=prompt)
        assert whole.text == greedy.text
        assert whole.search.prompt == greedy.search.prompt
        for word, written in zip(whole.words, greedy.words, strict=True):
            assert word.probability == pytest.approx(written.probability, abs=1e-5)
            assert_allclose(word.attention, written.attention, atol=1e-5)


@families
def test_converted_it_is_a_checkpoint_like_any_other(pairs, family, photos, tmp_path):
    folder = pairs(family)[1]
    model, header = load_checkpoint(folder)
    save_checkpoint(tmp_path / "ours.safetensors", model, header, half=False)
    again = Captioner.load(tmp_path / "ours.safetensors")
    assert again.header.trained_on == {"pretrained": family}
    assert again.header.parameters == header.parameters > 0
    ours, theirs = (x.caption(photos[0], max_words=8) for x in (again, Captioner.load(folder)))
    assert ours.text == theirs.text
    for word, other in zip(ours.words, theirs.words, strict=True):
        assert_allclose(word.heads, other.heads, atol=1e-6)


def test_a_header_is_read_without_the_weights(pairs, tmp_path):
    folder = pairs("blip")[1]
    bare = tmp_path / "my-blip"
    bare.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (bare / name).write_bytes((folder / name).read_bytes())
    header = read_header(bare)
    assert header.name == "my-blip"
    assert header.model == read_header(folder).model
    assert header.tokenizer.decode(header.tokenizer.encode("A man playing")) == "A man playing"


def test_in_the_hubs_cache_it_is_called_as_on_the_hub(pairs):
    folder = pairs("blip")[1]
    cached = folder.parent / "models--someone--blip-tiny--x" / "snapshots" / ("a" * 40)
    cached.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (cached / name).write_bytes((folder / name).read_bytes())
    header = read_header(cached)
    assert header.name == "blip-tiny--x"
    assert header.trained_on == {"pretrained": "someone/blip-tiny--x", "commit": "a" * 40}


def test_weights_are_mapped_and_not_copied(pairs, tmp_path):
    """What is used as it is stored lies in the file, and takes no memory of its own."""
    _, folder = pairs("blip")
    model, _ = load_checkpoint(folder)
    with Path("/proc/self/maps").open() as file:
        mapped = [line for line in file if str(folder) in line]
    assert mapped
    spans = [tuple(int(x, 16) for x in line.split()[0].split("-")) for line in mapped]
    table = model.decoder.words.vectors.weight.data_ptr()
    assert any(begin <= table < end for begin, end in spans)


def test_all_of_it_is_in_float32_and_on_the_device_asked_for(pairs):
    model, _ = load_checkpoint(pairs("blip")[1])
    tensors = [*model.parameters(), *model.buffers()]
    assert {x.dtype for x in tensors} == {torch.float32}
    assert {x.device.type for x in tensors} == {"cpu"}
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(x.isfinite().all() for x in tensors)
