"""What an image goes through before a frozen network sees it; kept beside weights, as a wrong one costs silently.

Names and meanings are those of timm's data config (`timm.data.resolve_data_config`), where it has them.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from timecat import files
from timecat.config.data import DataConfig, Interpolation
from timecat.data.rgb import WHITE
from timecat.data.views import MEAN_AND_STD, NORMALISATIONS, View, eval_view
from timecat.errors import UserError

CropMode = Literal["center", "squash"]


@dataclass(frozen=True)
class Preprocessing:
    """From an image to a network's input, in evaluation.

    Attributes:
        input_size: channels, height and width of what the network sees.
        crop_mode: `center`: the central square of crop_pct of the shorter side, resized; `squash`: the whole image,
            whatever its aspect, resized.
        crop_pct: side of the square over the image's shorter side.
        interpolation: `area` is OpenCV's INTER_AREA, as FFCV resizes; `bicubic` Pillow's, as torchvision does.
        mean, std: by channel, of pixels from 0 to 1.
        max_side, storage, quality: how `timecat write` stored the images that the network saw: longest side, in pixels,
            and encoding; a file goes through it too, where its features are to be those of a stored image.
        background: what transparent images are laid on.
    """

    input_size: tuple[int, int, int] = (3, 224, 224)
    crop_mode: CropMode = "center"
    crop_pct: float = 224 / 256
    interpolation: Interpolation = "area"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    max_side: int | None = None
    storage: str = "auto"
    quality: int = 90
    background: str = WHITE

    @property
    def view(self) -> View:
        """Which box of an image is seen."""
        crop = "center" if self.crop_mode == "center" else "whole"
        return View(crop, interpolation=self.interpolation, center_share=self.crop_pct)

    def as_json(self) -> dict[str, Any]:
        """Without a background that is white, as before there were others."""
        content = asdict(self)
        return files.as_json({key: value for key, value in content.items() if (key, value) != ("background", WHITE)})

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> "Preprocessing":
        """What `as_json` gave; keys of others are left out."""
        known: dict[str, Any] = {field.name: content[field.name] for field in fields(cls) if field.name in content}
        known |= {key: tuple(value) for key, value in known.items() if isinstance(value, list)}
        return cls(**known)


def preprocessing_of(data: DataConfig) -> Preprocessing:
    """How a config's images are seen in evaluation, and how they were stored, where a file's JSON beside it tells."""
    view, side = eval_view(data), data.resolution
    mean, std = MEAN_AND_STD[data.normalisation or NORMALISATIONS[data.view]]
    stored = _stored(data.training_files[0].with_suffix(".json"))
    return Preprocessing(
        (3, side, side),
        "center" if view.crop == "center" else "squash",
        view.center_share if view.crop == "center" else 1.0,
        view.interpolation,
        mean,
        std,
        **stored,
    )


def _stored(path: Path) -> dict[str, Any]:
    """What the JSON beside a file tells of how its images were stored; nothing without one.

    Raises:
        UserError: it tells what no `timecat write` does.
    """
    beside = files.read_json(path)
    beside = beside if isinstance(beside, dict) else {}
    told = {key: beside[key] for key in ("max_side", "storage", "quality", "background") if key in beside}
    kinds = {"max_side": (int, type(None)), "storage": str, "quality": int, "background": str}
    for key, value in told.items():
        if not isinstance(value, kinds[key]):
            raise UserError(f"{path}: {key} {value!r:.40} is not what timecat wrote; put the file back, or remove it")
    return told
