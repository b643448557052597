"""Training on several GPUs: `torchrun --nproc-per-node 4 -m training.train CONFIG`.

torchrun starts one process for each GPU and ends all when one dies. Each has a copy of the model,
learns from its share of every batch, and has its gradients averaged with those of the others by
DistributedDataParallel (Li et al. 2020, arXiv:2006.15704), so that the copies stay the same. Where
`shard` is set, encoders learn with weights, gradients and optimizer in pieces, one for each GPU, by
FSDP (Zhao et al. 2023, arXiv:2304.11277).
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any, TypeVar, cast

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from captioner.errors import ConfigError
from captioner.pytorch import find_device
from data.ranks import Ranks

Module = TypeVar("Module", bound=nn.Module)


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


def sharded(module: Module, backbone: str) -> Module:
    """Return a copy whose weights are shared out among all processes, gathered only for their use.

    Args:
        module: the same in all processes; the copy must be called by its forward.
        backbone: name of the part in it that is gathered block by block.
    """
    module = deepcopy(module)
    device = next(module.parameters()).device
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layers in module.get_submodule(backbone).children():
        if isinstance(layers, nn.Sequential | nn.ModuleList):
            for block in layers:
                if any(True for _ in block.parameters()):
                    fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


@torch.no_grad()
def unshard(source: nn.Module, target: nn.Module) -> None:
    """Bring the weights of a sharded copy back into what it is a copy of."""
    for whole, piece in zip(target.parameters(), source.parameters(), strict=True):
        whole.copy_(gathered(piece))


def gathered(x: Tensor) -> Tensor:
    """Put the pieces of a tensor together, if it is in pieces."""
    return x.full_tensor() if isinstance(x, DTensor) else x


class WholeOptimizer:
    """An optimizer whose state may be in pieces, saved and loaded as if it were not."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        """Put the pieces together."""
        state = self._optimizer.state_dict()
        states = {
            number: {
                name: gathered(x).cpu() if isinstance(x, DTensor) else x for name, x in own.items()
            }
            for number, own in state["state"].items()
        }
        return {**state, "state": states}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Keep the pieces that belong to this process's weights."""
        groups = self._optimizer.param_groups
        weights = dict(enumerate(weight for group in groups for weight in group["params"]))
        states = {
            number: {name: _piece(x, weights[number]) for name, x in state.items()}
            for number, state in state_dict["state"].items()
        }
        self._optimizer.load_state_dict({**state_dict, "state": states})


def _piece(x: Any, weight: Tensor) -> Any:
    """Take apart what belongs to a weight as the weight is, but for counts of steps."""
    if isinstance(weight, DTensor) and x.shape == weight.shape:
        return distribute_tensor(x.to(weight.device), weight.device_mesh, weight.placements)
    return x


def _end_with_launcher() -> None:
    """End this process when torchrun has been killed, which could not end it then."""

    def watch(launcher: int) -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, args=[os.getppid()], daemon=True).start()
