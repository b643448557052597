"""`captioner checkpoints`: the models that have a name."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from captioner.checkpoint.metrics import METRICS
from captioner.cli.options import Subcommands, add_command

if TYPE_CHECKING:
    from captioner.checkpoint.known import Speed


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    parser = add_command(
        commands,
        "checkpoints",
        run,
        summary="list models by name",
        description="List the models that --checkpoint knows by name: included ones, the default "
        "first, and pretrained ones, which are downloaded from the hub.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list")


def run(args: argparse.Namespace) -> int:
    """List the checkpoints that have a name."""
    from captioner.checkpoint.known import KNOWN, SPEEDS
    from captioner.checkpoint.shipped import list_checkpoints

    found = list_checkpoints()
    if args.json:
        names = ("name", "decoder", "encoder", "parameters", "scores")
        shipped = [{name: getattr(info, name) for name in names} for info in found]
        listed = [*shipped, *map(asdict, KNOWN.values())]
        for each in listed:
            measured = SPEEDS.get(each["name"])
            each["speed"] = None if measured is None else asdict(measured)
        print(json.dumps(listed))
        return 0
    if not found:
        print("captioner: this copy holds no checkpoints.", file=sys.stderr)
    for info in found:
        millions = f"{info.parameters / 1e6:.1f} M parameters"
        speed = _format_speed(SPEEDS.get(info.name))
        print(f"{info.name}: {info.decoder} on {info.encoder}, {millions}, {speed}")
        for name, result in info.scores.items():
            print(f"    {name}: {_format_result(result)}")
    for known in KNOWN.values():
        size = "size unknown" if known.megabytes is None else f"{known.megabytes} MB to fetch"
        print(f"{known.name}: {known.address}, {known.parameters:.1f} M parameters, {size}")
        score = "no published CIDEr"
        if known.cider is not None:
            score = f"CIDEr {100 * known.cider:.1f} as published"
        speed = _format_speed(SPEEDS.get(known.name))
        print(f"    COCO: {score}; licence {known.licence or 'not stated'}; {speed}")
    return 0


def _format_speed(speed: "Speed | None") -> str:
    """Say what was measured, or that nothing was."""
    if speed is None:
        return "speed unknown"
    cores = f"{speed.cores} core{'s' * (speed.cores > 1)}"
    return f"{speed.photos_per_second:.2g} photos a second on {cores}"


def _format_result(result: Any) -> str:
    """Show the numbers of a result, scores times 100; the JSON has all of it, unscaled."""
    if not isinstance(result, dict):
        return str(result)
    numbers = result.get("scores", result)
    return ", ".join(_format_number(name, value) for name, value in numbers.items())


def _format_number(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return f"{name} {value}"
    name = METRICS.get(name, name)
    return f"{name} {100 * value:.1f}" if name in METRICS.values() else f"{name} {value:.3f}"
