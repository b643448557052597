"""Rules for names of weights, against the names that files of the hub have.

tests/golden/hub_keys.toml says where each list is from: conversion scripts, the authors' code, and
reports of programs that read those files; transformers is not asked here.
"""

import itertools
import re
import tomllib
from pathlib import Path

import pytest
import torch

from captioner.model import build_model
from captioner.pretrained.configuration import Section
from captioner.pretrained.families import FAMILIES
from captioner.pretrained.keys import assign
from captioner.words.tokenizer import Marks, Tokenizer
from tests import foreign

LISTS = tomllib.loads((Path(__file__).parent / "golden" / "hub_keys.toml").read_text())
BART = {
    "vocab_size": 51289, "d_model": 768,
    "encoder_layers": 6, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072,
    "decoder_layers": 6, "decoder_attention_heads": 12, "decoder_ffn_dim": 3072,
}  # fmt: skip
CONFIGS = {
    "blip": {"model_type": "blip", "text_config": {"num_attention_heads": 12}},
    "git": {"model_type": "git"},
    "vit-gpt2": {
        "model_type": "vision-encoder-decoder",
        "encoder": {"model_type": "vit"},
        "decoder": {"model_type": "gpt2", "add_cross_attention": True},
    },
    "florence-2": {"model_type": "florence2", "text_config": BART},
    "florence-2-microsoft": {
        "model_type": "florence2",
        "text_config": BART,
        "vision_config": {"dim_embed": [128, 256, 512, 1024]},
    },
}
"""What config.json says besides the defaults."""
UNTIED = {"decoder.words.bias"}
"""What these have no weight for."""


def expand(pattern: str) -> list[str]:
    """`{a,b}` stands for each of these, `{0-3}` for each number."""
    parts = []
    for part in re.split(r"(\{[^}]*\})", pattern):
        choices = part.strip("{}").split(",") if part.startswith("{") else [part]
        if part.startswith("{") and (span := re.fullmatch(r"(\d+)-(\d+)", choices[0])):
            choices = [str(n) for n in range(int(span[1]), int(span[2]) + 1)]
        parts.append(choices)
    return ["".join(choice) for choice in itertools.product(*parts)]


def keys_of(name: str) -> list[str]:
    return [key for pattern in LISTS[name]["keys"] for key in expand(pattern)]


def model_of(name: str):
    """Rules, and shapes of the weights here by name."""
    config = CONFIGS[name]
    family = FAMILIES[config["model_type"]](Section(config, where="config.json"))
    if family.finish is not None:
        words = Tokenizer.from_json(
            foreign.bart_words().to_str(), Marks(pad=1, start=2, then=(0,), end=2, unk=None)
        )
        family = family.finish(family, words)
    with torch.device("meta"):
        model = build_model(
            family.model, preprocess=family.photos, words=family.vocabulary.rows
        ).state_dict()
    return family.rules, {key: tuple(x.shape) for key, x in model.items()}


def claimed(key: str, rules) -> set[str] | None:
    """Where a weight goes by the first rule that fits it; None where none does."""
    for rule in rules:
        if match := re.fullmatch(rule.pattern, key):
            targets = (rule.into,) if isinstance(rule.into, str) else rule.into
            found = {match.expand(target) for target in targets}
            return found | ({rule.also} if rule.also else set())
    return None


@pytest.mark.parametrize("name", LISTS)
def test_every_name_of_the_hubs_files_is_claimed_and_every_weight_is_there(name):
    keys = keys_of(name)
    assert len(keys) == len(set(keys)) == LISTS[name]["count"]
    rules, expected = model_of(name)
    places = {key: claimed(key, rules) for key in keys}
    assert [key for key, targets in places.items() if targets is None] == []
    reached = set().union(*places.values())
    assert reached <= set(expected)
    assert set(expected) - reached == (set() if name in ("blip", "git") else UNTIED)


@pytest.mark.parametrize("name", ["blip", "git"])
def test_the_shapes_of_a_file_with_these_names_fit(name):
    """Stored weights have the shapes of those here, or are put together."""
    rules, expected = model_of(name)
    shapes = {}
    for key in keys_of(name):
        for target in claimed(key, rules) or ():
            shape = expected[target]
            thirds = ".self_attn.q_" in key or ".self_attn.k_" in key or ".self_attn.v_" in key
            whole = not (thirds and name == "git")
            shapes[key] = shape if whole else (shape[0] // 3, *shape[1:])
        shapes.setdefault(key, (1, 512))
    found = assign(shapes, expected, rules, where="here")
    assert found.keys() == expected.keys()
    assert all(assembly.pieces for assembly in found.values())
