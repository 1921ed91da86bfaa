"""The kernel without a compiler: turbojpeg by simplejpeg, OpenCV's area resize by cv2, both from wheels.

FFCV's pixels, bit for bit, at more Python an image; `kernel` says what a kernel is.
"""

import cv2
import numpy as np

from timecat.data.beton import JPEG
from timecat.data.kernel import decoded

cv2.setNumThreads(1)  # the loader has its own


def see(image: np.ndarray, box: np.ndarray, out: np.ndarray) -> None:
    """Write the box of an image, black where it reaches beyond, to uint8 (side, side, 3)."""
    height, width, _ = image.shape
    top, left, box_height, box_width, flip = box.tolist()
    bottom, right = top + box_height, left + box_width
    inside = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if inside.shape[:2] != (box_height, box_width):
        padded = np.zeros((box_height, box_width, 3), np.uint8)
        row, column = max(-top, 0), max(-left, 0)
        padded[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
        inside = padded
    cv2.resize(inside, out.shape[1::-1], dst=out, interpolation=cv2.INTER_AREA)
    if flip:
        cv2.flip(out, 1, dst=out)


def fill(file, offsets, sizes, modes, heights, widths, boxes, out, failed) -> None:
    """Write the view of each sample into `out`; `failed[i]` = 1 where it is no JPEG of these sides."""
    file = np.asarray(file)  # whose slices cost less than a memmap's
    for i, (start, size, mode, height, width) in enumerate(
        zip(*(each.tolist() for each in (offsets, sizes, modes, heights, widths)), strict=True)
    ):
        image = file[start : start + size]
        if mode == JPEG:
            try:
                image = decoded(image, height, width)
            except ValueError:
                failed[i] = 1
                continue
        see(image.reshape(height, width, 3), boxes[i], out[i])
