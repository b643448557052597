"""Ollama's generate: an image in base64, and its caption as the response."""

import json
import time
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from captioner import __version__
from captioner.serve.asking import Asked, Service


def show_error(status: int, message: str) -> dict[str, Any]:
    """Show what is wrong as this API does."""
    return {"error": message}


async def answer(asked: Asked) -> Response:
    """Caption the image; the prompt is not read. Unless asked otherwise, lines of JSON are sent."""
    began = time.perf_counter_ns()
    table = asked.table()
    asked.check_model(table.get("model"))
    if table.get("format"):
        raise HTTPException(400, "format must be empty; captions are sentences.")
    images = table.get("images")
    image = await asked.open(images if isinstance(images, list) else [], where="images")
    text = (await asked.caption(image)).text
    common = {"model": asked.service.model, "created_at": datetime.now(UTC).isoformat()}
    end = {"done": True, "done_reason": "stop", "total_duration": time.perf_counter_ns() - began}
    if table.get("stream", True) is False:
        return JSONResponse(common | {"response": text} | end)
    parts = (common | {"response": text, "done": False}, common | {"response": ""} | end)
    lines = "".join(f"{json.dumps(part)}\n" for part in parts)
    return Response(lines, media_type="application/x-ndjson")


def list_models(service: Service) -> dict[str, Any]:
    """Name the model."""
    return {"models": [{"name": service.model, "model": service.model, "details": {}}]}


def show_version(service: Service) -> dict[str, Any]:
    """Tell the version: captioner's own."""
    return {"version": __version__}
