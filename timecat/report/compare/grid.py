"""Images side by side, each with the name of its class below."""

import io

from PIL import Image, ImageDraw, ImageFont

from timecat.data.seen import Seen

COLUMNS, CELL, LINE, GAP = 6, 112, 24, 8  # pixels, but for the first


def grid(seen: Seen) -> bytes:
    """A PNG: small images enlarged to whole pixels, large ones reduced."""
    count, side = len(seen.images), seen.images.shape[1]
    cell = CELL // side * side if side <= CELL else CELL
    rows = -(-count // COLUMNS)
    size = COLUMNS * (CELL + GAP) + GAP, rows * (CELL + LINE + GAP) + GAP
    sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(18)
    draw = ImageDraw.Draw(sheet)
    for place, (pixels, name) in enumerate(zip(seen.images, seen.names, strict=True)):
        left, top = GAP + place % COLUMNS * (CELL + GAP), GAP + place // COLUMNS * (CELL + LINE + GAP)
        how = Image.Resampling.NEAREST if side <= CELL else Image.Resampling.LANCZOS
        sheet.paste(Image.fromarray(pixels).resize((cell, cell), how), (left, top))
        while draw.textlength(name, font) > CELL:
            name = name[:-2] + "…" if len(name) > 2 else ""
        draw.text((left, top + cell + 1), name, "black", font)
    buffer = io.BytesIO()
    sheet.save(buffer, "png")
    return buffer.getvalue()
