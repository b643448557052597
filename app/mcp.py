"""MCP tool results as JSON, in text and in structured content.

Gradio's MCP server would send the `repr` of a dictionary, and no structured content.
"""

import json
from typing import Any

from gradio.mcp import GradioMCPServer


def answer_in_json() -> None:
    """Patch the MCP servers of this process; call it before the app is launched."""
    GradioMCPServer.postprocess_output_data = _write  # type: ignore[method-assign]
    GradioMCPServer.create_mcp_server = _create  # type: ignore[method-assign]


_gradio_postprocess = GradioMCPServer.postprocess_output_data
_gradio_create = GradioMCPServer.create_mcp_server


def _write(self: GradioMCPServer, data: Any, root_url: str) -> list[Any]:
    if len(data) == 1 and isinstance(data[0], dict) and "caption" in data[0]:
        return [self.types.TextContent(type="text", text=json.dumps(data[0], ensure_ascii=False))]
    return _gradio_postprocess(self, data, root_url)


def _create(self: GradioMCPServer) -> Any:
    server = _gradio_create(self)
    handlers: dict[Any, Any] = server.request_handlers
    call = handlers[self.types.CallToolRequest]

    async def call_with_structure(request: Any) -> Any:
        answer = await call(request)
        result = answer.root
        if not result.isError and len(result.content) == 1:
            text = result.content[0].text
            if text.startswith('{"'):
                result.structuredContent = json.loads(text)
        return answer

    handlers[self.types.CallToolRequest] = call_with_structure
    return server
