"""Charts and maps, as plotting programs draw them."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from training.nonphotos.canvas import Random, words


def chart(random: Random) -> Image.Image:
    """A line, bar, scatter, pie or matrix chart, with axes and a legend."""
    figure, axes = _figure(random)
    steps = np.arange(random.integers(4, 20))
    series = int(random.integers(1, 5))
    values = np.abs(random.normal(0, 1, (series, len(steps))).cumsum(axis=1)) + 0.1
    kind = random.integers(6)
    for number, own in enumerate(values):
        label = words(random, 1)
        if kind == 0:
            axes.plot(steps, own, marker="o" if random.random() < 0.3 else None, label=label)
        elif kind == 1:
            axes.bar(steps + 0.8 * number / series, own, 0.8 / series, label=label)
        elif kind == 2:
            axes.scatter(*random.normal(number, 1, (2, 60)), s=12, label=label)
        elif kind == 3:
            axes.hist(random.normal(number, 1, 300), bins=20, alpha=0.7, label=label)
    if kind == 4:
        axes.pie(values[0], labels=[words(random, 1) for _ in steps])
    elif kind == 5:
        axes.imshow(random.random((len(steps), len(steps))), cmap=_colours(random), aspect="auto")
    else:
        axes.grid(random.random() < 0.5)
        axes.legend()
    axes.set_title(words(random, 4))
    axes.set_xlabel(words(random, 2))
    axes.set_ylabel(words(random, 2))
    return _rendered(figure)


def plan(random: Random) -> Image.Image:
    """A map: terrain or districts, with roads, rivers and names."""
    figure, axes = _figure(random)
    down, across = np.mgrid[0:1:60j, 0:1:60j]
    waves = random.uniform(2, 9, (6, 2)) * random.choice([-1, 1], (6, 2))
    turns = random.uniform(0, 6.3, 6)
    height = sum(np.sin(a * across + b * down + c) for (a, b), c in zip(waves, turns, strict=True))
    if random.random() < 0.6:
        axes.contourf(across, down, height, int(random.integers(4, 14)), cmap=_colours(random))
    if random.random() < 0.6:
        axes.contour(across, down, height, 10, colors="gray", linewidths=0.6)
    roads = int(random.integers(2, 14))
    for _ in range(roads):
        ends = random.random((2, 2)) * 1.4 - 0.2
        bend = random.normal(0, 0.06, (8, 2)).cumsum(axis=0)
        line = np.linspace(ends[0], ends[1], 8) + bend
        colour = str(random.choice(["orange", "white", "black", "gold", "royalblue", "dimgray"]))
        axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=float(random.uniform(0.6, 5)))
    for _ in range(int(random.integers(2, 12))):
        place = random.random(2)
        axes.text(
            place[0], place[1], words(random, 1).title(), fontsize=int(random.integers(6, 13))
        )
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    figure.subplots_adjust(0, 0, 1, 1)
    return _rendered(figure)


def _figure(random: Random) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415  # an optional extra

    ground = "white" if random.random() < 0.7 else str(random.choice(["beige", "lightblue", "0.2"]))
    size = random.uniform(3, 7, 2)
    figure = Figure(figsize=(float(size[0]), float(size[1])), dpi=80, facecolor=ground)
    axes = figure.add_subplot()
    axes.set_facecolor(ground)
    return figure, axes


def _colours(random: Random) -> str:
    return str(random.choice(["viridis", "terrain", "Blues", "Greens", "coolwarm", "Set3", "gray"]))


def _rendered(figure: Any) -> Image.Image:
    stream = BytesIO()
    figure.savefig(stream, format="png")
    return Image.open(stream).convert("RGB")
