import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import captioner
from captioner.checkpoint.header import read_header
from captioner.cli import main
from captioner.pytorch import TorchCaptioner

ROOT = Path(__file__).parent.parent
POSIX = pytest.mark.skipif(os.name != "posix", reason="pipes and file names as on POSIX")


@pytest.fixture
def caption(checkpoints, capsys):
    """Run `captioner caption` in this process: exit status, lines on stdout, lines on stderr."""

    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        return call(capsys, "caption", "--checkpoint", checkpoints["lstm"], *arguments)

    return run


def call(capsys, *arguments: object) -> tuple[int, list[str], list[str]]:
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse
        status = end.code
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.splitlines()


def real(*arguments: object, **options) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "captioner", *map(os.fspath, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, check=False, **options)


@POSIX
def test_the_real_command_captions_what_it_can_and_names_what_it_cannot(
    checkpoints, photos, tmp_path
):
    odd = os.fsencode(tmp_path) + b"/odd-\xff.png"
    shutil.copy(photos[0], odd)
    missing = tmp_path / "missing.jpg"
    done = real("caption", "--checkpoint", checkpoints["lstm"], odd, missing, photos[1])
    model = TorchCaptioner.load(checkpoints["lstm"], device="cpu")
    expected = [model.caption(photo).text.encode() for photo in photos[:2]]
    assert done.stdout.splitlines() == [
        odd + b"\t" + expected[0],
        os.fsencode(photos[1]) + b"\t" + expected[1],
    ]
    assert done.stderr.decode() == f"captioner: {missing}: no such file; check the path.\n"
    assert done.returncode == 1


def test_help_and_the_list_of_checkpoints_come_without_loading_torch_or_pillow():
    for arguments in (["--help"], ["caption", "--help"], ["--version"], ["checkpoints"]):
        code = (
            f"import sys; sys.argv = ['captioner', *{arguments}]\n"
            "from captioner.cli import main\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "print([m for m in ('torch', 'timm', 'PIL') if m in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]", arguments


def test_help_loads_hardly_anything():
    code = (
        "import sys; from captioner.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('tokenizers', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.startswith("usage: captioner [-h] [--version] COMMAND")
    assert done.stdout.endswith("[]\n")


def test_the_version_is_the_packages():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert table["project"].get("version", captioner.__version__) == captioner.__version__
    done = real("--version", text=True)
    assert (done.returncode, done.stdout) == (0, f"captioner {captioner.__version__}\n")


@POSIX
def test_a_reader_that_leaves_early_gets_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "captioner", "checkpoints", "--json"]
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_interruption_gets_no_traceback(caption, photos, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TorchCaptioner, "caption_batch", interrupted)
    assert caption(photos[0]) == (130, [], [])


def test_one_photo_gives_its_caption_alone(caption, photos, checkpoints):
    expected = TorchCaptioner.load(checkpoints["lstm"]).caption(photos[1]).text
    assert caption(photos[1]) == (0, [expected], [])


def test_several_photos_give_a_line_each_in_order(caption, photos, checkpoints):
    model = TorchCaptioner.load(checkpoints["lstm"])
    expected = [f"{photo}\t{model.caption(photo).text}" for photo in photos]
    assert caption(*photos) == (0, expected, [])
    for size in (1, 3):
        assert caption(*photos, "--batch-size", size) == (0, expected, [])


def test_a_photo_given_twice_is_captioned_twice(caption, photos):
    status, lines, _ = caption(photos[0], photos[0])
    assert (status, len(lines), len(set(lines))) == (0, 2, 1)


def test_paths_are_printed_as_they_were_given(caption, photos, monkeypatch):
    monkeypatch.chdir(photos[0].parent)
    _, lines, _ = caption("./flag.png", "flag.png")
    assert [line.split("\t")[0] for line in lines] == ["./flag.png", "flag.png"]
    _, lines, _ = caption("./flag.png", "--json")
    assert json.loads(lines[0])["image"] == "./flag.png"


def test_json_is_one_object_a_line_with_everything(caption, photos, checkpoints):
    status, lines, errors = caption(*photos[:2], "--json", "--beam", 3, "--max-words", 4)
    model = TorchCaptioner.load(checkpoints["lstm"])
    assert status == 0
    assert all("Attention is" in error for error in errors)  # untrained, it stares
    for line, photo in zip(lines, photos[:2], strict=True):
        found = json.loads(line)
        expected = model.caption(photo, beam=3, max_words=4).to_dict()
        assert found.keys() == expected.keys()
        assert found["image"] == str(photo)
        assert found["caption"] == expected["caption"]
        assert found["checkpoint"] == "toy-lstm"
        assert found["search"] == expected["search"]
        assert found["search"]["beam"] == 3
        assert [w["word"] for w in found["words"]] == [w["word"] for w in expected["words"]]


def test_every_setting_reaches_the_search(caption, photos, checkpoints):
    model = TorchCaptioner.load(checkpoints["lstm"])
    _, lines, _ = caption(
        photos[0], "--json", "--search", "sample", "--max-words", 5, "--temperature", 0.5,
        "--top-k", 4, "--top-p", 0.9, "--seed", 6,
    )  # fmt: skip
    assert json.loads(lines[0])["search"] == {
        "method": "sample",
        "max_words": 5,
        "temperature": 0.5,
        "top_k": 4,
        "top_p": 0.9,
        "seed": 6,
        "no_repeat": 0,
        "forbid": [],
        "require": [],
        "no_end": [],
        "prompt": "",
    }
    _, lines, _ = caption(photos[0], "--json", "--beam", 3, "--length-penalty", 0.7)
    assert json.loads(lines[0])["search"]["length_penalty"] == 0.7
    _, lines, _ = caption(photos[0], "--json", "--prompt", "a man")
    assert json.loads(lines[0])["search"]["prompt"] == "a man"
    assert json.loads(lines[0])["caption"] == model.caption(photos[0], prompt="a man").text
    _, lines, errors = caption(photos[0], "--json", "--beam", 4, "--groups", 2, "--diversity", 1.5)
    search = json.loads(lines[0])["search"]
    assert (search["beam"], search["groups"], search["diversity"]) == (4, 2, 1.5)
    _, _, errors = caption(photos[0], "--diversity", 1.5)
    assert errors == [
        "captioner: --diversity is 1.5, which does nothing while --groups is 1; leave it out, or "
        "set --groups."
    ]


def test_rules_reach_the_search(caption, photos, checkpoints):
    words = read_header(checkpoints["lstm"]).tokenizer
    first, second = (words.decode([id]).lower() for id in (4, 5))
    rules = ("--require", first, "--forbid", second, "--no-repeat", 2, "--no-end", first)
    _, lines, _ = caption(photos[0], "--json", *rules)
    found = json.loads(lines[0])
    assert {
        name: found["search"][name] for name in ("require", "forbid", "no_repeat", "no_end")
    } == {
        "require": [first],
        "forbid": [second],
        "no_repeat": 2,
        "no_end": [first],
    }
    said = words.encode(found["caption"])
    assert words.encode(first)[0] in said[:-1]
    assert words.encode(second)[0] not in said


def test_words_that_cannot_be_required_are_a_usage_error(caption, photos):
    status, lines, errors = caption(photos[0], "--require", "xyzzy")
    assert (status, lines) == (2, [])
    assert errors == [
        "captioner: --require: 'xyzzy' is not in the vocabulary of this model; choose another word."
    ]


def test_photos_that_cannot_be_read_are_named_and_the_others_captioned(caption, photos, tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("a dog on a beach")
    bad = [tmp_path / name for name in ("none.jpg", "empty.jpg", "text.jpg")]
    status, lines, errors = caption(bad[0], photos[0], bad[1], photos[1], bad[2])
    assert status == 1
    assert [line.split("\t")[0] for line in lines] == [str(photo) for photo in photos[:2]]
    assert [error.split(": ")[1] for error in errors] == [str(path) for path in bad]
    assert errors[0] == f"captioner: {bad[0]}: no such file; check the path."


def test_where_no_photo_can_be_read_nothing_is_printed(caption, tmp_path):
    status, lines, errors = caption(tmp_path / "none.jpg")
    assert (status, lines, len(errors)) == (1, [], 1)


def test_a_folder_given_as_photo_is_an_error_that_names_the_way_out(caption, photos, tmp_path):
    folder = photos[0].parent
    status, lines, errors = caption(folder, tmp_path)
    assert (status, lines) == (1, [])
    assert errors == [
        f"captioner: {folder}: a folder, not a photo; name the photos in it, "
        f"as in {folder / '*.jpg'}",
        f"captioner: {tmp_path}: an empty folder; name a photo.",
    ]


def test_an_unknown_checkpoint_is_reported_before_anything_is_loaded(capsys, photos):
    status, lines, errors = call(capsys, "caption", photos[0], "--checkpoint", "nothing")
    assert (status, lines) == (2, [])
    assert errors[0].startswith("captioner: No checkpoint is called 'nothing'")


def test_a_damaged_checkpoint_is_named(capsys, photos, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    status, lines, errors = call(
        capsys, "caption", photos[0], "--checkpoint", tmp_path / "m.safetensors"
    )
    assert (status, lines, len(errors)) == (2, [], 1)
    assert errors[0].startswith(f"captioner: {tmp_path / 'm.safetensors'}: not a whole safetensors")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--beam", "0"], "captioner: --beam is 0; it must be 1 or more."),
        (["--beam", "two"], "argument --beam: invalid int value: 'two'"),
        (["--batch-size", "0"], "argument --batch-size: 0 is not 1 or more"),
        (["--search", "best"], "argument --search: invalid choice: 'best'"),
        (["--search", "sample", "--top-p", "2"], "captioner: --top-p is 2.0; it must be in"),
        (
            ["--temperature", "nan", "--search", "sample"],
            "captioner: --temperature is nan; it must ",
        ),
        (["--device", "gpu"], "captioner: device 'gpu' cannot be used"),
        (["--beem", "3"], "unrecognized arguments: --beem 3"),
    ],
)
def test_an_invalid_setting_is_a_usage_error(caption, photos, arguments, problem):
    status, lines, errors = caption(photos[0], *arguments)
    assert (status, lines) == (2, [])
    assert problem in errors[-1]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["--seed", "3"],
            'captioner: --seed is 3, which does nothing while --search is "beam"; leave it out, '
            "or set --search sample.",
        ),
        (
            ["--search", "greedy", "--length-penalty", "1"],
            'captioner: --length-penalty is 1.0, which does nothing while --search is "greedy"; '
            "leave it out, or set --search beam.",
        ),
    ],
)
def test_a_setting_of_another_search_is_refused(caption, photos, arguments, error):
    status, lines, errors = caption(photos[0], *arguments)
    assert (status, lines, errors) == (2, [], [error])


@pytest.mark.parametrize("arguments", [[], ["caption"], ["describe"], ["caption", "--json"]])
def test_an_incomplete_command_line_is_a_usage_error(capsys, arguments):
    status, lines, errors = call(capsys, *arguments)
    assert (status, lines) == (2, [])
    assert errors[0].startswith("usage: captioner")


def test_help_says_what_is_printed_and_what_the_exit_status_means(capsys):
    status, lines, _ = call(capsys, "caption", "--help")
    text = "\n".join(lines)
    assert status == 0
    for said in ("PATH, a tab, the caption", "Exit status: 0 all photos", '"weights"', "--json"):
        assert said in text


@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("gif", b"GIF8"), ("html", b"<!doctype html>")]
)
def test_overlays_are_drawn_under_the_photos_name(caption, photos, tmp_path, kind, start):
    folder = tmp_path / "new" / "overlays"
    status, lines, _ = caption(photos[0], "--overlay", folder, "--format", kind)
    assert (status, len(lines)) == (0, 1)
    (drawn,) = folder.iterdir()
    assert drawn.name == f"{Path(photos[0]).name}.{kind}"
    assert drawn.read_bytes().lower().startswith(start.lower())


def test_photos_of_one_name_have_overlays_of_their_own(caption, photos, tmp_path):
    for place, photo in zip("ab", photos, strict=False):
        (tmp_path / place).mkdir()
        shutil.copy(photo, tmp_path / place / "1.png")
    given = [tmp_path / place / "1.png" for place in "ab"]
    assert caption(*given, "--overlay", tmp_path / "out", "--batch-size", 1)[0] == 0
    for place, photo in zip("ab", given, strict=True):
        assert caption(photo, "--overlay", tmp_path / "alone")[0] == 0
        alone = (tmp_path / "alone/1.png.png").read_bytes()
        assert (tmp_path / "out" / place / "1.png.png").read_bytes() == alone
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def test_a_folder_for_overlays_that_cannot_be_made_is_named(caption, photos, tmp_path):
    (tmp_path / "file").write_text("in the way")
    status, lines, errors = caption(photos[0], "--overlay", tmp_path / "file" / "overlays")
    assert (status, len(lines)) == (2, 1)
    assert "file/overlays" in errors[-1]
    assert "cannot be written: Not a directory" in errors[-1]
