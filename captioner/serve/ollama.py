"""Ollama's generate API: an image in base64; the response is its caption."""

import json
import time
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from captioner import __version__
from captioner.serve.request import CaptionRequest, Service


async def answer(request: CaptionRequest) -> Response:
    """Caption the image; the prompt is ignored. As in Ollama, the default response is NDJSON."""
    began = time.perf_counter_ns()
    table = request.table()
    request.check_model(table.get("model"))
    if table.get("format"):
        raise HTTPException(400, "format is not supported; captions are plain text.")
    images = table.get("images")
    image = await request.open(images if isinstance(images, list) else [], where="images")
    text = (await request.caption(image)).text
    common = {"model": request.service.model, "created_at": datetime.now(UTC).isoformat()}
    end = {"done": True, "done_reason": "stop", "total_duration": time.perf_counter_ns() - began}
    if table.get("stream", True) is False:
        return JSONResponse(common | {"response": text} | end)
    parts = (common | {"response": text, "done": False}, common | {"response": ""} | end)
    lines = "".join(f"{json.dumps(part)}\n" for part in parts)
    return Response(lines, media_type="application/x-ndjson")


def list_models(service: Service) -> dict[str, Any]:
    """List the model."""
    return {"models": [{"name": service.model, "model": service.model, "details": {}}]}


def show_version(service: Service) -> dict[str, Any]:
    """Return captioner's version."""
    return {"version": __version__}
