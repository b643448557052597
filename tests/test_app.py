"""The app's HTTP API and its limits; test_app_browser*.py drive the page."""

import asyncio
import json
import math
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import ui
from app.controls import read_upload
from app.occlusion import paint_out
from app.validation import explain_invalid_requests
from app.viewer import list_views
from captioner import AttentionConfig, CaptionerError, SearchConfig
from captioner.pytorch import TorchCaptioner
from tests.conftest import TOYS
from tests.photos import noise
from tests.serving import uploaded

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
CLIENTS = 20
GREEDY = ("greedy", 3, 8, 0, 1, 0, 1, 0, 0, "", "", 1, 0.5, False)
"""Decoding settings in order, without attention."""
PATIENCE = 120
"""Seconds to wait for what a slow machine does late."""


@pytest.fixture(scope="module")
def captioners(tokenizer) -> dict[str, TorchCaptioner]:
    made = [TorchCaptioner(*make(tokenizer)) for make in TOYS.values()]
    return {captioner.header.name: captioner for captioner in made}


@pytest.fixture(scope="module")
def url(served) -> str:
    return served[0]["toys"]


def connect(url: str) -> Client:
    return Client(url, verbose=False, httpx_kwargs={"timeout": PATIENCE})


@pytest.fixture(scope="module")
def client(url) -> Client:
    return connect(url)


def post(url: str, photo: object) -> str:
    """The answer of `/caption` to a raw photo value."""
    return send(url, [photo, "toy-lstm", *GREEDY])


def send(url: str, data: list) -> str:
    """The answer of `/caption` to raw values, which may include NaN."""
    kind = {"Content-Type": "application/json"}
    content = json.dumps({"data": data})
    begun = httpx.post(f"{url}gradio_api/call/caption", content=content, headers=kind)
    if begun.status_code != 200:
        return begun.text
    event = begun.json()["event_id"]
    return httpx.get(f"{url}gradio_api/call/caption/{event}", timeout=PATIENCE).text


def test_the_api_returns_caption_words_probabilities_and_attention(client, captioners, photos):
    answer = client.predict(
        photo=handle_file(photos[1]),
        checkpoint="toy-lstm",
        beam=2,
        attention=True,
        api_name="/caption",
    )
    expected = captioners["toy-lstm"].caption(photos[1].read_bytes(), beam=2).to_dict()
    assert answer == json.loads(json.dumps(expected | {"image": "strip.jpg"}))


def test_attention_is_sent_only_on_request(client, photos):
    answer = client.predict(photo=handle_file(photos[1]), api_name="/caption")
    assert [list(word) for word in answer["words"]] == [
        ["word", "probability", "doubtful", "gate", "entropy"]
    ] * len(answer["words"])


@pytest.mark.parametrize("complete", [False, True])
def test_the_api_scores_a_sentence(client, captioners, photos, complete):
    answer = client.predict(
        photo=handle_file(photos[1]),
        sentence="Two dog's",
        checkpoint="toy-lstm",
        complete=complete,
        attention=True,
        api_name="/read",
    )
    model = captioners["toy-lstm"]
    read = model.complete if complete else model.read_sentence
    expected = read(photos[1].read_bytes(), "Two dog's")
    assert answer["caption"] == expected.text
    assert answer["words"][0]["rivals"] == [
        {"text": rival.text, "probability": pytest.approx(rival.probability)}
        for rival in expected.words[0].rivals
    ]
    weights = np.array(answer["words"][1]["attention"]["weights"])
    assert weights == pytest.approx(expected.words[1].attention, abs=1e-6)


def test_unknown_words_are_named(client, photos):
    with pytest.raises(AppError, match=r"words that toy-transformer does not know: unicorn; "):
        client.predict(photo=handle_file(photos[1]), sentence="a unicorn", api_name="/read")


def test_a_seed_reproduces_a_sample(client, captioners, photos):
    settings = {"method": "sample", "temperature": 1.5, "top_p": 0.9, "seed": 3}
    answer = client.predict(photo=handle_file(photos[3]), api_name="/caption", **settings)
    expected = captioners["toy-transformer"].caption(photos[3].read_bytes(), **settings)
    assert answer["caption"] == expected.text


@pytest.mark.parametrize("sentence", ["", "A dog's ball"])
def test_the_api_returns_probabilities_with_and_without_a_region(
    client, captioners, photos, sentence
):
    box = (0.25, 0.0, 1.0, 0.5)
    answer = client.predict(
        photo=handle_file(photos[1]),
        checkpoint="toy-lstm",
        **{"sentence": sentence} if sentence else {},
        **dict(zip(("top", "left", "bottom", "right"), box, strict=True)),
        api_name="/paint_out",
    )
    model = captioners["toy-lstm"]
    whole = Image.open(photos[1]).convert("RGB")
    painted = paint_out(whole, box)
    text = sentence or model.caption(whole).text
    assert answer == {
        "image": "strip.jpg",
        "checkpoint": "toy-lstm",
        "caption": text,
        "caption_without": model.caption(painted).text,
        "box": list(box),
        "words": [
            {
                "word": own.text,
                "probability": pytest.approx(own.probability, rel=1e-4),
                "without": pytest.approx(again.probability, rel=1e-4),
            }
            for own, again in zip(
                model.read_sentence(whole, text).words,
                model.read_sentence(painted, text).words,
                strict=True,
            )
        ],
    }


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (
            {"top": 0.5, "bottom": 0.5},
            "right are (0.5, 0.0, 0.5, 1.0); use fractions from 0 to 1, with top",
        ),
        ({"right": 2}, "right are (0.0, 0.0, 1.0, 2.0); use fractions from 0 to 1, with top"),
        ({"sentence": "a unicorn"}, "words that toy-transformer does not know: unicorn; "),
    ],
)
def test_painting_out_reports_invalid_arguments(client, photos, asked, reason):
    with pytest.raises(AppError, match=re.escape(reason)):
        client.predict(photo=handle_file(photos[1]), api_name="/paint_out", **asked)


def test_the_api_documents_four_endpoints(client):
    described = client.view_api(return_format="dict")
    endpoints = described["named_endpoints"]
    assert list(endpoints) == ["/describe", "/caption", "/read", "/paint_out"]
    assert described["unnamed_endpoints"] == {}
    names = [p["parameter_name"] for p in endpoints["/caption"]["parameters"]]
    fixed = {"no_end", "prompt", "agreement"}
    settings = [name for name in SearchConfig.__dataclass_fields__ if name not in fixed]
    assert names == ["photo", "checkpoint", *settings, "attention"]
    assert all(endpoint["description"] for endpoint in endpoints.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"beam": 3, "length_penalty": 1.5, "max_words": 3},
        {"beam": 4, "groups": 2, "diversity": 1.5},
        {"method": "sample", "top_k": 2, "temperature": 2, "seed": 5},
    ],
)
def test_every_decoding_setting_takes_effect(client, captioners, photos, changes):
    answer = client.predict(photo=handle_file(photos[1]), api_name="/caption", **changes)
    expected = captioners["toy-transformer"].caption(photos[1].read_bytes(), **changes)
    assert answer["caption"] == expected.text
    assert {name: answer["search"][name] for name in changes} == changes


def test_required_and_forbidden_words_take_effect(client, captioners, photos):
    tokenizer = captioners["toy-transformer"].header.tokenizer
    wanted, other, unwanted = "a", "the", "dog"
    answer = client.predict(
        photo=handle_file(photos[1]),
        require=f"{wanted}, {other}",
        forbid=unwanted,
        api_name="/caption",
    )
    assert answer["search"]["require"] == [wanted, other]
    said = tokenizer.encode(answer["caption"])
    assert set(tokenizer.encode(f"{wanted} {other}")) <= set(said)
    assert tokenizer.encode(unwanted)[0] not in said


def test_a_setting_out_of_range_is_an_error(client, photos):
    with pytest.raises(AppError, match="Value 11 is greater than maximum value 10"):
        client.predict(photo=handle_file(photos[1]), beam=11, api_name="/caption")


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, "garbage", "photo is 'garbage'; it must be an uploaded file or an address"),
        (0, {"path": 5}, "photo is {'path': 5}; it must be an uploaded file or an address"),
        (1, None, "checkpoint is missing; choose from toy-transformer, toy-lstm."),
        (1, "nope", "Value: nope is not in the list of choices"),
        (3, "x" * 10_000, "beam width is 'xxx"),
        (3, math.nan, "beam is nan; it must be a number"),
        (5, None, "length penalty is None; it must be a number"),
        (6, math.nan, "search.temperature is nan; it must be finite"),
        (6, 0.5, 'search.temperature is 0.5, which does nothing while method is "greedy"; leave'),
        (9, [], "seed is []; it must be a number"),
        (9, 10**30, "search.seed is 1000000000000000000000000000000; it must fit into 64 bits"),
    ],
)
def test_an_invalid_value_is_named(url, place, value, reason):
    data = [uploaded(url, SAMPLES / "cat.jpg"), "toy-lstm", *GREEDY]
    data[place] = value
    answer = send(url, data)
    assert "event: error" in answer
    error = json.loads(answer.partition("data: ")[2].splitlines()[0])["error"]
    assert error.startswith(reason)
    assert len(error) < 200


def test_too_few_values_are_counted(url):
    error = "2 of 16 values were sent; see /gradio_api/info for the parameters."
    assert error in send(url, [None, "toy-lstm"])


@pytest.mark.parametrize("raised", [gr.Error("beam is 99"), TypeError("of Gradio's, with a path")])
def test_invalid_requests_print_no_traceback(raised):
    async def preprocess(event, values):
        raise raised

    app, event = SimpleNamespace(preprocess_data=preprocess), SimpleNamespace(inputs=[])
    explain_invalid_requests(app)
    with pytest.raises(gr.Error) as told:
        asyncio.run(app.preprocess_data(event, []))
    assert not told.value.print_exception
    assert "path" not in told.value.message


def test_a_file_that_is_no_photo_is_an_error_with_the_reason(client, tmp_path):
    file = tmp_path / "notes.jpg"
    file.write_text("no photo")
    with pytest.raises(AppError, match=r"notes\.jpg: not an image .*; save it as JPEG or PNG"):
        client.predict(photo=handle_file(file), api_name="/caption")


def test_concurrent_clients_get_their_own_captions(url, captioners, tmp_path):
    captioner = captioners["toy-transformer"]
    files = []
    for seed in range(CLIENTS):
        files.append(tmp_path / f"{seed}.png")
        noise(40 + seed, 60, seed=seed).save(files[-1])

    def ask(file: Path) -> dict:
        return connect(url).predict(photo=handle_file(file), api_name="/caption")

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(ask, files))
    for answer, file in zip(answers, files, strict=True):
        expected = captioner.caption(file.read_bytes())
        assert answer["caption"] == expected.text
        assert answer["log_probability"] == pytest.approx(expected.log_probability, abs=1e-4)
    assert len({answer["log_probability"] for answer in answers}) == CLIENTS


def test_a_full_queue_rejects_requests_and_loses_none(slow):
    url, folder = slow
    data = {"data": [uploaded(url, SAMPLES / "cat.jpg"), "slow", *GREEDY]}

    def ask() -> httpx.Response:
        return httpx.post(f"{url}gradio_api/call/caption", json=data, timeout=PATIENCE)

    first = ask()
    patience = time.monotonic() + PATIENCE
    while not (folder / "started").exists():  # and so left the queue
        assert time.monotonic() < patience, "the first request was never begun"
        time.sleep(0.05)
    second, third = ask(), ask()
    (folder / "go").touch()
    assert (first.status_code, second.status_code, third.status_code) == (200, 200, 503)
    assert "Queue is full" in third.text
    for answer in (first, second):
        event = answer.json()["event_id"]
        text = httpx.get(f"{url}gradio_api/call/caption/{event}", timeout=PATIENCE).text
        assert "event: complete" in text


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
@pytest.mark.parametrize("path", ["/etc/passwd", str(Path(ui.__file__)), "../ui.py"])
def test_a_path_that_was_not_uploaded_is_never_opened(url, path, meta):
    answer = post(url, {"path": path, **meta})
    assert "event: error" in answer
    assert "not an image" not in answer  # which would quote the file


def test_only_uploaded_files_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    inside, outside = tmp_path / "a" / "b.jpg", tmp_path.parent / "c.jpg"
    inside.parent.mkdir()
    inside.write_bytes(b"x")
    outside.write_bytes(b"y")
    (tmp_path / "link.jpg").symlink_to(outside)
    assert read_upload(inside) == (b"x", "b.jpg")
    for path in (outside, tmp_path / "a" / ".." / ".." / "c.jpg", tmp_path / "link.jpg"):
        with pytest.raises(CaptionerError, match=r"c?(link)?\.jpg: not an uploaded file"):
            read_upload(path)


@pytest.mark.parametrize("path", ["/etc/passwd", "ui.py", "pyproject.toml", ".git/config"])
def test_files_of_this_machine_are_not_served(url, path):
    full = path if path.startswith("/") else str(Path(ui.__file__).parent / path)
    assert httpx.get(f"{url}gradio_api/file={full}").status_code in (403, 404)


def test_scripts_in_uploaded_svg_files_do_not_run(url):
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    (path,) = httpx.post(f"{url}gradio_api/upload", files={"files": ("a.svg", drawing)}).json()
    served = httpx.get(f"{url}gradio_api/file={path}")
    assert served.headers["content-disposition"].startswith("attachment")
    answer = post(url, {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert "event: error" in answer


def test_a_file_that_is_too_large_is_rejected(url):
    files = {"files": ("a.jpg", bytes(51 * 1024**2))}
    assert httpx.post(f"{url}gradio_api/upload", files=files, timeout=PATIENCE).status_code == 413


def test_the_page_loads_nothing_from_other_hosts(url):
    page = httpx.get(url).text
    loaded = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]+"', page)
    assert loaded == []
    assert "fonts.googleapis" not in page


def test_attention_views_include_the_layers_and_heads_of_the_models(captioners):
    assert [name for name, _ in list_views(captioners)] == [
        "last layer",
        "evidence",
        "contrast",
        "mean of all layers",
        "attention rollout",
        "layer 1",
        "layer 1, head 1",
        "layer 1, head 2",
        "layer 2",
        "layer 2, head 1",
        "layer 2, head 2",
    ]
    only = {"toy-lstm": captioners["toy-lstm"]}
    assert list_views(only) == [
        ("last layer", AttentionConfig()),
        ("evidence", AttentionConfig(method="evidence")),
    ]
