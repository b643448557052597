"""Graphics without text: diagrams, drawings, patterns, bar codes, blanks, gradients, noise."""

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.nonphotos.canvas import Random, arrow, blank, colour, font, paper, word


def diagram(random: Random) -> Image.Image:
    """Labelled boxes and arrows between them."""
    ground, ink = paper(random)
    image = blank(random, ground)
    draw = ImageDraw.Draw(image)
    face = font(random, int(random.integers(9, 18)))
    columns, rows = (int(n) for n in random.integers(2, 5, 2))
    cell = np.array([image.width / columns, image.height / rows])
    places = [
        (np.array([x, y]) + random.uniform(0.35, 0.65, 2)) * cell
        for y in range(rows)
        for x in range(columns)
        if random.random() < 0.8
    ]
    for start, end in pairwise(places):
        arrow(draw, start, end, ink)
    for _ in range(len(places) // 2):
        start, end = random.choice(places, 2)
        arrow(draw, start, end, ink)
    fill = colour(random, 150, 256) if sum(ground) > 380 else colour(random, 0, 90)
    for x, y in places:
        wide, high = cell * random.uniform(0.15, 0.3)
        box = [x - wide, y - high, x + wide, y + high]
        shape = draw.ellipse if random.random() < 0.3 else draw.rectangle
        shape(box, fill=fill if random.random() < 0.7 else ground, outline=ink, width=2)
        draw.text((x, y), word(random), fill=ink, font=face, anchor="mm")
    return image


def drawing(random: Random) -> Image.Image:
    """Hand-drawn lines, flat shapes, or both: doodles and children's drawings."""
    ground, ink = paper(random)
    image = blank(random, ground)
    draw = ImageDraw.Draw(image)
    if random.random() < 0.5:
        _scene(draw, image.size, random)
    for _ in range(int(random.integers(3, 25))):
        start = random.random(2) * image.size
        turns = random.normal(0, 0.5, 40).cumsum() + random.uniform(0, 6.3)
        step = random.uniform(3, 12)
        points = start + step * np.stack([np.cos(turns), np.sin(turns)], axis=1).cumsum(axis=0)
        line = [tuple(point) for point in points]
        if random.random() < 0.2:
            draw.polygon(line, fill=colour(random), outline=ink)
        else:
            shade = ink if random.random() < 0.7 else colour(random)
            draw.line(line, fill=shade, width=int(random.integers(1, 6)), joint="curve")
    return image


def _scene(draw: ImageDraw.ImageDraw, size: tuple[int, int], random: Random) -> None:
    width, height = size
    ground = int(random.uniform(0.5, 0.8) * height)
    draw.rectangle([0, 0, width, ground], fill=colour(random, 120, 256))
    draw.rectangle([0, ground, width, height], fill=colour(random, 40, 200))
    sun = random.uniform(0.05, 0.12) * width
    draw.ellipse([width - 3 * sun, sun, width - sun, 3 * sun], fill=(250, 210, 60))
    for _ in range(int(random.integers(1, 6))):
        x, half = random.uniform(0, width), random.uniform(0.03, 0.12) * width
        tall = random.uniform(0.1, 0.3) * height
        if random.random() < 0.5:
            draw.rectangle([x - half, ground - tall, x + half, ground], fill=colour(random))
            roof = [(x - 1.2 * half, ground - tall), (x + 1.2 * half, ground - tall)]
            draw.polygon([*roof, (x, ground - 1.6 * tall)], fill=colour(random))
        else:
            draw.rectangle([x - half / 6, ground - tall, x + half / 6, ground], fill=(110, 70, 40))
            crown = [x - half, ground - tall - half, x + half, ground - tall + half]
            draw.ellipse(crown, fill=colour(random, 30, 200))


def pattern(random: Random) -> Image.Image:
    """Checks, stripes, dots, waves or a fractal, over the whole image."""
    size = blank(random, (0, 0, 0)).size
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    scale = random.uniform(4, 40)
    kind = random.integers(5)
    if kind == 0:
        level = ((x * scale).astype(int) + (y * scale).astype(int)) % 2
    elif kind == 1:
        level = (np.sin(scale * (x * random.uniform(-1, 1) + y)) > 0).astype(int)
    elif kind == 2:
        level = (np.sin(scale * x) * np.sin(scale * y) > random.uniform(0, 0.8)).astype(int)
    elif kind == 3:
        level = (np.sin(scale * np.hypot(x, y)) + np.sin(scale * x)) / 4 + 0.5
    else:
        level = _julia(1.5 * x + 1.5j * y, complex(*random.uniform(-0.8, 0.4, 2)))
    return _mixed(level, random)


def _julia(z: np.ndarray, constant: complex) -> np.ndarray:
    """Escape time of a Julia set, from 0 to 1."""
    steps = np.zeros(z.shape)
    for _ in range(24):
        near = np.abs(z) < 2
        z = np.where(near, z * z + constant, z)
        steps += near
    return steps / 24


def scannable(random: Random) -> Image.Image:
    """A bar code or QR code."""
    ground, ink = paper(random)
    image = blank(random, ground)
    side = int(random.integers(21, 60))
    if random.random() < 0.5:
        cells = random.integers(0, 2, (side, side))
        for down, across in ((0, 0), (0, side - 7), (side - 7, 0)):
            cells[down : down + 7, across : across + 7] = 1
            cells[down + 1 : down + 6, across + 1 : across + 6] = 0
            cells[down + 2 : down + 5, across + 2 : across + 5] = 1
    else:
        cells = np.repeat(random.integers(0, 2, (1, side)), side // 2, axis=0)
    code = Image.fromarray(np.where(cells, 0, 255).astype(np.uint8)).convert("L")
    factor = max(1, int(random.uniform(0.4, 0.95) * min(image.width, image.height) / side))
    code = code.resize((code.width * factor, code.height * factor), Image.Resampling.NEAREST)
    place = ((image.width - code.width) // 2, (image.height - code.height) // 2)
    image.paste(Image.new("RGB", code.size, ink), place, code.point(lambda level: 255 - level))
    return image


def empty(random: Random) -> Image.Image:
    """One colour with a little grain."""
    image = blank(random, paper(random)[0] if random.random() < 0.5 else colour(random))
    grain = random.normal(0, random.uniform(0, 4), (image.height, image.width, 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def gradient(random: Random) -> Image.Image:
    """A linear or radial gradient of two colours."""
    size = blank(random, (0, 0, 0)).size
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    if random.random() < 0.6:
        turn = random.uniform(0, 6.3)
        level = np.cos(turn) * x + np.sin(turn) * y
    else:
        level = np.hypot(x - random.random(), y - random.random())
    level = (level - level.min()) / np.ptp(level)
    return _mixed(level ** random.uniform(0.5, 2), random)


def noise(random: Random) -> Image.Image:
    """Noise: fine or coarse, gray or coloured, or in lines."""
    size = blank(random, (0, 0, 0)).size
    factor = int(random.integers(1, 24))
    channels = 3 if random.random() < 0.5 else 1
    shape = (size[1] // factor + 1, size[0] // factor + 1, channels)
    if random.random() < 0.2:
        shape = (shape[0], 1, channels)
    levels = random.normal(128, random.uniform(20, 90), shape).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(np.repeat(levels, 3 // channels, axis=2))
    way = Image.Resampling.BICUBIC if random.random() < 0.5 else Image.Resampling.NEAREST
    image = image.resize(size, way)
    if random.random() < 0.3:
        return image.filter(ImageFilter.GaussianBlur(float(random.uniform(0.5, 6))))
    return image


def _mixed(level: np.ndarray, random: Random) -> Image.Image:
    """Blend two random colours; `level` is the share of the second, from 0 to 1."""
    one, other = np.array(colour(random)), np.array(colour(random))
    mixed = one + np.asarray(level, float)[..., None] * (other - one)
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
