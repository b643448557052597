"""PhotoPrism's Vision API: an image as a data: URL; the response is a caption with confidence.

By default PhotoPrism requests models of other services, so any model name is accepted.
"""

from typing import Any
from uuid import uuid4

from starlette.responses import JSONResponse, Response

from captioner import __version__
from captioner.interchange import readable
from captioner.serve.request import CaptionRequest


def show_error(status: int, message: str) -> dict[str, Any]:
    """Return an error in this API's format."""
    return {"code": status, "error": message, "result": {}}


async def answer(request: CaptionRequest) -> Response:
    """Caption the image in `images` or at `url`."""
    table = request.table()
    images = table.get("images") or [url for url in (table.get("url"),) if url]
    image = await request.open(images if isinstance(images, list) else [], where="images")
    caption = await request.caption(image)
    found: dict[str, Any] = {"text": caption.text}
    if caption.judgement.confidence is not None:
        found["confidence"] = caption.judgement.confidence
    return JSONResponse(
        {
            "id": readable(str(table.get("id") or uuid4())),
            "code": 200,
            "model": {"type": "caption", "name": request.service.model, "version": __version__},
            "result": {"caption": found},
        }
    )
