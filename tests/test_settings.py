import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from captioner.config import SearchConfig, to_table
from captioner.errors import ConfigError
from captioner.model import build_model
from captioner.schema import explain
from tests import foreign
from training import settings_page
from training.settings import (
    DataConfig,
    RunConfig,
    SourceConfig,
    StageConfig,
    load_settings,
    recipe,
)

ROOT = Path(__file__).parent.parent
SMOKE = ROOT / "tests" / "smoke.toml"
BLIP = ROOT / "training" / "configs" / "coco_blip.toml"
SHIPPED = sorted({*BLIP.parent.glob("*.toml")} - {BLIP})


def refused(*overrides: str) -> str:
    """What is said of the smoke run with these changes."""
    with pytest.raises(ConfigError) as error:
        load_settings(SMOKE, overrides)
    return str(error.value)


def test_all_runs_that_begin_from_nothing_are_shipped():
    names = [f"{data}_{kind}" for data in ("coco", "flickr8k") for kind in ("lstm", "transformer")]
    assert {path.stem for path in SHIPPED} == {*names, "coco_transformer_8"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_model_of_every_shipped_run_can_be_built(path):
    config = load_settings(path)
    with torch.device("meta"):
        model = build_model(config.model, preprocess=config.preprocess, words=50)
        pixels = torch.zeros(2, 3, config.preprocess.height, config.preprocess.width)
        reading = model(pixels, torch.zeros(2, 5, config.data.max_words + 1, dtype=torch.long))
    assert reading.logits.shape == (2, 5, config.data.max_words + 1, 50)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_run_feeds_its_encoder_what_it_was_pretrained_on(path):
    config = load_settings(path)
    known = timm.get_pretrained_cfg(config.model.encoder.backbone)
    assert config.preprocess.mean == known.mean
    assert config.preprocess.std == known.std
    assert config.preprocess.interpolation == known.interpolation
    size = known.test_input_size or known.input_size
    assert (3, config.preprocess.height, config.preprocess.width) == size


def test_the_recipe_of_blip_has_the_published_values(tmp_path):
    """Of configs/caption_coco.yaml, models/med.py and data/__init__.py in its authors' code."""
    folder = foreign.write(foreign.blip(), tmp_path / "blip")
    config = load_settings(BLIP, [f"start_from={folder}"])
    (stage,) = config.stages
    assert (stage.epochs, stage.batch_size, stage.weight_decay) == (5, 32, 0.05)
    assert (stage.learning_rate, stage.encoder_learning_rate, stage.final_rate) == (1e-5, 1e-5, 0)
    assert (stage.label_smoothing, stage.encoder, stage.frozen_layers) == (0.1, "trained", 0)
    assert (stage.randaugment, stage.randaugment_magnitude) == (2, 5)
    assert (config.search.prompt, config.search.beam) == ("a picture of", 3)
    assert config.model.decoder.dropout == 0.1
    trained = ("randaugment", "randaugment_magnitude", "encoder_learning_rate")
    assert load_settings(BLIP, [f"start_from={folder}", "stages.0.encoder=frozen",
                                *(f"stages.0.{name}=" for name in trained)])  # fmt: skip


def test_values_can_be_changed_from_outside():
    config = load_settings(
        SMOKE,
        [
            "stages.1.epochs=7",
            "model.decoder.dropout=0.25",
            "data.val.split=val",
            "data.train.0.images=['a', 'b.tar']",
            "preprocess.mean=[0, 0.5, 1]",
            "name = spaced ",
        ],
    )
    plain = load_settings(SMOKE)
    assert config.stages == (plain.stages[0], replace(plain.stages[1], epochs=7))
    assert config.model.decoder == replace(plain.model.decoder, dropout=0.25)
    assert config.data.val.split == "val"
    assert config.data.train[0].images == ("a", "b.tar")
    assert config.preprocess.mean == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("stages.0.epoch=3", "unknown setting 'epoch'; did you mean 'epochs'?"),
        ("model.decodr.width=3", "unknown setting 'decodr'; did you mean 'decoder'?"),
        ("model.decoder.kind=lstm", "unknown setting 'layers'"),
        ("stages.0.epochs=many", "stages.0.epochs is 'many'; it must be a whole number."),
        ("stages.0.epochs=0", "stages.epochs is 0; it must be 1 or more."),
        ("stages.0.learning_rate=0", "stages.learning_rate is 0.0; it must be above 0."),
        ("stages.0.temperature=0", "stages.temperature is 0.0; it must be above 0."),
        ("stages.0.bleu=-1", "stages.bleu is -1.0; it must be 0 or more."),
        ("stages.0.accumulate=0", "stages.accumulate is 0; it must be 1 or more."),
        ("stages.0.ema=1", "stages.ema is 1.0; it must be in [0, 1)."),
        ("stages.1.layer_decay=0", "stages.layer_decay is 0.0; it must be above 0."),
        ("stages.1.layer_decay=1.1", "stages.layer_decay is 1.1; it must be in [0, 1]."),
        ("stages.0.scheduled_sampling=2", "stages.scheduled_sampling is 2.0; it must be in [0, 1]"),
        ("stages.0.teacher_weight=2", "stages.teacher_weight is 2.0; it must be in [0, 1]."),
        ("stages.0.teacher_temperature=0", "teacher_temperature is 0.0; it must be above 0."),
        ("stages.0.randaugment=-1", "stages.randaugment is -1; it must be 0 or more."),
        ("stages.0.randaugment_magnitude=31", "magnitude is 31; it must be 30 or less."),
        ("stages.0.draws=dice", "draws is 'dice'; choose from samples, beam."),
        (
            "precision=int8",
            "precision is 'int8'; choose from auto, float32, bfloat16, float16.",
        ),
        ("stages.0.warmup=1.5", "stages.warmup is 1.5; it must be in [0, 1]."),
        ("stages.0.label_smoothing=1", "stages.label_smoothing is 1.0; it must be in [0, 1)."),
        ("stages.0.clip=-1", "stages.clip is -1.0; it must be 0 or more."),
        ("stages.0.encoder=warm", "encoder is 'warm'; choose from frozen, trained."),
        ("stages=[]", "stages is empty; a run needs at least one."),
        ("data.train=[]", "data.train is empty; a run needs at least one source of captions."),
        ("data.val.images=[]", "images of captions.jsonl is empty; name a folder or archive."),
        ("data.val.limit=0", "data source.limit is 0; it must be 1 or more."),
        ("data.workers=-1", "data.workers is -1; it must be 0 or more."),
        ("seed=-1", "seed is -1; it must be 0 or more."),
        ("name=a/b", "name is 'a/b'; it names a folder, so it must not contain slashes."),
        ("stages.2.epochs=1", "--set 'stages.2.epochs=1': '2' must be a number below 2."),
        ("stages.x=1", "--set 'stages.x=1': 'x' must be a number below 2."),
        ("name.first=1", "--set 'name.first=1': there is no table to put 'first' in."),
        ("name", "--set 'name' needs the form key=value."),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(override, text):
    assert text in refused(override)


OTHERS = {
    "layer_decay=0.7": 'encoder = "trained"',
    "frozen_layers=0.5": 'encoder = "trained"',
    "encoder_learning_rate=1e-5": 'encoder = "trained"',
    "checkpointing=true": 'encoder = "trained"',
    "randaugment=2": 'encoder = "trained"',
    "randaugment_magnitude=5": "randaugment",
    "bleu=1": 'objective = "cider"',
    "hallucination_penalty=0.3": 'objective = "cider"',
    "distinctiveness=1": 'objective = "cider"',
    "samples=3": 'objective = "cider"',
    "draws=beam": 'objective = "cider"',
    "teacher_weight=0.5": "teachers",
    "teacher_temperature=2": "teachers",
}


@pytest.mark.parametrize("setting", OTHERS)
def test_what_a_stage_would_pass_over_is_refused(setting):
    name, way_out = setting.partition("=")[0], OTHERS[setting]
    error = refused("stages.0.randaugment_magnitude=", f"stages.0.{setting}")
    assert f"{name} of stage 'decoder' is " in error or f".stages.0.{name} is " in error
    assert f", which does nothing while {way_out.partition(' ')[0]} is " in error
    assert error.endswith(f"; leave it out, or set {way_out}.")


@pytest.mark.parametrize(
    "setting",
    ["coverage=0.1", "grounding=0.1", "label_smoothing=0.1", "scheduled_sampling=0.2",
     "teachers=['big.safetensors']"],
)  # fmt: skip
def test_rewards_are_not_learned_with_what_belongs_to_words(setting):
    """Even a value that is the default: whoever wrote it expects something of it."""
    error = refused("stages.0.objective=cider", f"stages.0.{setting}")
    assert error.endswith(
        ', which does nothing while objective is "cider"; leave it out, or set objective = "words".'
    )


def test_settings_depend_on_single_ones_too():
    assert refused("stages.1.randaugment=2") == (
        "stages.randaugment of stage 'whole' is 2, which does nothing while augment is false; "
        "leave it out, or set augment = true."
    )
    own = "stages.0.objective=cider"
    assert refused(own, "stages.0.draws=beam", "stages.0.temperature=0.5") == (
        "stages.temperature of stage 'decoder' is 0.5, which does nothing while draws is "
        '"beam"; leave it out, or set draws = "samples".'
    )
    assert refused("data.vocabulary=100").startswith("smoke.toml.data.vocabulary is 100, which do")
    assert refused("search.temperature=1.0") == (
        'smoke.toml.search.temperature is 1.0, which does nothing while method is "beam"; leave '
        'it out, or set method = "sample".'
    )


def test_a_stage_is_refused_what_does_nothing_in_python_too():
    with pytest.raises(ConfigError, match=r"^stages\.coverage of stage 'x' is 0\.1, which does no"):
        StageConfig(name="x", epochs=1, objective="cider", coverage=0.1)
    table = to_table(StageConfig(name="x", epochs=1, objective="cider", encoder="trained"))
    assert {"samples", "frozen_layers"} <= table.keys()
    assert not {"label_smoothing", "coverage", "teachers", "teacher_weight"} & table.keys()


def test_boxes_do_not_follow_randaugment():
    boxes = "data.train.0.boxes=boxes.json"
    changes = ["stages.1.augment=true", "stages.1.randaugment=2", "stages.1.grounding=0.1"]
    assert refused(boxes, *changes) == (
        "stages.randaugment of stage 'whole' moves objects in a photo, and the boxes of "
        "stages.grounding would not follow; set one of them to 0."
    )


def test_captions_must_fit_the_decoders_positions():
    # START and 30 words: 31 positions.
    assert load_settings(SMOKE, ["model.decoder.max_positions=31"]).data.max_words == 30
    assert refused("model.decoder.max_positions=30") == (
        "data.max_words is 30, but the decoder has positions for 29; lower it, or raise "
        "model.decoder.max_positions to 31."
    )
    assert refused("search.max_words=64") == (
        "search.max_words is 64, but the decoder has positions for 63; lower it, or raise "
        "model.decoder.max_positions to 65."
    )


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no such settings file; see training/configs/"):
        load_settings(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_settings(tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("name = smoke")
    with pytest.raises(ConfigError, match=r"broken\.toml is not valid TOML: .*line 1"):
        load_settings(broken)


def test_the_recipe_is_all_but_where_and_how_fast():
    plain = load_settings(SMOKE)
    elsewhere = ["threads=3", "save_minutes=1", "keep=1", "shard=true"]
    elsewhere += ["data.cache=/elsewhere", "data.workers=2"]
    elsewhere += ["wandb=project", "compile=inductor", "stages.1.checkpointing=true"]
    assert recipe(load_settings(SMOKE, elsewhere)) == recipe(plain)
    for change in (
        "seed=1",
        "stages.0.epochs=9",
        "precision=float16",
        "data.min_count=2",
        "model.decoder.width=32",
    ):
        assert recipe(load_settings(SMOKE, [change])) != recipe(plain)
    kept = set(RunConfig.__dataclass_fields__)
    kept -= {"threads", "save_minutes", "keep", "overlays", "shard", "wandb", "compile"}
    assert recipe(plain).keys() == kept


def test_boxes_are_needed_to_learn_where_to_look():
    assert refused("stages.1.grounding=0.5") == (
        "stages.grounding of 'whole' is 0.5, but no data.train has boxes; set boxes in one, or "
        "set grounding to 0."
    )
    assert refused("stages.0.samples=1") == "stages.samples is 1; it must be 2 or more."


def test_the_page_of_settings_has_help():
    done = subprocess.run(
        [sys.executable, "-m", "training.settings_page", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("usage: python -m training.settings_page [-h]\n")


def test_every_setting_is_explained_and_the_page_of_settings_is_made_from_that():
    lines = "\n".join(settings_page.page())
    assert lines == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for settings in (RunConfig, DataConfig, SourceConfig, StageConfig, SearchConfig):
        assert [name for name, text in explain(settings).items() if not text] == []
    assert '| `coverage` | `0.0` | `objective = "words"` | Weight of the doubly' in lines
