"""The comparison with transformers that a person with the weights runs, on tiny ones."""

import pytest

from benchmarks.pretrained import main
from tests import foreign
from tests.photos import noise


@pytest.mark.parametrize("family", ["blip", "florence", "git", "vit_gpt2"])
def test_both_programs_caption_the_same_photos(tmp_path, capsys, family):
    model = getattr(foreign, family)(seed=1)
    size = {"size": {"height": 64, "width": 64}}
    if family == "git":
        size = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    kind = {"blip": "Blip", "git": "CLIP", "florence": "CLIP"}.get(family, "ViT")
    photos = {**size, "image_processor_type": f"{kind}ImageProcessor", "resample": 3}
    if family == "florence":
        photos["do_center_crop"] = False
        photos |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    folder = foreign.write(model, tmp_path / family, photos=photos)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        noise(90 + number, 120).save(file)
    assert main([str(folder), *map(str, files), "--words", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    apart = [float(line.split()[-2]) for line in lines if line.startswith("pixels of ")]
    assert len(apart) == 3
    assert max(apart) < 1e-5
    assert [line.split(":")[0] for line in lines if " s a photo here" in line] == [
        "greedy",
        "beam 3",
    ]
    greedy = lines.index(next(line for line in lines if line.startswith("beam")))
    assert "transformers: " not in "".join(lines[4:greedy])


def test_a_checkpoint_of_ours_is_refused(checkpoints, tmp_path, capsys):
    assert main([str(checkpoints["lstm"]), str(tmp_path / "x.png")]) == 1
    assert "is no captioner that others trained" in capsys.readouterr().err
