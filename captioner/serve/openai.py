"""OpenAI's chat completions API: the answer is the caption of the last image."""

import json
import time
from typing import Any
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from captioner.serve.request import CaptionRequest, Service


def show_error(status: int, message: str) -> dict[str, Any]:
    """Return an error in this API's format."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


async def answer(request: CaptionRequest) -> Response:
    """Caption the image of a chat; its text is ignored."""
    table = request.table()
    request.check_model(table.get("model"))
    wanted = table.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type", "text") != "text":
        raise HTTPException(400, "response_format must be text; captions are plain text.")
    image = await request.open(_last_images(table.get("messages")), where="image_url of messages")
    text = (await request.caption(image)).text
    common = {
        "id": f"chatcmpl-{uuid4().hex}",
        "created": int(time.time()),
        "model": request.service.model,
    }
    if table.get("stream"):
        steps: list[dict[str, Any]] = [{"role": "assistant", "content": text}, {}]
        parts = [
            common | {"object": "chat.completion.chunk", "choices": [_choice("delta", step)]}
            for step in steps
        ]
        lines = [f"data: {json.dumps(part)}\n\n" for part in parts]
        return Response("".join([*lines, "data: [DONE]\n\n"]), media_type="text/event-stream")
    message = {"role": "assistant", "content": text, "refusal": None}
    words = len(text.split())
    usage = {"prompt_tokens": 0, "completion_tokens": words, "total_tokens": words}
    return JSONResponse(
        common
        | {"object": "chat.completion", "choices": [_choice("message", message)], "usage": usage}
    )


def list_models(service: Service) -> dict[str, Any]:
    """List the model."""
    model = {"id": service.model, "object": "model", "created": 0, "owned_by": "captioner"}
    return {"object": "list", "data": [model]}


def _choice(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return a choice of a response; a step without content is the last of a stream."""
    ends = name == "message" or not content
    return {
        "index": 0,
        name: content,
        "logprobs": None,
        "finish_reason": "stop" if ends else None,
    }


def _last_images(messages: object) -> list[Any]:
    """Return the images of the last message with images."""
    for message in reversed(messages if isinstance(messages, list) else []):
        parts = message.get("content") if isinstance(message, dict) else None
        images = [
            part.get("image_url")
            for part in (parts if isinstance(parts, list) else [])
            if isinstance(part, dict) and part.get("type") == "image_url"
        ]
        if images:
            return [image.get("url") if isinstance(image, dict) else image for image in images]
    return []
