"""Perceptually uniform colour maps, dark to bright."""

from itertools import pairwise
from typing import Literal, get_args

from captioner.errors import ConfigError

ColourMap = Literal["inferno", "magma", "viridis", "cividis"]

# Every 15th of the 256 colours, from dark to bright; between them a straight line is within 6 of
# 255 levels of the original (cividis: 11). Inferno, magma, viridis: N. Smith, S. van der Walt and
# E. Firing, https://bids.github.io/colormap/, CC0. Cividis, made for colour-blind readers:
# J. Nuñez, C. Anderton and R. Renslow 2018, arXiv:1712.01662.
_EVERY_15TH: dict[str, str] = {
    "inferno": "000004 0a0722 1e0c45 380962 510e6c 69166e 801f6c 982766 b0315b"
    " c63d4d d94d3d e9612b f47918 fa9407 fcb014 f8cd37 f2ea69 fcffa4",
    "magma": "000004 090720 1a1042 311165 4a1079 621980 792282 912b81 aa337d"
    " c23b75 d9466b ec5860 f7725c fc8e64 feaa74 fec68a fde2a3 fcfdbf",
    "viridis": "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e"
    " 1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 b0dd2f d8e219 fde725",
    "cividis": "00224e 002d68 163770 2e416d 3f4c6c 4e566c 5c616e 696b71 767676"
    " 838179 928c78 a09875 afa471 bfb06b cfbd62 dfca57 f0d846 fee838",
}


def palette(name: str) -> bytes:
    """Return the 256 colours of a `ColourMap` from dark to bright, each three bytes of RGB.

    Raises:
        ConfigError: there is no such colour map.
    """
    if name not in _EVERY_15TH:
        names = ", ".join(get_args(ColourMap))
        raise ConfigError(f"there is no colour map {name!r}; choose from {names}.")
    knots = [bytes.fromhex(colour) for colour in _EVERY_15TH[name].split()]
    between = (
        bytes(round(a + (b - a) * step / 15) for a, b in zip(low, high, strict=True))
        for low, high in pairwise(knots)
        for step in range(15)
    )
    return b"".join([*between, knots[-1]])
