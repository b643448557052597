"""The app's MCP server, called by an MCP client."""

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
    """Call the server in a session of its own."""
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


def test_tools_describe_themselves_and_their_arguments(talk):
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
def test_a_photo_is_described_as_text(talk, tokenizer, photos, kind):
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
def test_results_are_json_as_text_and_as_structured_content(talk, photos, tool, more):
    answer = talk("call_tool", tool, {"photo": as_uri(photos[1].read_bytes()), **more})
    assert not answer.isError
    assert json.loads(text(answer)) == answer.structuredContent
    assert answer.structuredContent["words"][0].keys() >= {"word", "probability"}
    assert "attention" not in answer.structuredContent["words"][0]
    assert len(text(answer)) < 4000


def test_attention_is_returned_on_request(talk, photos):
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
def test_files_that_are_no_photos_or_are_on_this_machine_are_rejected(talk, photo, reason):
    answer = talk("call_tool", "describe_photo", {"photo": photo})
    assert answer.isError
    assert reason in text(answer)
    assert "root:" not in text(answer)


def test_a_missing_package_is_reported_with_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    problem = r'^--mcp needs the package mcp: pip install "\.\[mcp\]"$'
    with pytest.raises(CaptionerError, match=problem):
        ui.launch_options(host="127.0.0.1", port=None, mcp=True)
