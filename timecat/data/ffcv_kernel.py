"""FFCV's C functions (turbojpeg decode, OpenCV area resize) in one compiled kernel that every loader shares.

The only file that reaches into FFCV, which pyproject.toml pins. `kernel` says what a kernel is.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import torch
from numba import types

from timecat.data.beton import JPEG
from timecat.data.private_directory import private_directory

if not (os.access(Path(__file__).parent, os.W_OK) or os.access(os.path.expanduser("~"), os.W_OK)):
    # numba keeps compiled code beside the source or in the home, and raises where it may write to neither
    settings: Any = numba.config  # which numba fills by name
    settings.CACHE_DIR = settings.CACHE_DIR or str(
        private_directory(Path(tempfile.gettempdir(), f"timecat-{os.getuid()}"))
    )

_threads = torch.get_num_threads()
import ffcv.libffcv  # noqa: E402 # pyright: ignore[reportMissingImports] (1.0.2: C functions, by ctypes)

torch.set_num_threads(_threads)  # importing ffcv sets it to 1 (ffcv/pipeline/compiler.py)

# Named symbols, not ctypes pointers: numba caches compiled code that calls a symbol and refuses to cache a pointer.
for _name in ("imdecode", "resize"):
    _address = ffcv.libffcv.ctypes.cast(getattr(ffcv.libffcv.lib, _name), ffcv.libffcv.c_void_p).value
    llvmlite.binding.add_symbol(f"timecat_ffcv_{_name}", _address)
_decode_jpeg = types.ExternalFunction(
    "timecat_ffcv_imdecode",
    types.int32(types.uintp, types.uint64, *[types.uint32] * 2, types.uintp, *[types.uint32] * 6, *[types.uint8] * 2),
)
_resize_area = types.ExternalFunction("timecat_ffcv_resize", types.void(*[types.int64] * 11))


# numba frees an array after its last use, and an address taken of it does not count as one: addresses are taken only in
# functions that get the array from a caller, who still holds it. No 1-d uint8 array is written to: ffcv.Loader makes
# numba take these for read-only in the whole process (ffcv/memory_managers/os_cache.py).


@numba.njit(nogil=True, cache=True)
def _decode(data, image):
    """Decode a JPEG's bytes into uint8 (height, width, 3); not 0 where turbojpeg has something to say."""
    height, width, _ = image.shape
    return _decode_jpeg(data.ctypes.data, data.size, height, width, image.ctypes.data, height, width, 0, 0, 1, 1, 0, 0)


@numba.njit(nogil=True, cache=True)
def _is_of_sides(data, height, width):
    """Whether a JPEG has these sides, and before its first scan the tables that this one needs.

    By the markers alone, some 0.1 microseconds. FFCV's decoder scales a JPEG of other sides, and leaves rows of memory
    as they are; and it keeps the tables of the image before, and takes them for those that are not there.
    """
    size, at, quantised, huffman, needed = len(data), 2, 0, 0, 0
    sides_agree = progressive = False
    if size < 4 or data[0] != 0xFF or data[1] != 0xD8:
        return False
    while True:
        while at < size and data[at] != 0xFF:
            at += 1
        while at < size and data[at] == 0xFF:
            at += 1
        if at + 2 >= size:
            return False
        marker, start = data[at], at + 3  # past the length
        if marker == 0 or marker == 1 or 0xD0 <= marker <= 0xD7:  # no segment
            at += 1
            continue
        end = at + 1 + (int(data[at + 1]) << 8) + int(data[at + 2])
        if end > size or end < start:
            return False
        if marker == 0xDB:
            while start < end:
                quantised |= 1 << (data[start] & 3)
                start += 129 if data[start] >> 4 else 65
        elif marker == 0xC4:
            while start + 17 <= end:
                huffman |= 1 << ((data[start] & 3) + (4 if data[start] >> 4 else 0))
                count = 17
                for k in range(1, 17):
                    count += int(data[start + k])
                start += count
        elif 0xC0 <= marker <= 0xCF and marker != 0xC8 and marker != 0xCC:
            if start + 6 > end or marker > 0xC2:  # arithmetic coding, lossless, others: turbojpeg may know it
                return False
            rows = (int(data[start + 1]) << 8) + int(data[start + 2])
            columns = (int(data[start + 3]) << 8) + int(data[start + 4])
            sides_agree, progressive = rows == height and columns == width, marker == 0xC2
            for k in range(start + 8, end, 3):
                needed |= 1 << (data[k] & 3)
        elif marker == 0xDA:
            for k in range(start + 2, end - 3, 2):
                dc, ac = huffman >> ((data[k] >> 4) & 3) & 1, huffman >> ((data[k] & 3) + 4) & 1
                if not dc or not (ac or progressive):  # a progressive one's first scan is of DC alone
                    return False
            return sides_agree and needed & ~quantised == 0
        elif marker == 0xD8 or marker == 0xD9:
            return False
        at = end


@numba.njit(nogil=True, cache=True)
def _resize(image, top, bottom, left, right, out):
    _resize_area(
        *(0, image.ctypes.data, image.shape[0], image.shape[1], top, bottom, left, right),
        *(out.ctypes.data, out.shape[0], out.shape[1]),
    )


@numba.njit(nogil=True, cache=True)
def see(image, box, out):
    """Write the box of an image, black where it reaches beyond, to uint8 (side, side, 3)."""
    height, width, _ = image.shape
    top, left, box_height, box_width, flip = box
    bottom, right = top + box_height, left + box_width
    if top < 0 or left < 0 or bottom > height or right > width:
        row0, row1, column0, column1 = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
        padded = np.zeros((box_height, box_width, 3), np.uint8)
        padded[row0 - top : row1 - top, column0 - left : column1 - left] = image[row0:row1, column0:column1]
        _resize(padded, 0, box_height, 0, box_width, out)
    else:
        _resize(image, top, bottom, left, right, out)
    if flip:
        side = out.shape[1]
        for row in range(side):
            for column in range(side // 2):
                for channel in range(3):
                    kept = out[row, column, channel]
                    out[row, column, channel] = out[row, side - 1 - column, channel]
                    out[row, side - 1 - column, channel] = kept


@numba.njit(nogil=True, cache=True)
def fill(file, offsets, sizes, modes, heights, widths, boxes, out, failed):
    """Write the view of each sample into `out`, uint8 (n, side, side, 3); `failed[i]` = 1: no JPEG of these sides.

    `file` is the mapped file, read-only uint8; the other arrays are rows of the index and of `views.boxes`.
    """
    for i in range(len(offsets)):
        data = file[offsets[i] : offsets[i] + sizes[i]]
        if modes[i] == JPEG:
            if not _is_of_sides(data, heights[i], widths[i]):
                failed[i] = 1
                continue
            image = np.empty((heights[i], widths[i], 3), np.uint8)
            if _decode(data, image) != 0:
                failed[i] = 1
                continue
            see(image, boxes[i], out[i])
        else:
            see(data.reshape((heights[i], widths[i], 3)), boxes[i], out[i])
