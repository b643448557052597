"""Images of text: pages, code, tables, user interfaces, logos."""

from PIL import Image, ImageDraw

from training.nonphotos.canvas import (
    MONO,
    Random,
    blank,
    colour,
    font,
    number,
    paper,
    word,
    words,
)

_STATEMENTS = (
    "def {}({}, {}):",
    "class {}({}):",
    "    for {} in {}({}):",
    "        if {} not in {}:",
    "            {}.append({}[{}])",
    "    {} = {} + 2 * {}",
    '    {}["{}"] = {}',
    "    # {} {} {}",
    "    return {}.{}({})",
    "import {}.{}",
    "",
)


def page(random: Random) -> Image.Image:
    """Paragraphs in one or two columns, with headings."""
    ground, ink = paper(random)
    image = blank(random, ground)
    draw = ImageDraw.Draw(image)
    size = int(random.integers(9, 26))
    name = str(random.choice(["DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmr10"]))
    body, head = font(random, size, name), font(random, int(1.6 * size), name)
    columns = int(random.integers(1, 3))
    margin = int(random.integers(8, 40))
    width = (image.width - margin) // columns
    for column in range(columns):
        left, top = margin + column * width, margin
        while top < image.height - margin:
            if random.random() < 0.08:
                draw.text((left, top + size), words(random, 3), fill=ink, font=head)
                top += 4 * size
                continue
            ends = random.random() < 0.12
            line = words(random, 3 if ends else 40)
            while draw.textlength(line, font=body) > width - margin:
                line = line.rpartition(" ")[0]
            draw.text((left, top), line, fill=ink, font=body)
            top += int((2.2 if ends else 1.35) * size)
    return image


def code(random: Random) -> Image.Image:
    """Source code with coloured words."""
    ground, ink = paper(random)
    image = blank(random, ground)
    draw = ImageDraw.Draw(image)
    size = int(random.integers(9, 22))
    face = font(random, size, MONO)
    colours = [colour(random, *((0, 160) if sum(ground) > 380 else (120, 256))) for _ in range(4)]
    for top in range(6, image.height, int(1.3 * size)):
        statement = _STATEMENTS[random.integers(len(_STATEMENTS))]
        line = statement.format(*(word(random) for _ in range(3)))
        left = 8.0 + 0.6 * size * (len(line) - len(line.lstrip()))
        for part in line.split():
            shade = ink if random.random() < 0.5 else colours[random.integers(4)]
            draw.text((left, top), part, fill=shade, font=face)
            left += 0.6 * size * (len(part) + 1)
    return image


def table(random: Random) -> Image.Image:
    """A spreadsheet."""
    ground, ink = paper(random)
    image = blank(random, ground)
    draw = ImageDraw.Draw(image)
    size = int(random.integers(9, 20))
    face = font(random, size)
    height, width = int(1.8 * size), int(random.integers(5, 11)) * size
    shade = tuple((3 * a + b) // 4 for a, b in zip(ground, ink, strict=True))
    for row in range(image.height // height + 1):
        if row == 0 or (row % 2 and random.random() < 0.9):
            draw.rectangle([0, row * height, image.width, (row + 1) * height], fill=shade)
        for column in range(image.width // width + 1):
            text = word(random) if row == 0 or column == 0 else number(random)
            draw.text((column * width + 4, row * height + 3), text, fill=ink, font=face)
    for column in range(image.width // width + 1):
        draw.line([(column * width, 0), (column * width, image.height)], fill=shade)
    return image


def interface(random: Random) -> Image.Image:
    """A program window or web page."""
    image = blank(random, colour(random, 30, 256))
    draw = ImageDraw.Draw(image)
    ground, ink = paper(random)
    accent = colour(random)
    size = int(random.integers(10, 20))
    face = font(random, size)
    bar, side = int(2.4 * size), int(random.integers(0, image.width // 3))
    margin = int(random.integers(0, 30))
    draw.rectangle([margin, margin, image.width - margin, image.height - margin], fill=ground)
    draw.rectangle([margin, margin, image.width - margin, margin + bar], fill=accent)
    draw.text((margin + 8, margin + 6), words(random, 2), fill=ground, font=face)
    for place in range(3):
        left = image.width - margin - (place + 1) * size - 6 * place
        draw.ellipse([left, margin + 8, left + size - 4, margin + size + 4], fill=colour(random))
    shade = tuple((7 * a + b) // 8 for a, b in zip(ground, ink, strict=True))
    draw.rectangle([margin, margin + bar, margin + side, image.height - margin], fill=shade)
    top = margin + bar + 10
    while top < image.height - margin - 2 * size:
        draw.text((margin + 8, top), word(random) if side > 40 else "", fill=ink, font=face)
        left = margin + side + 14
        kind = random.random()
        if kind < 0.25:
            right = left + int(random.integers(40, 140))
            fill = accent if random.random() < 0.5 else shade
            draw.rounded_rectangle([left, top, right, top + 2 * size], 5, fill=fill, outline=ink)
            draw.text((left + 8, top + size // 3), word(random), fill=ink, font=face)
        elif kind < 0.45:
            draw.rectangle([left, top, image.width - margin - 20, top + 2 * size], outline=ink)
        elif kind < 0.6:
            draw.rectangle([left, top, left + size, top + size], outline=ink)
            draw.text((left + 2 * size, top), words(random, 3), fill=ink, font=face)
        else:
            draw.text((left, top), words(random, int(random.integers(2, 9))), fill=ink, font=face)
        top += int(random.uniform(1.6, 3.2) * size)
    return image


def logo(random: Random) -> Image.Image:
    """A few shapes and a name."""
    ground = (255, 255, 255) if random.random() < 0.5 else colour(random)
    image = blank(random, ground)
    draw = ImageDraw.Draw(image)
    size = min(image.size)
    for _ in range(int(random.integers(1, 4))):
        half = random.uniform(0.1, 0.3) * size
        x, y = random.uniform(0.35, 0.65) * image.width, random.uniform(0.25, 0.55) * image.height
        box = [x - half, y - half, x + half, y + half]
        fill = colour(random)
        kind = random.integers(4)
        if kind == 0:
            draw.ellipse(box, fill=fill)
        elif kind == 1:
            draw.rounded_rectangle(box, half * random.uniform(0, 0.6), fill=fill)
        elif kind == 2:
            draw.regular_polygon((x, y, half), int(random.integers(3, 8)), fill=fill)
        else:
            ends = sorted(random.uniform(0, 360, 2))
            draw.arc(box, ends[0], ends[1] + 90, fill=fill, width=max(2, int(half / 3)))
    if random.random() < 0.7:
        face = font(random, max(12, int(random.uniform(0.08, 0.2) * size)))
        text = word(random).upper() if random.random() < 0.5 else word(random).title()
        middle = (image.width / 2, 0.8 * image.height)
        draw.text(middle, text, fill=colour(random), font=face, anchor="mm")
    return image
