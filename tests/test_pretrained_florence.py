"""Florence-2: as Microsoft's own repositories have it, and its longer tasks."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from captioner.checkpoint.header import read_header
from captioner.checkpoint.weights import load_checkpoint
from captioner.errors import CheckpointError, ConfigError
from captioner.pipeline import Captioner
from captioner.pytorch import TorchCaptioner
from captioner.words.tokenizer import TASKS
from tests import foreign
from tests.exported import without_shapes
from tests.test_cli import call

SIZE = {"size": {"height": 64, "width": 64}}

INWARD = (
    (r"^lm_head", "language_model.lm_head"),
    (r"^model\.language_model\.", "language_model.model."),
    (r"^model\.vision_tower\.", "vision_tower."),
    (r"convs\.(\d+)\.conv\.", r"convs.\1.proj."),
    (r"_block\.conv(\d)\.", r"_block.conv\1.fn.dw."),
    (r"(window|channel)_attn\.(qkv|proj)\.", r"\1_attn.fn.\2."),
    (r"spatial_block\.norm1\.", "spatial_block.window_attn.norm."),
    (r"channel_block\.norm1\.", "channel_block.channel_attn.norm."),
    (r"_block\.norm2\.", "_block.ffn.norm."),
    (r"ffn\.(fc\d)\.", r"ffn.fn.net.\1."),
    (r"^model\.multi_modal_projector\.image_projection\.weight$", "image_projection"),
    (r"^model\.multi_modal_projector\.image_position_embed\.", "image_pos_embed."),
    (r"^model\.multi_modal_projector\.", ""),
)
"""From the names of transformers to those of Microsoft's code: what its conversion script
(convert_florence2_original_pytorch_to_hf.py) renames, the other way round."""


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("florence") / "florence-2"
    return foreign.write(foreign.florence(seed=1), folder, photos=SIZE)


@pytest.fixture
def theirs(original, tmp_path) -> Path:
    """The same model with their names, in half precision, pickled, and their configuration."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    state = {}
    for key, weight in load_file(original / "model.safetensors").items():
        for pattern, name in INWARD:
            key = re.sub(pattern, name, key)  # noqa: PLW2901
        state[key] = (weight.T if key == "image_projection" else weight).contiguous()
    width = state["image_projection"].shape[0]
    state["visual_temporal_embed.pos_idx_to_embed"] = torch.zeros(100, width)
    state["language_model.final_logits_bias"] = torch.zeros(1, foreign.BART_WORDS + 3)
    shared = state["language_model.model.shared.weight"]
    for name in ("lm_head", "model.encoder.embed_tokens", "model.decoder.embed_tokens"):
        state[f"language_model.{name}.weight"] = shared
    torch.save(state, folder / "pytorch_model.bin")
    table = json.loads((original / "config.json").read_text())
    vision, text = table["vision_config"], table["text_config"]
    kept = ("depths", "num_heads", "num_groups", "window_size", "projection_dim", "patch_size",
            "patch_stride", "patch_padding", "patch_prenorm")  # fmt: skip
    own = {
        "model_type": "florence2",
        "auto_map": {"AutoConfig": "configuration_florence2.Florence2Config"},
        "text_config": {**text, "model_type": "florence2_language", "forced_bos_token_id": 0},
        "vision_config": {
            "model_type": "davit",
            **{name: vision[name] for name in kept},
            "dim_embed": vision["embed_dim"],
            "image_pos_embed": {
                "type": "learned_abs_2d",
                "max_pos_embeddings": vision["max_position_embeddings"],
            },
            "visual_temporal_embedding": {"type": "COSINE", "max_temporal_embeddings": 100},
            "image_feature_source": ["spatial_avg_pool", "temporal_avg_pool"],
        },
    }
    (folder / "config.json").write_text(json.dumps(own))
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (folder / name).write_bytes((original / name).read_bytes())
    return folder


def test_microsofts_own_layout_is_the_same_model(theirs, original):
    ours, header = load_checkpoint(theirs)
    expected, other = load_checkpoint(original)
    assert (header.model, header.preprocess) == (other.model, other.preprocess)
    found, known = ours.state_dict(), expected.state_dict()
    assert found.keys() == known.keys()
    for name, weight in known.items():
        assert_close(found[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("image_feature_source", ["temporal_avg_pool"], "image_feature_source is ['temporal_"),
        ("image_pos_embed", {"type": "sine"}, "image_pos_embed: type is 'sine', and only 'learned"),
        ("visual_temporal_embedding", {"type": "x"}, "type is 'x', and only 'COSINE' is supported"),
    ],
)
def test_an_unsupported_architecture_is_refused(theirs, setting, value, message):
    table = json.loads((theirs / "config.json").read_text())
    table["vision_config"][setting] = value
    (theirs / "config.json").write_text(json.dumps(table))
    with pytest.raises(CheckpointError) as caught:
        read_header(theirs)
    assert message in str(caught.value)


@pytest.mark.parametrize("prompt", TASKS)
def test_a_task_is_asked_as_transformers_asks_it(original, photos, prompt):
    theirs = foreign.florence(seed=1)
    captioner = TorchCaptioner.load(original, device="cpu")
    _, constraints = captioner.header.plan(prompt=prompt)
    assert constraints.prefix == captioner.header.tokenizer.prefix
    prepared = captioner.prepare(photos[0])
    features = captioner.encode([prepared], task=constraints.task)
    words = torch.tensor([[*constraints.prefix, 70, 90, 110]])
    with torch.no_grad():
        logits = captioner.model.decoder(features, words[:, None]).logits[0]
        pixels = torch.from_numpy(prepared.pixels)[None]
        asked = foreign.florence_input(theirs, pixels, TASKS[prompt])
        other = theirs(pixel_values=pixels, input_ids=asked, decoder_input_ids=words).logits
    assert_close(logits, other, rtol=0, atol=1e-5)
    usual = captioner.encode([prepared])
    assert usual.equal(features) if prompt == "<CAPTION>" else usual.shape != features.shape


def test_captions_of_another_task_show_where_they_looked_and_can_be_read(
    original, photos, tmp_path, capsys
):
    captioner, prompt = Captioner.load(original), "<DETAILED_CAPTION>"
    caption = captioner.caption(photos[0], prompt=prompt, max_words=6)
    assert caption.search.prompt == prompt
    assert all(word.attention.sum() == pytest.approx(1, abs=1e-5) for word in caption.words)
    assert all(0 < word.gate < 1 for word in caption.words)
    *_, last = captioner.stream(photos[0], prompt=prompt, max_words=6)
    assert last.text == caption.text
    assert captioner.read_candidates(photos[0], caption)
    read = captioner.read_sentence(photos[0], "a dog", prompt=prompt)
    assert read.log_probability != captioner.read_sentence(photos[0], "a dog").log_probability
    _, (printed,), _ = call(
        capsys, "caption", photos[0], "--checkpoint", original, "--prompt", prompt,
        "--max-words", 6, "--json",
    )  # fmt: skip
    assert json.loads(printed)["caption"] == caption.text


def test_a_task_is_refused_where_it_cannot_be_asked(original, checkpoints, tmp_path, capsys):
    expected = (
        "search.prompt is '<CAPTION>', a task of Florence-2, which this model does not have; "
        "leave it out."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}$"):
        read_header(checkpoints["transformer"]).plan(prompt="<CAPTION>")
    exported = tmp_path / "exported"
    with without_shapes():
        assert call(capsys, "export", "--onnx", original, "--output", exported)[0] == 0
    runner = Captioner.load(exported)
    with pytest.raises(
        ConfigError, match="and an export supports only the one it was made with; leave it out"
    ):
        runner.caption(torch.zeros(64, 64, 3, dtype=torch.uint8).numpy(), prompt="<CAPTION>")
