"""A card says what is known of a checkpoint, and nothing else."""

import json
import re
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from captioner.checkpoint import shipped
from captioner.checkpoint.hub.card import Facts, write_card
from captioner.checkpoint.shipped import find_checkpoint
from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.config import EncoderConfig
from captioner.decoders import RecurrentConfig
from tests.test_cli import call

ROOT = Path(__file__).parent.parent
VIT_TINY = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def card_of(content):
    return huggingface_hub.ModelCard(content.decode())


@pytest.fixture
def dry(capsys, tmp_path):
    """Write the card of a checkpoint and read it back."""

    def run(checkpoint, *arguments):
        folder = tmp_path / "card"
        status, _, errors = call(
            capsys, "push", checkpoint, "me/toy", "--dry-run", folder, *arguments
        )
        assert (status, errors) == (0, [])
        return card_of((folder / "README.md").read_bytes())

    return run


@pytest.mark.parametrize("name", ["vit-tiny-transformer", "vit-tiny-lstm"])
def test_a_shipped_checkpoint_gets_a_card_from_its_readme_and_its_header(dry, name):
    card = dry(name, "--license", "apache-2.0")
    text = (ROOT / "checkpoints" / name / "README.md").read_text(encoding="utf-8")
    assert card.text.strip().startswith(f"# {name}\n")
    assert "## Limits" in card.text
    assert "](../" in text  # which led nowhere on the hub
    assert not re.search(r"\]\((?!\w+:|#)", card.text)
    assert (card.data.base_model, card.data.language) == (VIT_TINY, "en")
    assert "flickr8k" in card.data.datasets
    results = {r.metric_name: r for r in card.data.eval_results if r.dataset_split == "test"}
    assert list(results) == [
        "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr", "METEOR",
    ]  # fmt: skip
    header = shipped.read_header(find_checkpoint(name))
    report = header.scores["test"]
    for metric, key in (("CIDEr", "CIDEr"), ("BLEU-4", "Bleu_4"), ("METEOR", "METEOR")):
        result = results[metric]
        assert result.metric_value == round(100 * report["official"]["scores"][key], 2)
        assert (result.task_type, result.dataset_name) == ("image-to-text", "flickr8k")
        assert result.metric_args["search"] == report["search"]
        assert result.metric_args["images"] == 1000
        assert "stanford-ptb" in result.metric_args["tokenizer"]


def test_a_card_states_nothing_that_is_not_known(toy):
    _, header = toy
    gru = replace(header.model, decoder=RecurrentConfig(cell="gru"))
    header = replace(header, model=gru, scores={})
    data = card_of(write_card(header, None, repo="me/toy", facts=Facts()).encode()).data
    assert (data.language, data.base_model, data.datasets) == (None, None, None)
    assert data.tags == ["image-captioning", "attention", "gru"]


def test_a_card_names_the_weights_that_the_first_of_several_trainings_fetched(toy):
    _, header = toy
    vit = EncoderConfig(backbone="vit_tiny_patch16_224")
    first = {"settings": {"encoder_weights": "hub"}}
    header = replace(
        header,
        model=replace(header.model, encoder=vit),
        trained_on={"settings": {"encoder_weights": "none"}, "before": first},
        scores={},
    )
    text = write_card(header, None, repo="me/toy", facts=Facts())
    assert card_of(text.encode()).data.base_model == VIT_TINY


def test_what_the_command_says_and_what_the_readme_says_goes_into_the_metadata(
    dry, checkpoints, tmp_path
):
    model, header = load_checkpoint(checkpoints["lstm"])
    checkpoint = tmp_path / "mine" / "model.safetensors"
    save_checkpoint(checkpoint, model, replace(header, scores={}), half=False)
    card = dry(checkpoint, "--dataset", "my/photos", "--language", "de", "--base-model", "me/net")
    assert (card.data.datasets, card.data.language) == (["my/photos"], "de")
    assert (card.data.base_model, card.data.license) == ("me/net", None)
    assert card.data.eval_results is None
    (checkpoint.parent / "README.md").write_text(
        "---\nlicense: cc-by-4.0\ntags: [birds]\n---\n\n# Birds\n\n[why](../why.md)\n"
    )
    card = dry(checkpoint)
    assert (card.data.license, card.data.tags) == ("cc-by-4.0", ["birds"])
    assert card.text.strip().startswith("# Birds\n\nwhy\n")


def test_what_the_command_says_goes_before_what_the_readme_says(dry, checkpoints, tmp_path):
    checkpoint = tmp_path / "mine" / "model.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(checkpoints["lstm"].read_bytes())
    theirs = {
        "license": "other", "license_name": "birds-1.0", "license_link": "LICENSE",
        "language": "en", "datasets": ["birds"], "base_model": "timm/net", "tags": ["birds"],
    }  # fmt: skip
    text = f"---\n{json.dumps(theirs)}\n---\n\n# Birds\n"
    (checkpoint.parent / "README.md").write_text(text)
    given = {
        "--license": {"license": "mit", "license_name": None, "license_link": None},
        "--language": {"language": "de"},
        "--dataset": {"datasets": ["me/photos"]},
        "--base-model": {"base_model": "me/net"},
    }

    def stated(*arguments):
        data = dry(checkpoint, *arguments).data
        return {key: data.get(key) for key in theirs}

    assert stated() == theirs
    arguments = []
    for option, values in given.items():
        value = next(iter(values.values()))
        own = [option, value[0] if isinstance(value, list) else value]
        assert stated(*own) == theirs | values
        arguments += own
    assert stated(*arguments) == {
        "license": "mit", "license_name": None, "license_link": None,
        "language": "de", "datasets": ["me/photos"], "base_model": "me/net", "tags": ["birds"],
    }  # fmt: skip
