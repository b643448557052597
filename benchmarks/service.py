"""Throughput of `captioner serve` with many concurrent clients, and with one.

    python -m benchmarks.service [--rounds 3] [--clients 20] [--captions 100] [OPTION ...]

Further options go to `captioner serve`. Clients are threads of another process on the same machine,
each with one connection, and send the sample photos to `POST /caption`. Each round sends requests
one by one, then concurrently. Prints medians over the rounds and their ratio, the service's
processor time per caption (Linux), which a busy machine affects less, and the load average; exit
status 1 if the ratio is below the aim of 2.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.command import command
from captioner.cli.options import positive
from captioner.errors import CaptionerError

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
AIM = 2.0


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, int]]:
    """Run the service on a free port; yield its address and its process."""
    command = [sys.executable, "-m", "captioner", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "http://" not in (line := process.stderr.readline()):
                if not line:
                    raise CaptionerError(said.strip())
                said = line
            yield line.split()[-1], process.pid
        finally:
            process.terminate()


def ask(url: str, photos: list[bytes]) -> list[str]:
    """Have photos captioned one by one."""
    with httpx.Client(base_url=url, timeout=300, trust_env=False) as client:
        replies = [client.post("/caption", content=photo) for photo in photos]
    if wrong := [reply.text for reply in replies if not reply.is_success]:
        raise CaptionerError(f"{len(wrong)} photos were not captioned: {wrong[0]}")
    return [reply.json()["caption"] for reply in replies]


def processor_seconds(pid: int) -> float:
    """Return the processor seconds of a process; 0 where the system does not report them."""
    file = Path(f"/proc/{pid}/stat")
    if not file.exists():
        return 0.0
    user, system = file.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measure(url: str, photos: list[bytes], clients: int) -> tuple[float, list[str]]:
    """Return captions per second with this many clients, and the captions."""
    shares = [photos[first::clients] for first in range(clients)]
    with ThreadPoolExecutor(clients) as pool:
        began = time.perf_counter()
        said = list(pool.map(lambda share: ask(url, share), shares))
        taken = time.perf_counter() - began
    return len(photos) / taken, [said[n % clients][n // clients] for n in range(len(photos))]


@command
def main() -> int:
    """Run the benchmark and print its results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rounds", type=positive, default=3, help="measured rounds (3)")
    parser.add_argument("--clients", type=positive, default=20, help="concurrent clients (20)")
    parser.add_argument("--captions", type=positive, default=100, help="captions per round (100)")
    args, options = parser.parse_known_args()
    files = [path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg"))]
    photos = [files[n % len(files)] for n in range(args.captions)]
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    rates: dict[int, list[float]] = {1: [], args.clients: []}
    worked = dict.fromkeys(rates, 0.0)
    right = 0
    expected: list[str] = []
    with serving(*options) as (url, pid):
        ask(url, files)  # loads the model
        for _ in range(args.rounds):
            for clients, found in rates.items():
                before = processor_seconds(pid)
                rate, said = measure(url, photos, clients)
                worked[clients] += processor_seconds(pid) - before
                found.append(rate)
                expected = expected or said
                right += said == expected
    total = args.rounds * len(photos)
    one, many = (statistics.median(found) for found in rates.values())
    for clients, rate in zip(rates, (one, many), strict=True):
        used = 1000 * worked[clients] / total
        print(f"{clients} at a time: {rate:.1f} captions a second, {used:.0f} ms of processor each")
    print(f"{many / one:.2f} times as many")
    print(f"same captions in {right} of {2 * args.rounds} passes")
    print(f"load average after: {os.getloadavg()[0]:.1f}")
    return int(many / one < AIM)


if __name__ == "__main__":
    sys.exit(main())
