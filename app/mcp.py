"""Answers to language models in JSON, as text and as structured content.

Gradio's MCP server would send Python's own writing of a dictionary, and cannot structure it.
"""

import json
from typing import Any

from gradio.mcp import GradioMCPServer


def answer_in_json() -> None:
    """Make every MCP server of this process answer so; to be called before the app is launched."""
    GradioMCPServer.postprocess_output_data = _write  # type: ignore[method-assign]
    GradioMCPServer.create_mcp_server = _create  # type: ignore[method-assign]


_write_others = GradioMCPServer.postprocess_output_data
_create_plain = GradioMCPServer.create_mcp_server


def _write(self: GradioMCPServer, data: Any, root_url: str) -> list[Any]:
    if len(data) == 1 and isinstance(data[0], dict) and "caption" in data[0]:
        return [self.types.TextContent(type="text", text=json.dumps(data[0], ensure_ascii=False))]
    return _write_others(self, data, root_url)


def _create(self: GradioMCPServer) -> Any:
    server = _create_plain(self)
    handlers: dict[Any, Any] = server.request_handlers
    call = handlers[self.types.CallToolRequest]

    async def call_and_structure(request: Any) -> Any:
        answer = await call(request)
        result = answer.root
        if not result.isError and len(result.content) == 1:
            text = result.content[0].text
            if text.startswith('{"'):
                result.structuredContent = json.loads(text)
        return answer

    handlers[self.types.CallToolRequest] = call_and_structure
    return server
