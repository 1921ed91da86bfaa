"""Any image that Pillow reads as upright 8-bit RGB, the transparent ones laid on a background: one rule for all."""

import numpy as np
from PIL import Image, ImageColor

from timecat.errors import UserError

WHITE = "white"
_ORIENTATION = 0x0112  # EXIF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def color(name: str) -> str:
    """A colour as Pillow knows it, or three numbers R,G,B from 0 to 255, as one name: white, black or #rrggbb.

    Raises:
        UserError: no such colour.
    """
    words = name.split(",")
    try:
        numbers = [int(word) for word in words] if len(words) == 3 else ImageColor.getrgb(name)
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(0 <= number <= 255 for number in numbers):
        raise UserError(
            f"--background {name[:40]!r}: no such colour; take white, black, R,G,B from 0 to 255, or #rrggbb"
        )
    written = "#{:02x}{:02x}{:02x}".format(*numbers)
    return {"#ffffff": WHITE, "#000000": "black"}.get(written, written)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What turns an image upright, as its EXIF says."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF tells no orientation, and the pixels are whole
        return None


def upright_rgb(image: Image.Image, background: str = WHITE) -> Image.Image:
    """The image in 8-bit RGB, turned as its EXIF orientation says, laid on the background where it is transparent.

    Raises:
        ValueError: its pixels have no known range.
    """
    turn = turn_of(image)
    image = _rgb(image, background)
    return image if turn is None else image.transpose(turn)


def is_transparent(image: Image.Image) -> bool:
    """Whether the background shows through any pixel: alpha of RGBA, LA and the like, or a palette's or one colour."""
    if not image.has_transparency_data or image.mode.startswith("I"):
        return False
    alpha = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
    return bool((np.asarray(alpha.getchannel("A")) < 255).any())


def is_constant(image: Image.Image) -> bool:
    """Whether an RGB image is of one colour; told by some of its pixels, mostly."""
    width, height = image.size
    places = [(x * (width - 1) // 3, y * (height - 1) // 3) for x in range(4) for y in range(4)]
    if len({image.getpixel(place) for place in places}) > 1:
        return False
    return all(low == high for low, high in image.getextrema())  # pyright: ignore[reportGeneralTypeIssues]


def _rgb(image: Image.Image, background: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # 0..65535 -> 0..255
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"its 32-bit pixels (mode {image.mode}) have no known range; convert it to 8 or 16 bits")
    elif is_transparent(image):
        below = Image.new("RGBA", image.size, background)
        return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
