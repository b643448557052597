"""Training by several processes, as torchrun starts them: `python -m tests.together`.

It reads runs from standard input, one JSON list `[ranks, arguments]` a line, does each and prints
its exit codes. PyTorch is loaded once; every process of a run is forked from there.
"""

import json
import os
import sys

from torch.distributed import TCPStore

from training import train


def start(rank: int, ranks: int, arguments: list[str], store: TCPStore) -> int:
    """Fork one process of a run, and return its id."""
    child = os.fork()
    if child:
        return child
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # whose port is free, and stays its own
    }
    os.dup2(2, 1)
    code = 1
    try:
        code = train.main(arguments)
    finally:
        os._exit(code)


def run(ranks: int, arguments: list[str]) -> list[int]:
    """Train with so many processes; return their exit codes."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    children = [start(rank, ranks, arguments, store) for rank in range(ranks)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


if __name__ == "__main__":
    train.REPORT_STEPS = 1
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)
