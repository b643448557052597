"""`captioner serve`: a real process, and the clients that photo managers use."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import ollama
import openai
import pytest
from PIL import Image

from captioner import Captioner, __version__

SAMPLES = sorted((Path(__file__).parent.parent / "data" / "samples").glob("*.jpg"))
CAT = next(path for path in SAMPLES if path.name == "cat.jpg").read_bytes()
MODEL = "vit-tiny-transformer"
PROGRAM = """
import os, sys

def note(event, arguments):
    if event == "open" and isinstance(flags := arguments[2], int):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(arguments[0])

written = []
sys.addaudithook(note)
from captioner.cli import main
status = main(sys.argv[1:])
print(sorted({"gradio", "timm", "torch", "torchvision"} & set(sys.modules)), written)
sys.exit(status)
"""
"""The command; in the end, what it has imported of what it must not need, and files it wrote."""
FIELDS = "known: photo, attention. Decoding settings are options of captioner serve."
NOT_AN_IMAGE = "not an image (it starts with 'hello'); save it as JPEG or PNG."
PATIENCE = 300


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the command on a free port; give its address, and the process."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | environment,
    )  # fmt: skip
    with process:
        try:
            line = process.stderr.readline()
            assert line.startswith(f"captioner: {MODEL} at http://"), line
            yield line.split()[-1], process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of the service."""
    with serving("--max-megabytes", "1") as (address, _):
        yield address


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    """The model, without the service."""
    return Captioner.load(MODEL, runtime="onnx")


def data_url(photo: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"


def chat(photo: bytes) -> list[dict]:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": data_url(photo)}},
    ]
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]


def ask_openai(url: str, photo: bytes, **more):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        made = client.chat.completions.create(model=MODEL, messages=chat(photo), **more)
        return list(made) if more.get("stream") else made


def ask_ollama(url: str, photo: bytes, model: str = MODEL, **more):
    with ollama.Client(host=url) as client:
        made = client.generate(model=model, prompt="What is this?", images=[photo], **more)
        return list(made) if more.get("stream") else made


def ask_photoprism(address: str, **request) -> httpx.Response:
    """As PhotoPrism does: with fields that are empty, too."""
    given = {"model": "kosmos-2", "version": "latest", "suffix": "", "stream": False} | request
    content = json.dumps(given)
    return httpx.post(f"{address}/api/v1/vision/caption", content=content, timeout=PATIENCE)


def ask(url: str, content: bytes = CAT, **more) -> httpx.Response:
    return httpx.post(f"{url}/caption", content=content, timeout=PATIENCE, **more)


DIALECTS = [
    lambda url, photo: ask_openai(url, photo).choices[0].message.content,
    lambda url, photo: ask_ollama(url, photo).response,
    lambda url, photo: ask_photoprism(url, images=[data_url(photo)]).json()["result"]["caption"][
        "text"
    ],
    lambda url, photo: ask(url, photo).json()["caption"],
]


def different_photos(count: int) -> list[bytes]:
    """The samples, then their mirrored upper halves."""
    photos = [path.read_bytes() for path in SAMPLES]
    for path in SAMPLES[: count - len(photos)]:
        photo = Image.open(path)
        half = photo.crop((0, 0, photo.width, photo.height // 2))
        file = BytesIO()
        half.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file, "PNG")
        photos.append(file.getvalue())
    return photos


def test_twenty_clients_at_once_get_their_own_photos_captions_and_a_bad_photo_fails_alone(
    url, captioner
):
    photos = different_photos(20)
    expected = [captioner.caption(photo).text for photo in photos]
    assert len(set(expected)) > 15
    with ThreadPoolExecutor(22) as pool:
        bad = [pool.submit(ask, url, b"hello") for _ in range(2)]
        asked = [pool.submit(DIALECTS[n % 4], url, photo) for n, photo in enumerate(photos)]
        assert [future.result() for future in asked] == expected
    for refused in bad:
        assert refused.result().status_code == 400
        assert refused.result().json() == {"error": f"the photo: {NOT_AN_IMAGE}"}


def test_openais_client_gets_a_completion_whole_or_streamed(url, captioner):
    text = captioner.caption(CAT).text
    made = ask_openai(url, CAT)
    assert (made.object, made.model, len(made.choices)) == ("chat.completion", MODEL, 1)
    assert made.choices[0].message.role == "assistant"
    assert (made.choices[0].message.content, made.choices[0].finish_reason) == (text, "stop")
    assert made.usage.total_tokens == len(text.split())
    chunks = ask_openai(url, CAT, stream=True)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == [MODEL]


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"model": "gpt-5"}, openai.NotFoundError,
         f"unknown model 'gpt-5'; use '{MODEL}'."),
        ({"messages": chat(b"hello")}, openai.BadRequestError, f"the photo: {NOT_AN_IMAGE}"),
        ({"messages": [{"role": "user", "content": "Hello?"}]}, openai.BadRequestError,
         "image_url of messages has 0 images; send one per request."),
        ({"messages": [{"role": "user", "content": chat(CAT)[1]["content"][1:] * 2}]},
         openai.BadRequestError, "image_url of messages has 2 images; send one per request."),
        ({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://photos.example/cat.jpg"}}]}]},
         openai.BadRequestError, "image_url of messages is a web address, but fetching is "
         "disabled; send the image itself as a data: URL, or start the service with --fetch-urls."),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError,
         "response_format must be text; captions are plain text."),
    ],
)  # fmt: skip
def test_openais_client_receives_the_error_message(url, changed, kind, message):
    request = {"model": MODEL, "messages": chat(CAT)} | changed
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(kind) as caught,
    ):
        client.chat.completions.create(**request)
    assert caught.value.body["message"] == message
    assert caught.value.type == "invalid_request_error"


def test_ollamas_client_gets_a_response_whole_or_streamed(url, captioner):
    text = captioner.caption(CAT).text
    made = ask_ollama(url, CAT)
    assert (made.model, made.response, made.done, made.done_reason) == (MODEL, text, True, "stop")
    assert made.total_duration > 0
    streamed = ask_ollama(url, CAT, model=f"{MODEL}:latest", stream=True)
    assert [(part.response, part.done) for part in streamed] == [(text, False), ("", True)]
    plain = httpx.post(f"{url}/api/generate", timeout=PATIENCE, json={
        "model": MODEL, "images": [base64.encodebytes(CAT).decode()]})  # fmt: skip
    assert plain.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["response"] for line in plain.text.splitlines()] == [text, ""]
    with ollama.Client(host=url) as client:
        assert [model.model for model in client.list().models] == [MODEL]
    assert httpx.get(f"{url}/api/version").json() == {"version": __version__}


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({"model": "llava"}, 404, f"unknown model 'llava'; use '{MODEL}'."),
        ({"images": ["aGVsbG8="]}, 400, f"the photo: {NOT_AN_IMAGE}"),
        ({"images": ["no base64!"]}, 400, "images is not base64 (Only base64 data is allowed)."),
        ({"images": [7]}, 400, "images is not text; send a data: URL or base64."),
        ({"images": ["data:image/png,hello"]}, 400,
         "images is a data: URL without base64; encode it."),
        ({"images": None}, 400, "images has 0 images; send one per request."),
        ({"format": "json"}, 400, "format is not supported; captions are plain text."),
    ],
)  # fmt: skip
def test_ollama_clients_receive_errors(url, changed, status, message):
    request = {"model": MODEL, "images": [base64.b64encode(CAT).decode()]} | changed
    answer = httpx.post(f"{url}/api/generate", json=request, timeout=PATIENCE)
    assert (answer.status_code, answer.json()) == (status, {"error": message})


def test_ollamas_client_raises_what_is_wrong(url):
    with pytest.raises(ollama.ResponseError) as caught:
        ask_ollama(url, b"hello")
    assert (caught.value.status_code, caught.value.error) == (400, f"the photo: {NOT_AN_IMAGE}")


def test_photoprism_gets_its_caption_with_its_own_id(url, captioner):
    caption = captioner.caption(CAT)
    confidence = caption.judgement.confidence
    known = {} if confidence is None else {"confidence": pytest.approx(confidence, abs=1e-4)}
    answer = ask_photoprism(url, id="0f6b", images=[data_url(CAT)])
    assert answer.status_code == 200
    assert answer.json() == {
        "id": "0f6b",
        "code": 200,
        "model": {"type": "caption", "name": MODEL, "version": __version__},
        "result": {"caption": {"text": caption.text} | known},
    }
    other = ask_photoprism(url, url=data_url(CAT)).json()
    assert other["id"]
    assert other["result"]["caption"]["text"] == caption.text
    assert ask_photoprism(url, id="\ud800", images=[data_url(CAT)]).json()["id"] == "\\ud800"
    bad = ask_photoprism(url, images=[data_url(b"hello")])
    assert bad.status_code == 400
    assert bad.json() == {"code": 400, "error": f"the photo: {NOT_AN_IMAGE}", "result": {}}


def test_our_own_api_takes_a_file_a_form_or_json_and_tells_all_that_is_known(url, captioner):
    caption = captioner.caption(CAT)
    expected = json.loads(json.dumps(caption.to_dict(attention=False)))
    whole = json.loads(json.dumps(caption.to_dict()))
    assert "attention" not in expected["words"][0]
    assert "attention" in whole["words"][0]
    answer = ask(url)
    assert answer.status_code == 200
    assert answer.json() == approximately(expected)
    files = {"photo": ("my cat.jpg", CAT)}
    form = httpx.post(f"{url}/caption", files=files, data={"attention": "true"}, timeout=PATIENCE)
    assert form.json() == approximately(whole | {"image": "my cat.jpg"})
    request = {"photo": base64.b64encode(CAT).decode(), "attention": True}
    made = httpx.post(f"{url}/caption", json=request, timeout=PATIENCE)
    assert made.json() == approximately(whole)
    assert ask(url, params={"attention": "1"}).json() == approximately(whole)


def approximately(value):
    """Numbers of a photo captioned among others differ in the last digits."""
    if isinstance(value, dict):
        return {name: approximately(own) for name, own in value.items()}
    if isinstance(value, list):
        return [approximately(own) for own in value]
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400,
         "the request is not JSON (Expecting property name enclosed in double quotes: "
         "line 1 column 2 (char 1))."),
        ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400,
         "the request is not JSON (maximum recursion depth exceeded while decoding a JSON array "
         "from a unicode string)."),
        ({"json": []}, 400, "the request is not a JSON object."),
        ({"json": {}}, 400, "photo is not text; send a data: URL or base64."),
        ({"files": {"image": CAT}}, 400, "the form has the unknown field 'image'; " + FIELDS),
        ({"files": {"photo": CAT}, "data": {"beam": "5"}}, 400,
         "the form has the unknown field 'beam'; " + FIELDS),
        ({"json": {"photo": "", "temperature": 0.5}}, 400,
         "the request has the unknown field 'temperature'; " + FIELDS),
        ({"json": {"photo": "", "bogus": None}}, 400,
         "the request has the unknown field 'bogus'; " + FIELDS),
        ({"content": CAT, "params": {"beam": "5"}}, 400, "the query has the unknown field 'beam'; "
         "known: attention. Decoding settings are options of captioner serve."),
        ({"content": CAT, "params": {"attention": "maybe"}}, 400,
         "attention is 'maybe'; use true or false."),
        ({"json": {"photo": data_url(CAT), "attention": 2}}, 400,
         "attention is 2; use true or false."),
        ({"files": [("photo", CAT), ("photo", CAT)]}, 400,
         "photo has 2 images; send one per request."),
        ({"files": {"attention": (None, "true")}}, 400,
         "the form has no file field named photo."),
        ({"files": {"photo": ("a.jpg", b"hello")}}, 400, f"a.jpg: {NOT_AN_IMAGE}"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400,
         "malformed form (Missing boundary in multipart.)."),
        ({"content": bytes(2**20 + 1)}, 413, "the request exceeds 1 MB; send a smaller photo."),
        ({"content": CAT[:9000]}, 400, "the photo: damaged or cut short (image file is truncated "
         "(18 bytes not processed)); copy or download it again."),
        ({"content": b""}, 400, "the photo: the file is empty (0 bytes); copy or download it "
         "again."),
    ],
)  # fmt: skip
def test_our_own_api_tells_what_is_wrong(url, request_, status, message):
    answer = httpx.post(f"{url}/caption", timeout=PATIENCE, **request_)
    assert (answer.status_code, answer.json()) == (status, {"error": message})


def test_other_apis_ignore_what_their_clients_send_besides(url, captioner):
    text, more = captioner.caption(CAT).text, {"temperature": 0.1, "bogus": 1}
    made = ask_openai(url, CAT, temperature=0.1, extra_body={"bogus": 1})
    assert made.choices[0].message.content == text
    assert ask_ollama(url, CAT, options=more).response == text
    answer = ask_photoprism(url, images=[data_url(CAT)], **more)
    assert answer.json()["result"]["caption"]["text"] == text


def test_unknown_paths_and_methods_are_errors_in_the_format_of_each_api(url):
    assert httpx.get(f"{url}/caption").status_code == 405
    shown = {
        "/v1/embeddings": {"error": {
            "message": "Not Found", "type": "invalid_request_error", "param": None, "code": None}},
        "/api/chat": {"error": "Not Found"},
        "/api/v1/vision/labels": {"code": 404, "error": "Not Found", "result": {}},
        "/": {"error": "Not Found"},
    }  # fmt: skip
    for path, error in shown.items():
        answer = httpx.post(f"{url}{path}", json={})
        assert (answer.status_code, answer.json()) == (404, error)


def test_other_hosts_and_pages_of_other_sites_are_refused(url):
    host = ask(url, headers={"Host": "evil.example"})
    assert host.status_code == 400
    page = ask(url, headers={"Origin": "http://evil.example"})
    assert (page.status_code, page.text) == (
        403, "Requests from http://evil.example are not allowed.")  # fmt: skip
    assert ask(url, headers={"Origin": url}).status_code == 200


def test_a_token_is_asked_of_all_and_the_network_is_not_served_without_one():
    with serving("--host", "0.0.0.0", CAPTIONER_TOKEN="s3cret") as (address, _):
        url = address.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/healthz").json() == {
            "status": "ok",
            "loaded": False,
            "in_flight": 0,
        }
        refused = ask(url)
        assert refused.status_code == 401
        assert refused.json() == {
            "error": "the token is missing or wrong; send it as `Authorization: Bearer TOKEN`."
        }
        with openai.OpenAI(base_url=f"{url}/v1", api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
            client.api_key = "s3cret"
            assert [model.id for model in client.models.list()] == [MODEL]
        assert httpx.get(f"{url}/healthz").json()["loaded"] is False
        assert ask(url, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert httpx.get(f"{url}/healthz").json() == {
            "status": "ok",
            "loaded": True,
            "in_flight": 0,
        }
