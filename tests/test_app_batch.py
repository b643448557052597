"""The batch: its limit, and its downloads."""

import json
from base64 import b64decode

from app.batch import BatchWork, explain_count, to_csv, to_json
from app.html import BatchRow


def unpack(packed: str) -> tuple[str, str]:
    name, uri = json.loads(packed)
    return name, b64decode(uri.partition(",")[2]).decode()


def test_a_batch_has_a_limit():
    assert explain_count(0) == "No photos chosen; choose some first."
    assert explain_count(201) == (
        "201 photos are more than the limit of 200; choose fewer, or run `captioner folder` on "
        "their folder."
    )


def test_a_batch_is_saved_as_csv_and_json():
    rows = (
        BatchRow(name="a.jpg", caption='A "dog", running', log_probability=-0.5),
        BatchRow(name="=1+1.jpg", error="=1+1.jpg: not an image"),
    )
    assert unpack(to_csv(BatchWork(rows=rows))) == (
        "captions.csv",
        "\ufefffile,caption,log_probability,error\r\n"
        'a.jpg,"A ""dog"", running",-0.5,\r\n'
        "'=1+1.jpg,,,'=1+1.jpg: not an image\r\n",
    )
    name, text = unpack(to_json(BatchWork(rows=rows)))
    assert name == "captions.json"
    assert json.loads(text) == [
        {"file": "a.jpg", "caption": 'A "dog", running', "log_probability": -0.5, "error": ""},
        {
            "file": "=1+1.jpg",
            "caption": "",
            "log_probability": None,
            "error": "=1+1.jpg: not an image",
        },
    ]
