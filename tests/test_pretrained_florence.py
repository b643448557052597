"""Florence-2 as Microsoft's own repositories have it."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from captioner.checkpoint.header import read_header
from captioner.checkpoint.weights import load_checkpoint
from captioner.errors import CheckpointError
from tests import foreign

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
def test_what_is_built_otherwise_is_refused(theirs, setting, value, message):
    table = json.loads((theirs / "config.json").read_text())
    table["vision_config"][setting] = value
    (theirs / "config.json").write_text(json.dumps(table))
    with pytest.raises(CheckpointError) as caught:
        read_header(theirs)
    assert message in str(caught.value)
