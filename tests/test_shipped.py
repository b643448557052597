import shutil
from pathlib import Path

import pytest

from captioner.checkpoint import shipped
from captioner.checkpoint.known import KNOWN
from captioner.checkpoint.shipped import DEFAULT, CheckpointInfo, find_checkpoint, list_checkpoints
from captioner.errors import CheckpointError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout that the module believes to lie in."""
    (tmp_path / "captioner").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(
        shipped, "__file__", str(tmp_path / "captioner" / "checkpoint" / "shipped.py")
    )
    return tmp_path


def ship(folder: Path, name: str, file: Path | None = None) -> Path:
    path = folder / "checkpoints" / name / "model.safetensors"
    path.parent.mkdir(parents=True)
    if file is None:
        path.write_bytes(b"")
    else:
        shutil.copy(file, path)
    return path


def problem(name_or_path: str | Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(name_or_path)
    return str(caught.value)


def test_a_checkpoint_is_found_by_name_in_a_checkout_and_in_the_package(root):
    here = ship(root, "toy")
    inside = ship(root / "captioner", "other")
    assert find_checkpoint("toy") == here
    assert find_checkpoint("other") == inside


def test_a_checkouts_own_copy_wins_over_the_packages(root):
    ship(root / "captioner", "toy")
    own = ship(root, "toy")
    assert find_checkpoint("toy") == own


def test_another_packages_checkpoints_next_to_an_installed_one_are_not_ours(root):
    ship(root, "toy")
    (root / "pyproject.toml").unlink()
    assert list_checkpoints() == []
    assert problem("toy").startswith("No checkpoint is called 'toy'")


def test_the_default_is_found_without_a_name(root):
    path = ship(root, DEFAULT)
    assert find_checkpoint() == path


def test_a_file_or_the_folder_around_it_may_be_given(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("runs")
    path = ship(elsewhere, "mine")
    assert find_checkpoint(path) == path
    assert find_checkpoint(str(path)) == path
    assert find_checkpoint(path.parent) == path


def test_a_name_wins_over_a_folder_of_that_name(root, tmp_path_factory, monkeypatch):
    path = ship(root, "toy")
    here = tmp_path_factory.mktemp("here")
    ship(here, "toy")
    monkeypatch.chdir(here / "checkpoints")
    assert find_checkpoint("toy") == path


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(root):
    ship(root, "vit-tiny-lstm")
    ship(root, DEFAULT)
    names = ", ".join([DEFAULT, "vit-tiny-lstm", *KNOWN])
    ending = f"Choose from {names}, or give the path of a .safetensors file."
    assert problem("vit-tiny-lsmt") == (
        f"No checkpoint is called 'vit-tiny-lsmt'. Did you mean 'vit-tiny-lstm'? {ending}"
    )
    assert problem("qqq") == f"No checkpoint is called 'qqq'. {ending}"


def test_where_nothing_is_shipped_the_error_asks_for_a_path(root):
    assert problem(DEFAULT) == (
        f"No checkpoint is called '{DEFAULT}': this copy of captioner has none; "
        "give the path of a .safetensors file."
    )


def test_a_missing_path_and_an_unknown_name_have_different_errors(root, tmp_path):
    assert problem("runs/best") == "runs/best: no such checkpoint file; check the path."
    assert problem("x.safetensors") == "x.safetensors: no such checkpoint file; check the path."
    assert problem(tmp_path) == (
        f"{tmp_path}: this folder holds no model.safetensors; give the file itself."
    )


def test_checkpoints_are_described_from_their_headers_the_default_first(root, checkpoints):
    ship(root, "a-toy", checkpoints["lstm"])
    path = ship(root, DEFAULT, checkpoints["transformer"])
    first, second = list_checkpoints()
    assert first == CheckpointInfo(
        name=DEFAULT,
        path=path,
        decoder="transformer",
        encoder="test_vit",
        parameters=first.parameters,
        scores={"toys": {"BLEU-4": 0.25, "CIDEr": 0.5}},
    )
    assert first.parameters > 300_000
    assert (second.name, second.decoder, second.encoder) == ("a-toy", "lstm", "test_resnet")


def test_a_damaged_checkpoint_is_named_when_listing(root):
    path = ship(root, "toy")
    with pytest.raises(CheckpointError, match=f"^{path}: not a whole safetensors file"):
        list_checkpoints()


def test_what_this_checkout_ships_can_be_listed():
    for info in list_checkpoints():
        assert find_checkpoint(info.name) == info.path
        assert info.parameters > 0
