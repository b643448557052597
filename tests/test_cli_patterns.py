"""Patterns that shells leave to the command, as on Windows."""

from tests.photos import quarters
from tests.test_cli import caption

__all__ = ["caption"]


def test_a_pattern_that_the_shell_left_stands_for_the_files_it_fits(caption, tmp_path):
    for name in ("b.png", "a.png", "c[1].png", "c1.png", "d/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        quarters().save(tmp_path / name)

    def photos(pattern: str) -> list[str]:
        status, lines, errors = caption(tmp_path / pattern)
        assert (status, errors) == (0, [])
        return [line.partition("\t")[0].removeprefix(f"{tmp_path}/") for line in lines]

    assert photos("*.png") == ["a.png", "b.png", "c1.png", "c[1].png"]
    assert photos("[ab].png") == ["a.png", "b.png"]
    assert photos("**/*.png") == ["a.png", "b.png", "c1.png", "c[1].png", "d/e.png"]
    assert len(caption(tmp_path / "c[1].png")[1]) == 1  # a file is called so
    missing = tmp_path / "*.jpg"
    assert caption(missing, tmp_path / "a.png")[::2] == (
        1, [f"captioner: {missing}: no file fits this pattern; check the path."]
    )  # fmt: skip
    assert caption("https://example.org/a.jpg?size=9")[2] == [
        "captioner: https://example.org/a.jpg?size=9: an address, not a file; download it first."
    ]
