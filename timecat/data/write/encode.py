"""One image as `timecat write` stores it: its own bytes where it is a JPEG that needs no change, else upright RGB."""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from timecat.data.beton import JPEG, MAX_PAGE_SIZE, MAX_SIDE, RAW

RAW_SIDE = 64  # pixels: storage "auto" keeps images up to this side raw
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


@dataclass(frozen=True)
class Settings:
    """How images are stored.

    Attributes:
        max_side: pixels that the longest side is reduced to (Lanczos), never enlarged; None leaves every size.
        storage: "raw", "jpeg", "auto": raw where the longest side is then at most 64 pixels, else JPEG; or "mixed".
        quality: of the JPEGs made here; those that need no change are kept byte for byte.
        jpeg_share: with "mixed", the share of images, between 0 and 1, that is JPEG; the rest is raw. An image's place
            in the split alone decides.
    """

    max_side: int | None = None
    storage: str = "auto"
    quality: int = 90
    jpeg_share: float | None = None

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


@dataclass(frozen=True)
class Encoded:
    """One image as it is stored: mode (JPEG or RAW), sides in pixels, bytes; kept: the bytes are the source file's."""

    mode: int
    height: int
    width: int
    data: bytes
    kept: bool


def encode(item: Path | np.ndarray, settings: Settings, index: int) -> Encoded:
    """Make one image what is stored: upright RGB, or its own bytes where it is a JPEG that needs no change.

    Every file is decoded in full, so that a truncated one is found here. Alpha is dropped, as torchvision does.

    Args:
        item: an encoded file, or uint8 (height, width, 3).
        index: its place in the split.

    Raises:
        Exception: of any kind, from PIL: the image is broken.
    """
    if isinstance(item, Path):
        source = item.read_bytes()
        try:
            image = Image.open(BytesIO(source))
        except UnidentifiedImageError:
            raise ValueError("no image that Pillow knows") from None  # Pillow's own text has an address in memory
        plain_jpeg = image.format == "JPEG" and image.mode == "RGB"
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
    else:
        source, plain_jpeg, turn, image = b"", False, None, Image.fromarray(item)
    size = settings.size(*image.size)
    unchanged = turn is None and size == image.size and not settings.is_raw(*size, index)
    if plain_jpeg and unchanged and _turbojpeg_is_content(source, *size):
        return Encoded(JPEG, image.height, image.width, source, True)
    image = upright_rgb(image)
    size = settings.size(*image.size)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    if max(size) > MAX_SIDE or image.width * image.height * 3 > MAX_PAGE_SIZE:
        raise ValueError(f"{image.width} x {image.height} pixels are too many; give --max-side")
    if settings.is_raw(*size, index):
        return Encoded(RAW, image.height, image.width, image.tobytes(), False)
    stream = BytesIO()
    image.save(stream, "JPEG", quality=settings.quality)
    return Encoded(JPEG, image.height, image.width, stream.getvalue(), False)


def _turbojpeg_is_content(source: bytes, width: int, height: int) -> bool:
    """Whether the decoder that training uses finds nothing to say; Pillow hides libjpeg's warnings of lost data."""
    try:
        return simplejpeg.decode_jpeg(source, fastdct=True).shape == (height, width, 3)
    except ValueError:
        return False


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF tells no orientation, and the pixels are whole
        return 1


def upright_rgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit RGB, turned as its EXIF orientation says.

    Raises:
        ValueError: its pixels have no known range.
    """
    turn = _UPRIGHT.get(_orientation(image))
    image = _rgb(image)
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # 0..65535 -> 0..255
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"its 32-bit pixels (mode {image.mode}) have no known range; convert it to 8 or 16 bits")
    return image.convert("RGB")
