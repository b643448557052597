"""The app as a language model meets it: over the Model Context Protocol, by a client of its own."""

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

import ui
from app.plain_text import describe
from captioner import CaptionerError
from captioner.pytorch import TorchCaptioner
from tests.conftest import TOYS


@pytest.fixture(scope="module")
def talk(served) -> Callable[..., Any]:
    """Say something to the server within a session, and return the answer."""
    url = f"{served[0]['toys']}gradio_api/mcp/"

    def talk(method: str, *args: Any) -> Any:
        async def whole() -> Any:
            async with (
                streamable_http_client(url) as (read, write, _),
                ClientSession(read, write) as session,
            ):
                await session.initialize()
                return await getattr(session, method)(*args)

        return asyncio.run(whole())

    return talk


def text(result: CallToolResult) -> str:
    (content,) = result.content
    return content.text


def as_uri(content: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"


def test_tools_say_what_they_do_and_what_they_take(talk):
    tools = {tool.name: tool for tool in talk("list_tools").tools}
    assert list(tools) == [
        "describe_photo",
        "caption_photo",
        "read_sentence",
        "paint_out_region",
    ]
    described = tools["describe_photo"]
    assert described.description.startswith("Caption a photo, and describe")
    assert described.inputSchema["required"] == ["photo"]
    taken = described.inputSchema["properties"]
    assert list(taken) == ["photo", "checkpoint"]
    assert taken["photo"]["type"] == "string"
    assert taken["checkpoint"]["enum"] == ["toy-transformer", "toy-lstm"]
    for tool in tools.values():
        assert all(setting["description"] for setting in tool.inputSchema["properties"].values())


@pytest.mark.parametrize("kind", list(TOYS))
def test_a_photo_is_described_in_words(talk, tokenizer, photos, kind):
    captioner = TorchCaptioner(*TOYS[kind](tokenizer))
    photo = {"photo": as_uri(photos[1].read_bytes()), "checkpoint": captioner.header.name}
    answer = talk("call_tool", "describe_photo", photo)
    assert not answer.isError
    assert text(answer) == describe(captioner.caption(photos[1].read_bytes()))


@pytest.mark.parametrize(
    ("tool", "more"),
    [
        ("caption_photo", {}),
        ("read_sentence", {"sentence": "a dog"}),
        ("paint_out_region", {"bottom": 0.5}),
    ],
)
def test_numbers_come_as_json_in_text_and_structured(talk, photos, tool, more):
    answer = talk("call_tool", tool, {"photo": as_uri(photos[1].read_bytes()), **more})
    assert not answer.isError
    assert json.loads(text(answer)) == answer.structuredContent
    assert answer.structuredContent["words"][0].keys() >= {"word", "probability"}
    assert "attention" not in answer.structuredContent["words"][0]
    assert len(text(answer)) < 4000


def test_attention_comes_where_it_is_asked_for(talk, photos):
    asked = {"photo": as_uri(photos[1].read_bytes()), "attention": True}
    answer = talk("call_tool", "caption_photo", asked)
    grid = answer.structuredContent["words"][0]["attention"]["grid"]
    assert grid == [10, 10]


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (as_uri(b"no photo", "text/plain"), "not an image"),
        ("/etc/passwd", "Invalid file data format"),
        ("file:///etc/passwd", "Invalid file data format"),
        ("http://127.0.0.1/", "http://127.0.0.1/: cannot be fetched (Hostname 127.0.0.1 failed "),
        ("http://169.254.169.254/latest/", "http://169.254.169.254/latest/: cannot be fetched ("),
    ],
)
def test_what_is_no_photo_or_lies_on_this_machine_is_refused(talk, photo, reason):
    answer = talk("call_tool", "describe_photo", {"photo": photo})
    assert answer.isError
    assert reason in text(answer)
    assert "root:" not in text(answer)


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(CaptionerError, match=r'--mcp needs the package mcp; .*"\.\[mcp\]"'):
        ui.launch_options(host="127.0.0.1", port=None, mcp=True)
