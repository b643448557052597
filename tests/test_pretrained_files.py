"""Folders of pretrained captioners, as old and new programs wrote them, damaged and malicious."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from captioner.checkpoint.header import read_header
from captioner.checkpoint.shipped import find_checkpoint
from captioner.checkpoint.weights import load_checkpoint
from captioner.errors import CheckpointError
from tests import foreign

STEM = "text_decoder.cls.predictions."


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return foreign.write(foreign.blip(), tmp_path_factory.mktemp("original") / "blip")


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "blip"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {key: x.clone() for key, x in load_file(folder / "model.safetensors").items()}


def rewrite(folder: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, folder / "model.safetensors")


def edit(folder: Path, name: str = "config.json", **changes) -> None:
    path = folder / name
    table = json.loads(path.read_text()) if path.is_file() else {}
    for key, value in changes.items():
        part, _, own = key.rpartition("__")
        (table[part] if part else table)[own] = value
    path.write_text(json.dumps(table))


def problem(folder: Path, read=load_checkpoint) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(folder)
    assert str(caught.value).startswith(str(folder))
    return str(caught.value).removeprefix(str(folder)).lstrip("/")


def assert_same(folder: Path, original: Path) -> None:
    found, expected = (load_checkpoint(x)[0].state_dict() for x in (folder, original))
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert_close(found[name], weight, rtol=0, atol=0)


# Weights


def old(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights as files of 2022 have them: other names, masks, tied ones twice."""
    renamed = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): x
        for key, x in state.items()
    }
    words = "text_decoder.bert.embeddings.word_embeddings.weight"
    return renamed | {
        "text_decoder.bert.embeddings.position_ids": torch.arange(40)[None],
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
        f"{STEM}decoder.weight": state[words].clone(),
        f"{STEM}decoder.bias": state[f"{STEM}bias"].clone(),
    }


def test_old_names_tied_copies_and_masks_are_known(folder, original):
    rewrite(folder, old(weights(folder)))
    assert_same(folder, original)


def test_a_pickled_file_is_read(folder, original):
    torch.save(old(weights(folder)), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert_same(folder, original)


def test_safetensors_go_first(folder, original):
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    assert_same(folder, original)


def test_a_copy_is_used_where_the_weight_itself_lacks(folder, original):
    state = old(weights(folder))
    del state["text_decoder.bert.embeddings.word_embeddings.weight"], state[f"{STEM}bias"]
    rewrite(folder, state)
    assert_same(folder, original)


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_weights_may_be_divided_into_several_files(folder, original, kind):
    state = weights(folder)
    (folder / "model.safetensors").unlink()
    stem, _, ending = kind.partition(".")
    places = {}
    for number, keys in enumerate((list(state)[::2], list(state)[1::2]), start=1):
        name = f"{stem}-0000{number}-of-00002.{ending}"
        part = {key: state[key] for key in keys}
        (save_file if ending == "safetensors" else torch.save)(part, folder / name)
        places |= dict.fromkeys(keys, name)
    index = folder / f"{kind}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert_same(folder, original)
    (folder / places[next(iter(places))]).unlink()
    assert "missing, but listed in" in problem(folder)


def test_half_precision_is_widened(folder):
    halves = {key: x.half() for key, x in weights(folder).items()}
    rewrite(folder, halves)
    model, _ = load_checkpoint(folder)
    assert {x.dtype for x in model.parameters()} == {torch.float32}
    table = halves["text_decoder.bert.embeddings.word_embeddings.weight"]
    assert_close(model.decoder.words.vectors.weight, table.float(), rtol=0, atol=0)


class Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("old_protocol", [False, True])
def test_a_pickle_that_would_run_something_is_refused(folder, tmp_path, old_protocol):
    (folder / "model.safetensors").unlink()
    state = {"x": Evil(tmp_path / "run")}
    if old_protocol:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(state))
    else:
        torch.save(state, folder / "pytorch_model.bin")
    assert problem(folder).startswith("pytorch_model.bin: its weights cannot be read (")
    assert not (tmp_path / "run").exists()


def test_a_pickle_of_something_else_is_refused(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"epoch": 3}, folder / "pytorch_model.bin")
    assert problem(folder) == "pytorch_model.bin: is not a state dict."


def test_files_that_do_not_lie_beside_the_index_are_refused(folder):
    (folder / "model.safetensors").unlink()
    for name in ("../blip/model.safetensors", "/etc/passwd", 3, None):
        places = {"weight_map": {"x": name, "y": "model-1.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(places))
        assert problem(folder) == (
            "model.safetensors.index.json: lists no weight files in its folder; download it again."
        )


def test_a_folder_without_weights_says_which_it_looks_for(folder):
    (folder / "model.safetensors").unlink()
    assert problem(folder).startswith(": has no weights; expected one of model.safetensors, ")


def test_an_unexpected_weight_is_reported(folder):
    rewrite(folder, weights(folder) | {"text_decoder.bert.pooler.dense.weight": torch.ones(2)})
    assert problem(folder) == (
        ": unexpected weight 'text_decoder.bert.pooler.dense.weight'; the model may be of another "
        "type, or newer than this version of captioner."
    )


def test_a_missing_weight_is_reported(folder):
    state = weights(folder)
    del state["vision_model.encoder.layers.1.self_attn.qkv.bias"]
    rewrite(folder, state)
    assert problem(folder) == (
        ": weight encoder.backbone.blocks.1.attn.qkv.bias is missing; download or save it again."
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"text_config__num_hidden_layers": 2}, "does not fit its config.json"),
        ({"text_config__num_hidden_layers": 4}, "weight decoder.blocks.3"),
        ({"text_config__hidden_size": 36}, "the two may not belong together"),
        ({"vision_config__intermediate_size": 100}, "the two may not belong together"),
        ({"text_config__max_position_embeddings": 41}, "implies (41, 32) for decoder.positions"),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused(folder, changes, named):
    edit(folder, **changes)
    assert named in problem(folder)


# config.json


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config__num_hidden_layers": 10**9}, "config.json: text_config: num_hidden_layers "
         "is 1000000000; it must be a whole number from 1 to 256."),
        ({"text_config__hidden_size": "32"}, "config.json: text_config: hidden_size is '32'; it "
         "must be a whole number from 1 to 16384."),
        ({"text_config__layer_norm_eps": -1}, "config.json: text_config: layer_norm_eps is -1; it "
         "must be a number from 0 to below 1."),
        ({"text_config__hidden_act": "relu"}, "config.json: text_config: hidden_act is 'relu', and "
         "only 'gelu' is supported."),
        ({"vision_config": []}, "config.json: vision_config must be a table, not []."),
        ({"vision_config__num_attention_heads": 5}, "config.json: vision_config: 48 channels do "
         "not divide into 5 heads, or photos of 64 pixels into patches of 16."),
        ({"text_config__num_attention_heads": 5}, "decoder.width is 32 and decoder.heads is 5; "
         "heads must divide width."),
    ],
)  # fmt: skip
def test_invalid_settings_are_reported(folder, changes, message):
    edit(folder, **changes)
    assert problem(folder, read_header).removeprefix(": ") == message


def test_an_unsupported_model_type_is_refused(folder):
    edit(folder, model_type="blip-2")
    assert problem(folder) == (
        "config.json: model_type 'blip-2' is not supported; choose from blip, florence2, git, "
        "vision-encoder-decoder, or a checkpoint from `captioner push`."
    )


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_config_that_is_not_a_table_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    assert problem(folder).startswith("config.json: ")


def test_what_a_config_leaves_out_is_transformers_default():
    from captioner.pretrained.blip import read_blip
    from captioner.pretrained.configuration import Section

    short = read_blip(Section({"text_config": {"num_attention_heads": 12}}, where="config.json"))
    whole = transformers.BlipConfig(text_config={"num_attention_heads": 12}).to_dict()
    assert short == read_blip(Section(whole, where="config.json"))
    assert short.vocabulary.start == 30522
    assert short.vocabulary.end == 102


def test_a_folder_of_such_a_model_is_a_checkpoint(folder):
    assert find_checkpoint(folder) == folder


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        (
            "encoder",
            {"model_type": "swin"},
            "encoder: model_type 'swin' is not supported; choose from vit and deit.",
        ),
        ("encoder", {"qkv_bias": False}, "encoder: qkv_bias is False, and only True is supported."),
        (
            "decoder",
            {"model_type": "bart"},
            "decoder: model_type 'bart' is not supported; choose from gpt2 ",
        ),
        ("decoder", {"add_cross_attention": False}, "decoder: add_cross_attention is False, and "),
        ("decoder", {"activation_function": "tanh"}, "decoder: activation_function 'tanh' is not "),
    ],
)
def test_encoders_and_decoders_of_other_kinds_are_refused_by_name(tmp_path, part, changes, message):
    folder = foreign.write(foreign.vit_gpt2(), tmp_path / "vit-gpt2")
    edit(folder, **{f"{part}__{name}": value for name, value in changes.items()})
    assert message in problem(folder, read_header)


def test_masks_and_tied_weights_of_old_gpt2_files_are_dropped(tmp_path):
    folder = foreign.write(foreign.vit_gpt2(), tmp_path / "vit-gpt2")
    expected = load_checkpoint(folder)[0].state_dict()
    state = weights(folder)
    layer = "decoder.transformer.h.0."
    mask = torch.ones(1, 1, 40, 40, dtype=torch.uint8)
    for name in ("attn.bias", "crossattention.bias"):
        state[layer + name] = mask.clone()
        state[layer + name.replace("bias", "masked_bias")] = torch.tensor(-1e4)
    state["decoder.lm_head.weight"] = state["decoder.transformer.wte.weight"].clone()
    state["encoder.pooler.dense.bias"] = torch.zeros(32)
    rewrite(folder, state)
    found = load_checkpoint(folder)[0].state_dict()
    assert all(found[name].equal(weight) for name, weight in expected.items())


# Words


def test_words_are_read_from_vocab_txt_where_there_is_no_tokenizer_json(folder, original):
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(foreign.WORDPIECES) + "\n")
    found, expected = (read_header(x).tokenizer for x in (folder, original))
    for text in ("A man's dog playing", "two cats, red!", "[SEP] in the park"):
        assert found.encode(text) == expected.encode(text)
    assert found.marks == expected.marks
    assert len(found) == len(expected) == len(foreign.WORDPIECES) + 2


def test_captions_behind_a_prompt_are_spelled_as_within_a_sentence(tmp_path):
    """Where spaces are letters, the first word has one; the prompt belongs to the prefix."""
    tokenizer = read_header(foreign.write(foreign.florence(), tmp_path / "florence")).tokenizer
    behind = tokenizer.behind(" a man ")
    assert behind.prefix == (2, 0, *tokenizer.encode("a man"))
    assert behind.encode("dog") == behind.encode(" dog") == tokenizer.encode(" dog")
    assert tokenizer.encode(" dog") != tokenizer.encode("dog")
    assert behind.encode("") == []
    assert behind.spellings("dog") == tokenizer.spellings("dog")
    assert tokenizer.prefix == tokenizer.behind(" ").prefix == (2, 0)
    assert tokenizer.behind("").encode("dog") == tokenizer.encode("dog")


def test_tokens_that_no_file_names_are_marks(folder):
    tokenizer = read_header(folder).tokenizer
    assert tokenizer.start_id == len(foreign.WORDPIECES)
    assert tokenizer.decode([tokenizer.start_id, 6, tokenizer.start_id + 1, 7]) == "Man dog"
    assert {0, 1, 2, 4, tokenizer.start_id, tokenizer.start_id + 1} == set(tokenizer.never_written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, ": no tokenizer; expected tokenizer.json, vocab.txt, or vocab.json and merges.txt."),
        ("{}", ": its vocabulary cannot be read ("),
        (foreign.bert_words([*foreign.WORDPIECES, "x1", "x2", "x3"]).to_str(),
         f": {len(foreign.WORDPIECES) + 3} tokens, but vocab_size in config.json is "),
    ],
)  # fmt: skip
def test_an_unreadable_tokenizer_is_refused(folder, text, message):
    if text is None:
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "tokenizer.json").write_text(text)
    assert problem(folder, read_header).startswith(message)
