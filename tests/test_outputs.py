"""An output that cannot be written is an error before any work: here, before missing inputs are."""

from importlib import import_module
from pathlib import Path

import pytest

SMOKE = Path(__file__).with_name("smoke.toml")
INPUTS = "--annotations none.json --images none"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (f"training.confidence.__main__ none {INPUTS}", "--output"),
        (f"training.hallucination.__main__ --checkpoint none {INPUTS}", "--json"),
        (f"training.evaluate --checkpoint none {INPUTS}", "--results"),
        (f"training.evaluate --checkpoint none {INPUTS}", "--json"),
        ("training.score none.json none.json", "--json"),
        ("training.report.__main__ none", "--output"),
        ("training.report.__main__ none none", "--output"),
        ("training.rehearse none.toml", "--profile"),
        (f"training.release none {INPUTS}", "--folder"),
        (f"training.train {SMOKE}", "--folder"),
        ("data.prepare.__main__ none.csv --root none", "--output"),
        ("captioner.cli export none --onnx", "--output"),
        ("captioner.cli convert none", "--output"),
    ],
)
def test_an_output_that_cannot_be_written_is_an_error_before_any_work(
    tmp_path, capsys, command, option
):
    (tmp_path / "file").write_text("in the way")
    output = tmp_path / "file" / "output.safetensors"
    module, *arguments = command.split()
    status = import_module(module).main([*arguments, option, str(output)])
    said = capsys.readouterr()
    assert (status in (1, 2), said.out) == (True, "")
    assert said.err.partition(": ")[2] == (
        f"{output}: cannot be written: Not a directory; check the path.\n"
    )
