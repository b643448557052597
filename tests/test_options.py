"""Numbers that a command can do nothing with are usage errors."""

from importlib import import_module

import pytest

LEAST = {
    "training.rehearse config.toml": {"--steps": 1, "--photos": 1, "--val-photos": 1},
    "training.train config.toml": {"--log-every": 0},
    "training.evaluate checkpoint": {"--seed": 0, "--bootstrap": 0, "--batch-size": 1},
    "training.score captions.json results.json": {"--seed": 0, "--bootstrap": 0},
    "training.hallucination": {"--seed": 0, "--bootstrap": 0, "--limit": 1},
    "training.grounding": {"--seed": 0, "--deletions": 0, "--layer": 1, "--head": 1},
    "training.confidence checkpoint": {"--count": 1, "--limit": 1, "--doubtful": 0},
    "training.nonphotos": {"--count": 1},
    "training.report folder": {"--photos": 0},
    "data.prepare coco": {"--workers": 1},
}


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [
        (line, option, str(value))
        for line, options in LEAST.items()
        for option, least in options.items()
        for value in (least - 1, "nan", "many")
    ],
)
def test_numbers_below_the_least_are_usage_errors(capsys, line, option, value):
    name, *arguments = line.split()
    package = name in ("training.hallucination", "training.grounding", "training.confidence",
                       "training.nonphotos", "training.report", "data.prepare")  # fmt: skip
    main = import_module(f"{name}.__main__" if package else name).main
    with pytest.raises(SystemExit) as ended:
        main([*arguments, option, value])
    assert ended.value.code == 2
    assert f"error: argument {option}: " in capsys.readouterr().err


def test_what_is_too_small_is_told_with_the_least(capsys):
    from training.rehearse import main

    with pytest.raises(SystemExit):
        main(["config.toml", "--steps", "-1"])
    assert capsys.readouterr().err.endswith("error: argument --steps: -1 is not 1 or more\n")
