"""Training on several GPUs: `torchrun --nproc-per-node 4 -m training.train CONFIG`.

torchrun starts one process for each GPU and ends all when one dies. Each has a copy of the model,
learns from its share of every batch, and has its gradients averaged with those of the others by
DistributedDataParallel (Li et al. 2020, arXiv:2006.15704), so that the copies stay the same.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from captioner.errors import ConfigError
from captioner.pipeline import find_device
from data.ranks import Ranks


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the processes that torchrun has started, if any; give this one its device.

    Args:
        device: as a user names it; with `cuda`, each process has a GPU of its own.

    Raises:
        ConfigError: there is no such device, or there are more processes than GPUs.
    """
    chosen = find_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(), chosen
        return
    if chosen.type == "cuda":
        place, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if place >= gpus:
            raise ConfigError(
                f"torchrun started more processes than there are GPUs, which is {gpus}; "
                f"give it --nproc-per-node {gpus}."
            )
        chosen = torch.device("cuda", place)
        torch.cuda.set_device(chosen)
    _end_with_launcher()
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    yield Ranks(rank=rank, count=count), chosen
    torch.distributed.destroy_process_group()  # after an error, the others may not answer


def shared(module: nn.Module, ranks: Ranks) -> nn.Module:
    """Have the gradients of this module averaged over all processes when it is gone back through.

    Args:
        module: the same in all processes; must be called by its forward.
        ranks: if there is only one, the module is returned as it is.
    """
    if ranks.count == 1:
        return module
    return DistributedDataParallel(module)


def sharing(module: nn.Module, share: bool) -> AbstractContextManager[None]:
    """Within it, gradients are averaged over all processes, or only added up for now.

    Args:
        module: from `shared`.
        share: false keeps what is found to this process, until it is found within another.
    """
    if share or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return cast(AbstractContextManager[None], module.no_sync())


def _end_with_launcher() -> None:
    """End this process when torchrun has been killed, which could not end it then."""

    def watch(launcher: int) -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, args=[os.getppid()], daemon=True).start()
