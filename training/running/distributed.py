"""Training on several GPUs: `torchrun --nproc-per-node 4 -m training.train CONFIG`.

torchrun starts one process (rank) per GPU and stops all of them when one dies. Every rank holds a
copy of the model, trains on its share of each batch, and averages gradients with the others through
DistributedDataParallel (Li et al. 2020, arXiv:2006.15704). With the setting `shard`, a trained
encoder's weights, gradients and optimizer state are sharded across ranks by FSDP (Zhao et al. 2023,
arXiv:2304.11277).
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
def process_group(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the process group that torchrun started, if any, and yield this process's device.

    Args:
        device: `auto`, `cpu`, `cuda`, ...; with `cuda`, every rank gets a GPU of its own.

    Raises:
        ConfigError: the device does not exist, or there are more ranks than GPUs.
    """
    chosen = find_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(), chosen
        return
    if chosen.type == "cuda":
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            raise ConfigError(
                f"torchrun started more processes than this machine has GPUs ({gpus}); "
                f"use --nproc-per-node {gpus}."
            )
        chosen = torch.device("cuda", local_rank)
        torch.cuda.set_device(chosen)
    _end_with_launcher()
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    yield Ranks(rank=rank, count=count), chosen
    torch.distributed.destroy_process_group()  # not after an error: the other ranks may not answer


def data_parallel(module: nn.Module, ranks: Ranks) -> nn.Module:
    """Wrap a module so that its backward pass averages gradients over all ranks.

    Args:
        module: identical on all ranks; call it, not its methods.
        ranks: with a single rank, the module is returned unwrapped.
    """
    if ranks.count == 1:
        return module
    return DistributedDataParallel(module)


def gradient_sync(module: nn.Module, enabled: bool) -> AbstractContextManager[None]:
    """Context in which backward passes average gradients over ranks, or only accumulate them.

    Args:
        module: from `data_parallel`.
        enabled: False accumulates locally until a backward pass with True.
    """
    if enabled or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return cast(AbstractContextManager[None], module.no_sync())


def shard_copy(module: Module, backbone: str) -> Module:
    """Return a copy of a module whose weights are sharded across ranks (FSDP).

    Args:
        module: identical on all ranks; call the copy, not its methods.
        backbone: name of the submodule that is gathered block by block.
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
    """Copy the weights of a sharded copy back into the original module."""
    for whole, shard in zip(target.parameters(), source.parameters(), strict=True):
        whole.copy_(full_tensor(shard))


def full_tensor(x: Tensor) -> Tensor:
    """Gather a sharded tensor; return any other tensor unchanged."""
    return x.full_tensor() if isinstance(x, DTensor) else x


class FullStateOptimizer:
    """Saves and loads an optimizer's full state, whether or not it is sharded."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        """Return the state with all shards gathered, on the CPU."""
        state = self._optimizer.state_dict()
        states = {
            number: {
                name: full_tensor(x).cpu() if isinstance(x, DTensor) else x
                for name, x in own.items()
            }
            for number, own in state["state"].items()
        }
        return {**state, "state": states}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Load a full state; every rank keeps the shards of its own weights."""
        groups = self._optimizer.param_groups
        weights = dict(enumerate(weight for group in groups for weight in group["params"]))
        states = {
            number: {name: _shard_like(x, weights[number]) for name, x in state.items()}
            for number, state in state_dict["state"].items()
        }
        self._optimizer.load_state_dict({**state_dict, "state": states})


def _shard_like(x: Any, weight: Tensor) -> Any:
    """Shard a state tensor like its weight; step counts and the like stay as they are."""
    if isinstance(weight, DTensor) and x.shape == weight.shape:
        return distribute_tensor(x.to(weight.device), weight.device_mesh, weight.placements)
    return x


def _end_with_launcher() -> None:
    """Exit when torchrun is gone: killed outright, it cannot stop its processes."""

    def watch(launcher: int) -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, args=[os.getppid()], daemon=True).start()
