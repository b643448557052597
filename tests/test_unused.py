"""A new run is refused what would do nothing in it; older runs are still read."""

from pathlib import Path

import pytest
from shapes import write_shapes

from training import rehearse, train
from training.running.unused import refuse_unused
from training.settings import load_settings

SMOKE = Path(__file__).parent / "smoke.toml"
CONFIGS = Path(__file__).parents[1] / "training" / "configs"
SHIPPED = Path(__file__).parents[1] / "checkpoints" / "vit-tiny-lstm" / "model.safetensors"
START = f"start_from={SHIPPED}"
STARTED = (START, "model=", "preprocess=", "search=", "encoder_weights=", "data.min_count=")
WAY_OUT = (
    f"which does nothing while start_from is '{SHIPPED}', whose weights and vocabulary are kept"
)
REFUSED = {
    ("stages.0.begins_with=last",): (
        "stages.begins_with of stage 'decoder' is 'last', which does nothing in the first stage; "
        "leave it out."
    ),
    ("stages.1.max_steps=2", "stages.1.validate_steps=3"): (
        "stages.validate_steps of stage 'whole' is 3, which does nothing while max_steps is 2; "
        "leave it out, or set it to less than that."
    ),
    ("data.val.boxes=boxes.json",): (
        "data.val.boxes is 'boxes.json', which does nothing, since only training uses boxes; leave "
        "it out."
    ),
    (*STARTED, "encoder_weights=none"): (
        f"encoder_weights is 'none', {WAY_OUT}; leave it out (--set encoder_weights=), or leave "
        "out start_from."
    ),
    (*STARTED, "data.min_count=1"): (
        f"data.min_count is 1, {WAY_OUT}; leave it out (--set data.min_count=), or leave out "
        "start_from."
    ),
    (*STARTED, "data.words=bpe"): (
        f"data.words is 'bpe', {WAY_OUT}; leave it out (--set data.words=), or leave out "
        "start_from."
    ),
}  # fmt: skip
TAKEN = [
    (),
    STARTED,
    ("stages.1.begins_with=last",),
    ("stages.0.validate_steps=3",),
    ("stages.0.max_steps=3", "stages.0.validate_steps=3"),
    ("data.train.0.boxes=boxes.json",),  # says what the data are
]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path)


@pytest.mark.parametrize("changes", REFUSED, ids=lambda changes: changes[-1])
@pytest.mark.parametrize("command", [train.main, rehearse.main])
def test_a_new_run_is_refused_what_does_nothing(photos, capsys, changes, command):
    assert command([str(SMOKE), *(f"--set={change}" for change in changes)]) == 1
    assert capsys.readouterr().err == f"error: {REFUSED[changes]}\n"
    assert not Path("runs").exists()


@pytest.mark.parametrize("changes", TAKEN, ids=lambda changes: "-".join(changes[-1:]))
def test_what_does_something_is_taken(changes):
    refuse_unused(load_settings(SMOKE, changes))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_no_shipped_run_is_refused(path):
    start = [START, "model="] if path.stem == "coco_blip" else []  # BLIP is not here
    refuse_unused(load_settings(path, start))


def test_a_run_begun_before_these_were_refused_goes_on(photos, monkeypatch, capsys):
    old = [str(SMOKE), "--set=stages.0.begins_with=last", "--set=stages.0.max_steps=1",
           "--set=stages.0.validate_steps=2"]  # fmt: skip
    with monkeypatch.context() as before:
        before.setattr(train, "refuse_unused", lambda config: None)
        assert train.main(old) == 0
    assert train.main(old) == 0
    assert capsys.readouterr().err.count("error") == 0
    assert train.main([*old, "--folder=runs/new"]) == 1
