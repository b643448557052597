"""`python ui.py` serves the app: offline, and to this machine only by default."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from captioner import CaptionerError
from captioner.serve.guard import is_local
from captioner.serve.listening import listen
from captioner.speed.resources import share_heap

if TYPE_CHECKING:
    from captioner import Captioner

MAX_FILE_SIZE = "50mb"
"""Maximum size of an uploaded file."""


@contextmanager
def without_proxies() -> Iterator[None]:
    """Ignore proxies, through which Gradio could not reach itself to check that it is up.

    Its HTTP client, created on import, would also reject SOCKS without an optional package.
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
    """Load and warm up models, and with PyTorch an ensemble of them if there are several.

    Args:
        checkpoints: names or paths; empty means all shipped checkpoints.
        runtime: `auto`, `onnx` or `torch`.
        device: `auto`, `cpu`, `cuda`, ...

    Returns:
        The models by name.

    Raises:
        CaptionerError: a checkpoint, the runtime or the device does not exist.
    """
    from PIL import Image

    with without_proxies():
        from app.ensemble import LazyEnsemble
    from captioner import Captioner, list_checkpoints

    names = checkpoints or [info.name for info in list_checkpoints()]
    loaded = [Captioner.load(checkpoint, runtime=runtime, device=device) for checkpoint in names]
    for captioner in loaded:
        captioner.caption(Image.new("RGB", (64, 64)))
    found = {captioner.header.name: captioner for captioner in loaded}
    if len(found) > 1 and runtime != "onnx" and find_spec("torch") is not None:
        ensemble = LazyEnsemble(loaded, partial(Captioner.load, *names, device=device))
        found[ensemble.header.name] = cast("Captioner", ensemble)
    return found


def check_address(host: str, port: int | None) -> None:
    """Check that the app can listen on an address, since Gradio would retry forever.

    Raises:
        CaptionerError: the host is not an address of this machine, or the port is invalid or in
            use.
    """
    way_out = "choose another --port, or leave it out for the first free one"
    listen(host, port, way_out=way_out).close()


def launch_options(
    *,
    host: str,
    port: int | None,
    mcp: bool,
    proxies: Sequence[str] = (),
    allow_anyone: bool = False,
) -> dict[str, Any]:
    """Return the arguments of Gradio's `launch`.

    Args:
        host: address to listen on.
        port: port to listen on; None means the first free one from 7860.
        mcp: whether to serve the API to MCP clients too.
        proxies: host names of reverse proxies.
        allow_anyone: serve other machines without a password too.

    Raises:
        CaptionerError: `CAPTIONER_AUTH` is not NAME:PASSWORD, or not set although other machines
            are served, or MCP lacks its package or is combined with a password.
    """
    if mcp and find_spec("mcp") is None:
        raise CaptionerError('--mcp needs the package mcp: pip install ".[mcp]"')
    auth = os.environ.get("CAPTIONER_AUTH", "")
    user, _, password = auth.partition(":")
    if auth and not (user and password):
        raise CaptionerError("CAPTIONER_AUTH must have the form NAME:PASSWORD.")
    if auth and mcp:
        raise CaptionerError(
            "--mcp cannot be combined with CAPTIONER_AUTH: MCP clients send no password. Run a "
            "second `python ui.py --mcp`, for this machine only."
        )
    if not (auth or allow_anyone or is_local(host)):
        raise CaptionerError(
            f"--host {host!r} is reachable from other machines; set CAPTIONER_AUTH to "
            "NAME:PASSWORD, or use --allow-anyone."
        )
    with without_proxies():
        import gradio as gr
        from starlette.middleware import Middleware

        from app import CSS, Guard
    return {
        "server_name": host,
        "server_port": port,
        "auth": (user, password) if auth else None,
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
            # Gradio's defaults have too little contrast (WCAG AA).
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
    parser = argparse.ArgumentParser(
        description="Caption photos in the browser.",
        epilog="Set CAPTIONER_AUTH=NAME:PASSWORD to require a password.",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (127.0.0.1, this machine only); 0.0.0.0 listens on the network",
    )
    parser.add_argument("--port", type=int, help="port (the first free one from 7860)")
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME|PATH",
        help="model to offer; repeatable (all shipped checkpoints)",
    )
    parser.add_argument(
        "--runtime",
        choices=("auto", "onnx", "torch"),
        default="auto",
        help="auto (the default): PyTorch with a GPU or where it is required, otherwise "
        "onnxruntime",
    )
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    parser.add_argument(
        "--mcp", action="store_true", help="also serve an MCP server, for language models"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="host name of a reverse proxy in front of the app; repeatable",
    )
    parser.add_argument(
        "--allow-anyone",
        action="store_true",
        help="serve the network although CAPTIONER_AUTH is not set",
    )
    args = parser.parse_args(argv)
    try:
        check_address(args.host, args.port)
        print("ui: loading models; this takes some seconds.", file=sys.stderr, flush=True)
        options = launch_options(
            host=args.host,
            port=args.port,
            mcp=args.mcp,
            proxies=args.allow_host,
            allow_anyone=args.allow_anyone,
        )
        captioners = load_captioners(args.checkpoint, runtime=args.runtime, device=args.device)
    except CaptionerError as error:
        print(f"ui: {error}", file=sys.stderr)
        return 2
    from app import build

    app = build(captioners)
    with without_proxies():  # models are loaded: no downloads after this point
        app.launch(**options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
