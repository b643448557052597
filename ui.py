"""`python ui.py` opens the app in the browser: on this machine alone, and offline."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from captioner import CaptionerError
from captioner.serve.listening import listen
from captioner.speed.resources import share_heap

if TYPE_CHECKING:
    from captioner import Captioner

MAX_FILE_SIZE = "50mb"


@contextmanager
def direct() -> Iterator[None]:
    """Ignore proxies: Gradio asks its own address whether it is up, which no proxy can answer.

    Its HTTP client, made when it is imported, would also refuse SOCKS without another package.
    """
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"
    try:
        yield
    finally:
        del os.environ["no_proxy"]
        if before is not None:
            os.environ["no_proxy"] = before


def load_captioners(
    checkpoints: Sequence[str], *, runtime: str = "auto", device: str = "auto"
) -> "dict[str, Captioner]":
    """Load the models by name, all shipped ones if none is named, and warm them up.

    Where there is PyTorch, several may also caption together.

    Raises:
        CaptionerError: there is no such checkpoint or device.
    """
    from PIL import Image

    with direct():
        from app.ensemble import LazyEnsemble
    from captioner import Captioner, list_checkpoints

    chosen = checkpoints or [info.name for info in list_checkpoints()]
    loaded = [Captioner.load(checkpoint, runtime=runtime, device=device) for checkpoint in chosen]
    for captioner in loaded:
        captioner.caption(Image.new("RGB", (64, 64)))
    found = {captioner.header.name: captioner for captioner in loaded}
    if len(found) > 1 and runtime != "onnx" and find_spec("torch") is not None:
        ensemble = LazyEnsemble(loaded, partial(Captioner.load, *chosen, device=device))
        found[ensemble.header.name] = cast("Captioner", ensemble)
    return found


def check_address(host: str, port: int | None) -> None:
    """Make sure that the app can listen there; Gradio would try for ever.

    Raises:
        CaptionerError: the host is not of this machine, or the port is none or taken.
    """
    way_out = "choose another --port, or leave it out for the first free one"
    listen(host, port, way_out=way_out).close()


def launch_options(
    *, host: str, port: int | None, mcp: bool, proxies: Sequence[str] = ()
) -> dict[str, Any]:
    """Say how the app is served: to this machine alone unless told otherwise, and offline.

    Args:
        host: address to listen on.
        port: port to listen on; None is port (the first free one from 7860).
        mcp: whether language models may call the API too.
        proxies: names by which proxies before the app are called.

    Raises:
        CaptionerError: `CAPTIONER_AUTH` is set, and is no name with a password; or language models
            are to call, and need a package that is not installed, or would not be asked for it.
    """
    if mcp and find_spec("mcp") is None:
        raise CaptionerError(
            '--mcp needs the package mcp; `pip install --editable ".[mcp]"` brings it.'
        )
    user, colon, password = os.environ.get("CAPTIONER_AUTH", "").partition(":")
    if user and not (colon and password):
        raise CaptionerError("CAPTIONER_AUTH is not understood; set it to NAME:PASSWORD.")
    if user and mcp:
        raise CaptionerError(
            "--mcp and CAPTIONER_AUTH do not go together: the MCP endpoint asks for no password, "
            "tells everybody which tools there are, and then cannot call them. Serve language "
            "models with a second `python ui.py --mcp`, to this machine alone."
        )
    with direct():
        import gradio as gr
        from starlette.middleware import Middleware

        from app import CSS, Guard
    return {
        "server_name": host,
        "server_port": port,
        "auth": (user, password) if user else None,
        "share": False,
        "mcp_server": mcp,
        "max_file_size": MAX_FILE_SIZE,
        "allowed_paths": [],
        "state_session_capacity": 200,
        "run_history": False,
        "enable_monitoring": False,
        "pwa": False,
        "ssr_mode": False,
        "footer_links": ["api"],
        "app_kwargs": {"middleware": [Middleware(Guard, host=host, proxies=proxies)]},
        "theme": gr.themes.Default(
            primary_hue="purple",
            neutral_hue="stone",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ).set(
            # Gradio's own are too pale to be read by everybody.
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_hover="*primary_700",
            color_accent="*primary_600",
            body_text_color_subdued="*neutral_500",
            block_info_text_color="*neutral_500",
        ),
        "css_paths": [CSS],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app until it is interrupted."""
    share_heap()
    parser = argparse.ArgumentParser(description="Caption photos in the browser.")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="0.0.0.0 listens on the network",
    )
    parser.add_argument("--port", type=int, help="port (the first free one from 7860)")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME|PATH")
    parser.add_argument("--runtime", choices=("auto", "onnx", "torch"), default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--mcp", action="store_true", help="also serve language models")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="host name of the app behind a proxy; repeatable",
    )
    args = parser.parse_args(argv)
    try:
        check_address(args.host, args.port)
        print("captioner: starting; this takes some seconds.", file=sys.stderr, flush=True)
        options = launch_options(
            host=args.host, port=args.port, mcp=args.mcp, proxies=args.allow_host
        )
        captioners = load_captioners(args.checkpoint, runtime=args.runtime, device=args.device)
    except CaptionerError as error:
        print(f"ui: {error}", file=sys.stderr)
        return 2
    from app import build

    app = build(captioners)
    with direct():  # checkpoints of the hub are loaded by now
        app.launch(**options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
