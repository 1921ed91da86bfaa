"""The evaluation view as a torchvision transform, for an image in memory: by the loader's kernel."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from timecat.data.kernel import kernel, see_bicubic
from timecat.data.preprocessing import Preprocessing
from timecat.data.rgb import upright_rgb
from timecat.data.views import boxes
from timecat.data.write.encode import Settings


class EvalTransform(v2.Transform):
    """A PIL image, or uint8 (..., 3, h, w), to float32 (..., 3, side, side), cropped, resized and normalised.

    Pixels in, pixels of training and probing out: the same boxes by the same kernel, bit for bit. An image that PIL
    decoded from a JPEG differs by what the decoders do: seen of 255, 1.0 in the mean, at most 3 in 99 %, 14 at most;
    `timecat.features` reads files as the loader does. PIL images are turned upright, laid on `background` where they
    are transparent, and made RGB as `timecat write` does, and reduced to its `max_side`.

    Raises:
        TypeError: neither a PIL image nor uint8.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing

    def forward(self, *inputs: Any) -> Any:
        """One image alone, without torchvision's tree of inputs, whose types would have to be its own."""
        (image,) = inputs
        if isinstance(image, Image.Image):
            return self.normalise(self.see(self._pixels(image))[None])[0]
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim < 3 or image.shape[-3] != 3:
            what = f"{tuple(image.shape)} of {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
            raise TypeError(f"{what}: give a PIL image, or a uint8 tensor (..., 3, h, w)")
        several = image.reshape(-1, *image.shape[-3:]).movedim(1, -1).contiguous().cpu().numpy()
        seen = self.normalise(np.stack([self.see(one) for one in several]))
        return seen.reshape(*image.shape[:-3], *seen.shape[1:])

    def _pixels(self, image: Image.Image) -> np.ndarray:
        image = upright_rgb(image, self.preprocessing.background)
        size = Settings(self.preprocessing.max_side).size(*image.size)
        return np.asarray(image if size == image.size else image.resize(size, Image.Resampling.LANCZOS))

    def see(self, pixels: np.ndarray) -> np.ndarray:
        """The view, uint8 (side, side, 3), of an image, uint8 (h, w, 3)."""
        side = self.preprocessing.input_size[1]
        out = np.empty((side, side, 3), np.uint8)
        height, width, _ = pixels.shape
        box = boxes(self.preprocessing.view, np.array([height]), np.array([width]), side)[0]
        pixels.setflags(write=False)  # the kernel is compiled for what a mapped file gives
        see = see_bicubic if self.preprocessing.interpolation == "bicubic" else kernel().see
        see(pixels, box, out)
        return out

    def normalise(self, seen: np.ndarray | Tensor) -> Tensor:
        """float32 (b, 3, side, side), channels_last, of uint8 (b, side, side, 3)."""
        seen = torch.as_tensor(seen)
        of_channels = self.preprocessing.mean, self.preprocessing.std
        mean, std = (torch.tensor(each, device=seen.device) * 255 for each in of_channels)
        return seen.float().sub_(mean).div_(std).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return str(self.preprocessing)
