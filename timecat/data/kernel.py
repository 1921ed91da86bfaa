"""What decodes and resizes: FFCV's compiled kernel, or the same two functions from wheels where FFCV is not built.

A kernel is a module with two functions. `fill(file, offsets, sizes, modes, heights, widths, boxes, out, failed)`
writes the view of each of n samples into `out`, uint8 (n, side, side, 3), and sets `failed[i]` to 1 where turbojpeg
complains or a JPEG has other sides than the index says: `file` is the mapped file, read-only uint8, the others are rows
of the index and of `views.boxes`. `see(image, box, out)` writes one view of uint8 (height, width, 3). Both let other
threads run. What is wrong with a sample that failed, `decode` says for either kernel.
"""

import os
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np
import simplejpeg
from PIL import Image

from timecat.errors import UserError
from timecat.process import is_first_rank
from timecat.terminal import say
from timecat.versions import KERNEL

_HARMLESS = ("extraneous bytes before marker", "unknown JFIF revision")  # turbojpeg warns, and the pixels are whole


@cache
def kernel() -> ModuleType:
    """FFCV's, or `cv2_kernel` where FFCV cannot be imported, which is said once; or what the environment names.

    Both give the same pixels, so that neither a config nor a recipe knows of it.

    Raises:
        UserError: the environment names another kernel, or FFCV where it cannot be imported.
    """
    chosen, without = choose()
    if without is not None:
        if is_first_rank():
            say(f"{without}: decoding by simplejpeg and cv2, which give the same pixels")
        os.environ[KERNEL] = "cv2"  # the processes that this one starts need not find out, and say it, again
    return chosen


def choose() -> tuple[ModuleType, str | None]:
    """What `kernel` gives, and why it is not FFCV's where the environment leaves the choice.

    Raises:
        UserError: as `kernel`.
    """
    wanted = os.environ.get(KERNEL) or "auto"
    if wanted not in ("auto", "ffcv", "cv2"):
        raise UserError(f"{KERNEL}={wanted}: no such kernel; take ffcv or cv2, or unset it")
    without = None
    if wanted != "cv2":
        try:
            from timecat.data import ffcv_kernel

            return ffcv_kernel, None
        except (ImportError, OSError) as error:  # not built, or a library that it was built with is gone
            if wanted == "ffcv":
                raise UserError(f"{KERNEL}=ffcv: it cannot be imported ({error}); unset it, or install ffcv") from None
            without = f"ffcv cannot be imported ({error})"
    from timecat.data import cv2_kernel

    return cv2_kernel, without


def is_harmless(complaint: str) -> bool:
    """Whether the pixels are whole in spite of what turbojpeg says of a JPEG."""
    return any(harmless in complaint for harmless in _HARMLESS)


def decode(data: np.ndarray, height: int, width: int) -> tuple[np.ndarray, str]:
    """Decode a JPEG's bytes, uint8 (n,), as far as it goes, by a decoder that remembers no image before.

    Returns:
        pixels: uint8 (height, width, 3), or (0, 0, 3) of one that cannot be decoded or has other sides.
        complaint: what turbojpeg says of it, or nothing.
    """
    complaint = ""
    for strict in (True, False):
        try:
            return decoded(data, height, width, strict), complaint
        except ValueError as error:
            complaint = complaint or str(error)
        if is_harmless(complaint):  # in the header, simplejpeg refuses what turbojpeg only warns of
            data = _plain(data)
    return np.empty((0, 0, 3), np.uint8), complaint


def _plain(data: np.ndarray) -> np.ndarray:
    """A JPEG's bytes without those before its first scan that belong to no segment, and of JFIF's revision 1.1."""
    given, at = data.tobytes(), 2
    kept = [given[:2]]
    while (at := given.find(b"\xff", at)) >= 0:
        while given[at + 1 : at + 2] == b"\xff":
            at += 1
        marker, end = given[at + 1 : at + 2], at + 2 + int.from_bytes(given[at + 2 : at + 4])
        if marker == b"\xda" or end <= at + 2 or end > len(given):
            return np.frombuffer(b"".join([*kept, given[at:]]), np.uint8)
        if marker != b"\0":
            segment = given[at:end]
            if marker == b"\xe0" and segment[4:9] == b"JFIF\0":
                segment = segment[:9] + b"\1\1" + segment[11:]
            kept.append(segment)
        at = end if marker != b"\0" else at + 2
    return data


def decoded(data: np.ndarray, height: int, width: int, strict: bool = True) -> np.ndarray:
    """A JPEG's pixels, uint8 (height, width, 3), by simplejpeg.

    Raises:
        ValueError: it has other sides, or turbojpeg complains; where not strict, only of what ends the decoding.
    """
    try:
        found = simplejpeg.decode_jpeg_header(data, strict=strict)[:2]
    except KeyError:  # simplejpeg has no name for its subsampling
        found = height, width
    if found != (height, width):  # before memory is taken for its own sides, or for the index's
        raise ValueError(f"it has {found[1]} x {found[0]} pixels, its index says {width} x {height}")
    try:
        pixels = np.zeros((height, width, 3), np.uint8)
    except MemoryError:
        raise ValueError(f"there is no memory for {width} x {height} pixels") from None
    whole = simplejpeg.decode_jpeg(data, fastdct=True, strict=strict, buffer=pixels)
    if whole.shape != pixels.shape:
        raise ValueError(f"it has {whole.shape[1]} x {whole.shape[0]} pixels, its index says {width} x {height}")
    return whole


def see_bicubic(image: np.ndarray, box: np.ndarray, out: np.ndarray) -> None:
    """As a kernel's `see`, by Pillow's bicubic resize, which is torchvision's."""
    top, left, box_height, box_width, flip = map(int, box)
    seen = Image.fromarray(image).crop((left, top, left + box_width, top + box_height))
    seen = seen.resize(out.shape[1::-1], Image.Resampling.BICUBIC)
    out[:] = np.asarray(seen)[:, ::-1] if flip else np.asarray(seen)


def fill_bicubic(fill: Callable[..., None], file, offsets, sizes, modes, heights, widths, boxes, out, failed) -> None:
    """As a kernel's `fill`, which it decodes by, with Pillow's bicubic resize; without the GIL for the most part."""
    for i in range(len(offsets)):
        this = slice(i, i + 1)
        stored = np.empty((1, heights[i], widths[i], 3), np.uint8)
        whole = np.array([[0, 0, heights[i], widths[i], 0]])
        fill(file, offsets[this], sizes[this], modes[this], heights[this], widths[this], whole, stored, failed[this])
        if not failed[i]:
            see_bicubic(stored[0], boxes[i], out[i])
