"""One image as `timecat write` stores it: its own bytes where it is a JPEG that needs no change, else upright RGB."""

import hashlib
from dataclasses import dataclass
from enum import IntFlag
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, UnidentifiedImageError

from timecat.data.beton import JPEG, MAX_PAGE_SIZE, MAX_SIDE, RAW
from timecat.data.kernel import decoded
from timecat.data.rgb import WHITE, is_constant, is_transparent, turn_of, upright_rgb
from timecat.files import read_regular

MAX_JPEG_SIDE = 65500  # libjpeg's
RAW_SIDE = 64  # pixels: storage "auto" keeps images up to this side raw
MOST_PIXELS = MAX_PAGE_SIZE // 3  # of an image that is stored
MOST_DECODED = 1 << 30  # pixels of one that is to be reduced: 3.2 GB, one at a time
_one_huge_at_a_time = Lock()


class TooLarge(ValueError):
    """The image is whole, and has more pixels than a file takes, or than are decoded."""


@dataclass(frozen=True)
class Settings:
    """How images are stored.

    Attributes:
        max_side: pixels that the longest side is reduced to (Lanczos), never enlarged; None leaves every size.
        storage: "raw", "jpeg", "auto": raw where the longest side is then at most 64 pixels, else JPEG; or "mixed".
        quality: of the JPEGs made here; those that need no change are kept byte for byte.
        jpeg_share: with "mixed", the share of images, between 0 and 1, that is JPEG; the rest is raw. An image's place
            in the split alone decides.
        background: what a transparent image is laid on, as `timecat.data.rgb.color` names it.
    """

    max_side: int | None = None
    storage: str = "auto"
    quality: int = 90
    jpeg_share: float | None = None
    background: str = WHITE

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The stored (width, height) of an image."""
        longest = max(width, height)
        if self.max_side is None or longest <= self.max_side:
            return width, height
        return max(1, round(width * self.max_side / longest)), max(1, round(height * self.max_side / longest))

    def is_raw(self, width: int, height: int, index: int) -> bool:
        """Whether image `index` of a split, of this stored size, is stored raw."""
        if self.jpeg_share is not None:
            drawn = hashlib.blake2b(index.to_bytes(8, "little"), digest_size=8).digest()  # no period that classes share
            return int.from_bytes(drawn, "little") >= self.jpeg_share * 2**64
        return self.storage == "raw" or (self.storage == "auto" and max(width, height) <= RAW_SIDE)


class Flag(IntFlag):
    """What is to be told of a stored image."""

    KEPT = 1  # its bytes are the source file's
    CONSTANT = 2  # it has one colour
    TRANSPARENT = 4  # it was laid on the background


@dataclass(frozen=True)
class Encoded:
    """One image as it is stored: mode (JPEG or RAW), sides in pixels, bytes; flags: a sum of `Flag`."""

    mode: int
    height: int
    width: int
    data: bytes
    flags: int


def encode(item: Path | np.ndarray, settings: Settings, index: int) -> Encoded:
    """Make one image what is stored: upright RGB, or its own bytes where it is a JPEG that needs no change.

    Every file is decoded in full, so that a truncated one is found here.

    Args:
        item: an encoded file, or uint8 (height, width, 3).
        index: its place in the split.

    Raises:
        TooLarge: a smaller max_side takes it.
        Exception: of any kind, from PIL: the image is broken.
    """
    if not isinstance(item, Path):
        return _store(Image.fromarray(item), settings, index)
    source = read_regular(item)
    try:
        return _encode_file(source, settings, index)
    except Image.DecompressionBombError:
        if settings.max_side is None:
            raise TooLarge(f"more than {2e-6 * (Image.MAX_IMAGE_PIXELS or 0):.0f} million pixels") from None
    with _one_huge_at_a_time:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_DECODED // 2  # Pillow refuses twice as many
        try:
            return _encode_file(source, settings, index)
        except Image.DecompressionBombError:
            raise TooLarge(f"more than {1e-6 * MOST_DECODED:,.0f} million pixels, reduced or not") from None
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _encode_file(source: bytes, settings: Settings, index: int) -> Encoded:
    try:
        image = Image.open(BytesIO(source))
    except UnidentifiedImageError:
        raise ValueError("no image that Pillow knows") from None  # Pillow's own text has an address in memory
    plain_jpeg = image.format == "JPEG" and image.mode == "RGB"
    image.load()
    size = settings.size(*image.size)
    unchanged = turn_of(image) is None and size == image.size and not settings.is_raw(*size, index)
    if plain_jpeg and unchanged and _turbojpeg_is_content(source, *size):
        return Encoded(JPEG, image.height, image.width, source, Flag.KEPT | (Flag.CONSTANT * is_constant(image)))
    return _store(image, settings, index)


def _store(image: Image.Image, settings: Settings, index: int) -> Encoded:
    flags = Flag.TRANSPARENT * is_transparent(image)
    image = upright_rgb(image, settings.background)
    size = settings.size(*image.size)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    flags |= Flag.CONSTANT * is_constant(image)
    raw = settings.is_raw(*size, index)
    if max(size) > (MAX_SIDE if raw else MAX_JPEG_SIDE) or image.width * image.height > MOST_PIXELS:
        raise TooLarge(f"{image.width} x {image.height} pixels are too many")
    if raw:
        return Encoded(RAW, image.height, image.width, image.tobytes(), flags)
    stream = BytesIO()
    image.save(stream, "JPEG", quality=settings.quality)
    return Encoded(JPEG, image.height, image.width, stream.getvalue(), flags)


def _turbojpeg_is_content(source: bytes, width: int, height: int) -> bool:
    """Whether the decoder that training uses finds nothing to say; Pillow hides libjpeg's warnings of lost data."""
    try:
        return decoded(np.frombuffer(source, np.uint8), height, width).size > 0
    except ValueError:
        return False
