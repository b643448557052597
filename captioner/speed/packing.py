"""Packed weights, in the memory layout that oneDNN multiplies fastest, for bulk captioning.

On a CPU, PyTorch leaves float32 matrix products to MKL, which uses half of what the vector units of
AMD processors can do. oneDNN uses all of it, and is faster still with weights in its own layout.
Results are the same up to rounding. Packed weights are used for inference in float32 only; training
and other formats use the plain weights.
"""

import copy
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from captioner.decoders.words import WordTable

Network = TypeVar("Network", bound=nn.Module)


def pack(network: Network) -> Network:
    """Return a copy of a network that shares all weights and has packed copies of linear layers'.

    If weights of the copy are changed or replaced later, it uses them unpacked. Only changes
    through `weight.data`, which PyTorch does not track, are missed. Where packing gains nothing,
    the network itself is returned.
    """
    if not _gains():
        return network
    twin = share_weights(network)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if type(child) in _PACKED and all(_can_be_packed(x) for x in child.parameters()):
                setattr(module, name, _PACKED[type(child)](child))
    return twin


def share_weights(network: Network) -> Network:
    """Return a copy of a network that shares its weights, with modules and modes of its own."""
    return copy.deepcopy(network, {id(x): x for x in (*network.parameters(), *network.buffers())})


def _gains() -> bool:
    """Whether oneDNN is available and measured to be faster, that is with AVX-512."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(Tensor, "_version")
    )


def _can_be_packed(weight: Tensor) -> bool:
    """Whether a weight is float32, on a CPU, and tracked by PyTorch."""
    return (
        weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.is_inference()
    )


class _Product:
    """x W^T + b, with a copy of W in oneDNN's layout.

    The operators are those that torch.compile uses for linear layers (docs/private_names.md).
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._kept = weight.detach()  # so that no other weight comes to lie where this one does
        self._version = weight._version
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self._kept)

    def __call__(
        self, x: Float[Tensor, "*rows i"], weight: Tensor, bias: Tensor | None
    ) -> Float[Tensor, "*rows o"]:
        """Multiply by the packed copy if it is current and no gradient or autocast is active."""
        if (
            torch.is_grad_enabled()
            or torch.is_autocast_enabled("cpu")
            or x.dtype != torch.float32
            or not self._is_of(weight)
        ):
            return F.linear(x, weight, bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, bias, "none", [], "")
        return product

    def _is_of(self, weight: Tensor) -> bool:
        """Whether the packed copy is of this weight, unmodified since."""
        return (
            weight is self._weight
            and weight.data_ptr() == self._kept.data_ptr()
            and weight._version == self._version
        )

    def __reduce__(self) -> tuple[type["_Product"], tuple[Tensor]]:
        """Pack again when the network is copied or pickled."""
        return _Product, (self._weight,)


class _PackedLinear(nn.Linear):
    def __init__(self, plain: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(plain.__dict__)
        self._product = _Product(plain.weight)

    def forward(self, x: Float[Tensor, "*rows i"]) -> Float[Tensor, "*rows o"]:
        return self._product(x, self.weight, self.bias)


class _PackedLSTMCell(nn.LSTMCell):
    def __init__(self, plain: nn.LSTMCell) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(plain.__dict__)
        self._from_input = _Product(plain.weight_ih)
        self._from_hidden = _Product(plain.weight_hh)

    def forward(  # type: ignore[override]  # the state is always given
        self, x: Float[Tensor, "N i"], state: tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]
    ) -> tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]:
        hidden, cell = state
        gates = self._from_input(x, self.weight_ih, self.bias_ih)
        gates = gates + self._from_hidden(hidden, self.weight_hh, self.bias_hh)
        let_in, keep, new, let_out = gates.chunk(4, -1)
        cell = keep.sigmoid() * cell + let_in.sigmoid() * new.tanh()
        return let_out.sigmoid() * cell.tanh(), cell


class _PackedWordTable(WordTable):
    def __init__(self, plain: WordTable) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(plain.__dict__)
        self._product = _Product(plain.output_weights)

    def logits(self, state: Float[Tensor, "*rows C"]) -> Float[Tensor, "*rows V"]:
        return self._product(state, self.output_weights, self.bias)


_PACKED: dict[type[nn.Module], Any] = {
    nn.Linear: _PackedLinear,
    nn.LSTMCell: _PackedLSTMCell,
    WordTable: _PackedWordTable,
}
