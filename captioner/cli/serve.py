"""`captioner serve`: captions over HTTP."""

import argparse
import os
import sys
from functools import partial
from importlib.util import find_spec

from captioner.cli.options import (
    Subcommands,
    above_zero,
    add_command,
    add_model_options,
    add_search_options,
    choose_search,
    find_models,
    load_captioner,
    positive,
)
from captioner.errors import CaptionerError, MissingExtraError

_TOKEN = "CAPTIONER_TOKEN"
_PORT = 7870
_NEEDED = ("httpcore", "python_multipart", "starlette", "uvicorn")

_EPILOG = f"""\
POST /caption takes a photo and returns its caption with words, probabilities and confidence.
POST /v1/chat/completions is OpenAI's API, POST /api/generate Ollama's, POST /api/v1/vision/caption
PhotoPrism Vision's. GET /healthz reports whether the service is up.

Concurrent requests are captioned in one batch. SIGTERM and Ctrl-C stop the service after the
requests in flight are answered. If the environment variable {_TOKEN} is set, clients must
send it as `Authorization: Bearer TOKEN`. docs/service.md has an example for each client.
"""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    parser = add_command(
        commands,
        "serve",
        run,
        summary="caption photos over HTTP",
        description="Caption photos over HTTP: an API of its own, and those of OpenAI, Ollama and\n"
        "PhotoPrism Vision.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on: 127.0.0.1 for this machine only (the default), 0.0.0.0 for the "
        "network",
    )
    parser.add_argument("--port", type=int, default=_PORT, help=f"port ({_PORT}); 0: any free one")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="host name of the service behind a proxy; repeatable",
    )
    parser.add_argument(
        "--allow-anyone",
        action="store_true",
        help=f"serve the network although {_TOKEN} is not set",
    )
    parser.add_argument(
        "--batch-size", type=positive, default=16, metavar="N", help="photos per batch (16)"
    )
    parser.add_argument(
        "--queue",
        type=positive,
        default=64,
        metavar="N",
        help="requests in flight (64); further ones get 503 and Retry-After",
    )
    parser.add_argument(
        "--max-megabytes", type=positive, default=32, metavar="N", help="largest request (32)"
    )
    parser.add_argument(
        "--idle-minutes",
        type=above_zero,
        default=15.0,
        metavar="X",
        help="unload the model after this time without a request (15)",
    )
    parser.add_argument(
        "--fetch-urls",
        action="store_true",
        help="fetch photos given as http addresses, from the public internet only",
    )
    add_model_options(parser, precision="float32")
    add_search_options(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal arrives."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f'This needs {missing[0]}: pip install "captioner[serve]"')
    import uvicorn

    from captioner.folder.stopping import Stopped, graceful_shutdown
    from captioner.serve.app import build
    from captioner.serve.batching import Batching
    from captioner.serve.guard import is_local
    from captioner.serve.listening import listen
    from captioner.serve.request import Service
    from captioner.speed.resources import release_memory

    token = os.environ.get(_TOKEN, "").strip()
    if not (token or args.allow_anyone or is_local(args.host)):
        raise CaptionerError(
            f"--host {args.host!r} is reachable from other machines; set {_TOKEN} to a secret that "
            "clients must send, or use --allow-anyone."
        )
    checkpoints, header = find_models(args)
    load = partial(load_captioner, args, checkpoints)
    load()  # what cannot be loaded fails now, and not with the first request
    release_memory()
    batching = Batching(
        load,
        search=choose_search(header, args),
        batch_size=args.batch_size,
        slots=args.queue,
        idle_seconds=60 * args.idle_minutes,
    )
    service = Service(
        model=header.name,
        batching=batching,
        most_bytes=args.max_megabytes * 2**20,
        fetch_urls=args.fetch_urls,
        token=token,
    )
    config = uvicorn.Config(
        build(service, host=args.host, proxies=args.allow_host),
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
    )
    way_out = "choose another --port, or 0 for a free one"
    bound = listen(args.host, args.port or None, way_out=way_out)
    host, port = f"[{args.host}]" if ":" in args.host else args.host, bound.getsockname()[1]
    try:
        with bound, graceful_shutdown():
            print(f"captioner: {header.name} at http://{host}:{port}", file=sys.stderr, flush=True)
            uvicorn.Server(config).run(sockets=[bound])
    except Stopped as stopped:
        return stopped.status
    return 1
