import json
import subprocess
import sys
from dataclasses import replace

import pytest

from captioner.checkpoint import header as header_module
from captioner.checkpoint.header import Header, format_header, parse_header
from captioner.config import AttentionConfig, ModelConfig, PreprocessConfig, SearchConfig
from captioner.decoders import RecurrentConfig
from captioner.errors import CheckpointError, ConfigError
from captioner.words.tokenizer import Tokenizer


@pytest.fixture
def header(tokenizer: Tokenizer) -> Header:
    return Header(
        name="toy",
        model=ModelConfig(decoder=RecurrentConfig(cell="gru")),
        preprocess=PreprocessConfig(height=96, fit="letterbox"),
        tokenizer=tokenizer,
        search=SearchConfig(beam=7),
        trained_on={"data": "drawings of “wörds”", "photos": 3},
        scores={"drawings": {"CIDEr": 0.5}},
        parameters=12,
    )


def table(header: Header) -> dict:
    return json.loads(format_header(header))


def problem(changed: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        parse_header(json.dumps(changed), where="m.safetensors")
    return str(caught.value)


def test_a_header_reads_back_as_it_was_written(header):
    again = parse_header(format_header(header), where="m.safetensors")
    assert replace(again, tokenizer=header.tokenizer) == header
    assert again.tokenizer.to_json() == header.tokenizer.to_json()


def test_a_header_is_plain_json_with_its_format_first(header):
    assert list(table(header)) == [
        "format",
        "name",
        "model",
        "preprocess",
        "search",
        "tokenizer",
        "trained_on",
        "scores",
        "parameters",
    ]
    assert table(header)["format"] == header_module.FORMAT
    assert table(header)["model"]["decoder"]["cell"] == "gru"


def test_what_has_a_default_may_be_left_out_when_a_header_is_made(tokenizer):
    header = Header(
        name="toy", model=ModelConfig(), preprocess=PreprocessConfig(), tokenizer=tokenizer
    )
    assert header.search == SearchConfig()
    assert header.trained_on == header.scores == {}


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/home/me/photos", "photos"),
        ("../../../tmp/x/photos", "photos"),
        ("./../shards/train-*.tar", "train-*.tar"),
        ("photos/../../me/photos.zip", "photos.zip"),
        ("..", ""),
        ("../..", ""),
        ("~/photos", "photos"),
        ("~me/photos/", "photos"),
        ("~me", ""),
        ("C:\\Users\\me\\photos", "photos"),
        ("c:/Users/me/photos", "photos"),
        ("D:photos\\birds", "birds"),
        ("\\\\server\\share\\me\\photos", "photos"),
        ("..\\me\\photos", "photos"),
        ("file:///home/me/photos", "photos"),
        ("datasets/coco/train2014", "datasets/coco/train2014"),
        ("datasets/../photos", "datasets/../photos"),
        ("hf://datasets/me/photos", "hf://datasets/me/photos"),
        ("hf:me/net", "hf:me/net"),
        ("~5 words, ...", "~5 words, ..."),
        ("...and a dog", "...and a dog"),
        ("a: b", "a: b"),
    ],
)
def test_no_header_holds_a_path_out_of_the_working_directory(header, path, kept):
    settings = {"data": {"train": [{"images": [path]}], "cache": path}, path: 1}
    header = replace(header, trained_on={"before": settings}, scores={"test": {"file": path}})
    again = parse_header(format_header(header), where="m.safetensors")
    kept_settings = {"data": {"train": [{"images": [kept]}], "cache": kept}, kept: 1}
    assert again.trained_on == {"before": kept_settings}
    assert again.scores == {"test": {"file": kept}}


def test_a_newer_format_asks_for_an_upgrade(header):
    assert problem(table(header) | {"format": 7}) == (
        "m.safetensors: has format 7, but this version reads formats up to 2; "
        "upgrade it: pip install --upgrade captioner"
    )


@pytest.mark.parametrize("number", [None, "1", 0, -1, 1.0, True])
def test_a_format_must_be_a_counting_number(header, number):
    assert problem(table(header) | {"format": number}) == (
        "m.safetensors: its header gives no format number; download or save the checkpoint again."
    )


@pytest.mark.parametrize("text", ["[]", "3", '"model"', "null"])
def test_a_header_must_be_a_table(text):
    with pytest.raises(CheckpointError, match="gives no format number"):
        parse_header(text, where="m.safetensors")


def test_a_truncated_header_is_not_json(header):
    with pytest.raises(CheckpointError, match=r"^m\.safetensors: its header is not JSON \("):
        parse_header(format_header(header)[:-1], where="m.safetensors")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": 1, "scores": ' + '{"a":' * 100_000,
        '{"format": ' + "1" * 5000 + "}",
    ],
)
def test_a_deeply_nested_header_is_not_json(text):
    with pytest.raises(CheckpointError, match=r"^m\.safetensors: its header is not JSON \("):
        parse_header(text, where="m.safetensors")


def test_a_number_without_end_is_named(header):
    changed = table(header)
    changed["search"]["temperature"] = 10**400
    assert problem(changed) == (
        "m.safetensors: its header is damaged: search.temperature is inf; it must be finite."
    )


def test_a_vocabulary_that_makes_the_library_panic_is_an_error_that_names_the_file(header):
    changed = table(header)
    changed["tokenizer"]["normalizer"]["normalizers"][0]["pattern"]["Regex"] = ""
    assert problem(changed).startswith(
        "m.safetensors: its header is damaged: The checkpoint's tokenizer cannot be read: index"
    )


@pytest.mark.parametrize("name", ["name", "model", "tokenizer", "scores", "parameters"])
def test_what_a_header_lacks_is_named(header, name):
    changed = table(header)
    del changed[name]
    assert problem(changed) == (
        f"m.safetensors: its header lacks '{name}'; download or save the checkpoint again."
    )


def test_an_invalid_setting_is_reported_with_the_file(header):
    changed = table(header)
    changed["search"]["beam"] = 0
    assert problem(changed) == (
        "m.safetensors: its header is damaged: search.beam is 0; it must be 1 or more."
    )
    assert "'hight'; did you mean 'height'?" in problem(
        table(header) | {"preprocess": {"hight": 224}}
    )


@pytest.mark.parametrize(
    ("name", "value"), [("name", 3), ("trained_on", []), ("scores", 0.5), ("parameters", "12")]
)
def test_a_value_of_another_type_is_named_with_the_file(header, name, value):
    assert problem(table(header) | {name: value}).startswith(
        f"m.safetensors: its header is damaged: {name} is {value!r}; it must be "
    )


def test_an_unreadable_vocabulary_is_reported_with_the_file(header):
    assert problem(table(header) | {"tokenizer": {}}).startswith(
        "m.safetensors: its header is damaged: The checkpoint's tokenizer cannot be read"
    )


def test_an_old_header_is_brought_up_to_date_one_step_at_a_time(header, monkeypatch):
    def rename(old: dict) -> dict:
        return {"label" if k == "name" else k: v for k, v in old.items()}

    def rename_back(old: dict) -> dict:
        return {"name" if k == "label" else k: v for k, v in old.items()} | {"scores": {}}

    monkeypatch.setattr(header_module, "FORMAT", 3)
    monkeypatch.setattr(header_module, "MIGRATIONS", {1: rename, 2: rename_back})
    first, second = table(header) | {"format": 1}, rename(table(header)) | {"format": 2}
    for old in (first, second):
        again = parse_header(json.dumps(old), where="m.safetensors")
        assert (again.name, again.scores) == ("toy", {})


def test_every_older_format_has_its_step():
    assert sorted(header_module.MIGRATIONS) == list(range(1, header_module.FORMAT))


def test_a_search_starts_from_what_the_checkpoint_recommends(header):
    assert header.search_with() == SearchConfig(beam=7)
    assert header.search_with(max_words=9) == SearchConfig(beam=7, max_words=9)
    assert header.search_with(SearchConfig(method="greedy"), max_words=9) == SearchConfig(
        method="greedy", max_words=9
    )


def test_a_search_setting_that_is_unknown_or_out_of_range_is_refused(header):
    with pytest.raises(ConfigError, match=r"^search: unknown setting 'beems'; did you mean 'beam"):
        header.search_with(beems=3)
    with pytest.raises(ConfigError, match=r"^search\.beam is 0; it must be 1 or more\.$"):
        header.search_with(beam=0)
    with pytest.raises(ConfigError, match=r"^search\.beam is '5'; it must be "):
        header.search_with(beam="5")


def test_a_caption_may_not_be_longer_than_the_decoder_can_write(header):
    assert header.search_with(max_words=500).max_words == 500
    transformer = replace(header, model=ModelConfig())
    assert transformer.search_with(max_words=63).max_words == 63
    with pytest.raises(ConfigError) as caught:
        transformer.search_with(max_words=64)
    assert str(caught.value) == "search.max_words is 64; toy writes 63 at most."


def test_headers_are_read_without_torch():
    report = "print('torch' in sys.modules, 'numpy' in sys.modules)"
    code = f"import sys, captioner.checkpoint.shipped; {report}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_a_recommended_view_is_kept_and_changed_where_asked(header):
    assert "attention" not in table(header)
    advised = replace(header, attention=AttentionConfig(layer=1, head=2))
    again = parse_header(format_header(advised), where="m.safetensors")
    assert again.attention == AttentionConfig(layer=1, head=2)
    assert again.view_with() == again.attention
    assert again.view_with(head=3) == AttentionConfig(layer=1, head=3)
    assert again.view_with(method="mean") == AttentionConfig(method="mean")
    with pytest.raises(ConfigError, match=r"attention\.head is 0"):
        again.view_with(head=0)
    whole = replace(header, attention=AttentionConfig(method="evidence"))
    assert whole.view_with() == whole.attention
    assert whole.view_with(layer=1, head=3) == AttentionConfig(layer=1, head=3)
