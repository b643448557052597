"""CLIPScore through a tiny CLIP with random weights: the numbers mean nothing, the way does."""

import json

import pytest
import torch
from PIL import Image

from captioner.errors import ConfigError, MissingExtraError
from data.coco import Record
from data.image_source import ImageSource
from tests.photos import noise, quarters
from training.scoring.clipscore import ClipScorer

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder such as users have: model, tokenizer of single letters, image processor."""
    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz.,"
    words = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: n for n, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=32)
    tower = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    marks = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    text = {"vocab_size": len(words), "max_position_embeddings": 32, **marks}
    config = transformers.CLIPConfig(
        text_config=tower | text,
        vision_config=tower | {"image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    torch.manual_seed(3)
    processor = transformers.CLIPProcessor(
        transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("album")
    records = []
    for number, picture in enumerate([quarters(), noise(60, 40, seed=1), noise(30, 50, seed=2)]):
        picture.save(folder / f"{number}.png")
        captions = ("a dog", "two red cars", "a man on a bike")[: number + 1]
        records.append(
            Record(image=f"{number}.png", image_id=number, captions=captions, split="val")
        )
    return folder, records


CAPTIONS = {0: "a dog runs", 1: "two cars " * 20, 2: "a bike."}


def test_it_is_2_5_times_the_cosine_that_transformers_gives(clip, album):
    folder, records = album
    found = ClipScorer(clip, device="cpu").score(
        records, ImageSource([str(folder)]), CAPTIONS, resamples=20, seed=0
    )
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    processor = transformers.CLIPProcessor.from_pretrained(clip)
    plain, both = [], []
    for record in records:
        texts = [f"A photo depicts {t}" for t in (CAPTIONS[record.image_id], *record.captions)]
        photo = Image.open(folder / record.image).convert("RGB")
        inputs = processor(
            text=texts, images=photo, return_tensors="pt", padding=True, truncation=True
        )
        with torch.no_grad():
            seen = model(**inputs)
        cosines = seen.logits_per_image[0] / model.logit_scale.exp().item()
        plain.append(2.5 * max(0.0, float(cosines[0])))
        others = torch.nn.functional.cosine_similarity(seen.text_embeds[:1], seen.text_embeds[1:])
        near = max(0.0, float(others.max()))
        both.append(2 * plain[-1] * near / (plain[-1] + near))
    assert found["CLIPScore"] == pytest.approx(sum(plain) / 3, abs=1e-5)
    assert found["RefCLIPScore"] == pytest.approx(sum(both) / 3, abs=1e-5)
    assert found["CLIPScore"] > 0  # else the comparison says little
    assert found["model"] == "tiny-clip"
    assert set(found["intervals"]) == {"CLIPScore", "RefCLIPScore"}


def test_a_folder_without_a_clip_model_is_named(tmp_path, clip):
    with pytest.raises(ConfigError, match="nowhere holds no CLIP model that transformers can load"):
        ClipScorer(tmp_path / "nowhere")
    other = tmp_path / "bert"
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.BertConfig(**tiny, intermediate_size=8, vocab_size=9)
    transformers.BertModel(config).save_pretrained(other)
    (other / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    transformers.BertTokenizer.from_pretrained(other).save_pretrained(other)
    with pytest.raises(ConfigError, match="model of type 'bert'; CLIPScore is defined for CLIP"):
        ClipScorer(other)


def test_without_transformers_it_says_what_to_install(monkeypatch, clip):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'captioner\[clip\]'"):
        ClipScorer(clip)
