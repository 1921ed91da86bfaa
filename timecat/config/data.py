"""The `data` section of a config: which images, and how they are seen."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from timecat.config.names import check_name
from timecat.config.section import parse_section
from timecat.config.types import (
    Batch,
    BelowOne,
    ClosedUnitInterval,
    NonNegativeInt,
    OpenUnitInterval,
    PositiveFloat,
    PositiveInt,
    Seed,
    Side,
)
from timecat.errors import UserError

Interpolation = Literal["area", "bicubic"]
Preset = Literal["imagenet", "small"]
Normalisation = Literal["imagenet", "cifar", "cifar_public"]
LabelSpace = Literal["shared", "side_by_side"]
Classes = Literal["by_name", "by_number"]


@dataclass(frozen=True)
class ComponentConfig:
    """One component of a mixture: a file, or groups of one.

    Args:
        weight: its share of every epoch's images is weight / the sum of all weights.
        train: training file, relative to the root; data.train where not given.
        source: what `timecat run` makes the file from where it is missing.
        groups: the groups of the file that belong to it, by name or number; all images where not given.
    """

    weight: PositiveFloat
    train: str | None = None
    source: str | None = None
    groups: list[str | int] | None = None


@dataclass(frozen=True)
class ExtraTestConfig:
    """One more test set of a probe, which its chosen heads read as they read data.test.

    Args:
        test: test file, relative to the root.
        source: what `timecat run` makes the file from where it is missing; data.source where not given.
        classes: what a label means. `by_number`: the training file's class of that number. `by_name`: its class of that
            name, as the JSON beside each file tells names; predictions are then among the classes that have an image.
            Not given: by_name where both files tell their names, else by_number.
        ood: its classes are none of the training file's: heads are to tell its images from those of data.test.
    """

    test: str
    source: str | None = None
    classes: Classes | None = None
    ood: bool = False

    def __post_init__(self) -> None:
        if self.ood and self.classes is not None:
            raise UserError("ood and classes contradict each other: its classes are none of the probe's; remove one")


@dataclass(frozen=True)
class DataConfig:
    """Images from .beton files.

    Args:
        train: training file, relative to the root.
        mixture: components by name, such as {fashion: {weight: 0.9}, digits: {weight: 0.1, train: digits.beton}}; an
            epoch then has as many images as all components together, in the weights' shares to within an image.
        label_space: `shared`: a label means the same class in every component; `side_by_side`: each component has
            classes of its own, numbered after those of the components before it.
        val: validation file; without one, `holdout` of the training file is held out.
        test: test file, read by `test` and `probe` alone.
        tests: more test sets of a probe by name, such as {v2: v2/test.beton, far: {test: svhn/test.beton, ood: true}};
            keys of each: test, source, classes, ood.
        root: where the files lie; else the environment's TIMECAT_DATA, else ./data.
        source: what `timecat run` makes missing files from, as in `timecat write SOURCE`, a directory relative to the
            root; without one, they must exist.
        test_fraction: share of each class of a source without splits of its own that becomes the test file.
        max_side: pixels that the longest side of the source's images is reduced to as they are written.
        skip_broken: leave broken images of the source out, and list them beside the file, instead of stopping.
        batch_size: global training batch, over all devices and accumulated batches of a step.
        device_batch_size: most images that a device trains on at once: a step accumulates as many batches as the global
            one then needs. Without it each device takes its share of the global batch at once.
        eval_batch_size: images per device where no gradients are needed.
        resolution: side of what the network sees, in pixels.
        train_resolution: sides at the start and at the end of training, multiples of 32, instead of `resolution`.
        ramp: shares of the epochs between which the side goes from one to the other (libffcv/ffcv-imagenet).
        view: presets of crops and normalisation. `imagenet`: RandomResizedCrop and flip to train, central 224/256 to
            evaluate, ImageNet's mean and deviation. `small`: shifts by up to 4 pixels and flip to train, the whole
            image to evaluate, CIFAR's mean and deviation.
        augment: train with the preset's training view, or with its evaluation view.
        flip: mirror half of the training images; instead of the preset's.
        padding: pixels that the images are shifted by at most; instead of the preset's.
        scale: range of a random crop's area; instead of the preset's.
        interpolation: `area` is FFCV's, `bicubic` Pillow's; instead of the preset's.
        normalisation: mean and deviation of `imagenet`, of `cifar`, or `cifar_public`, CIFAR's mean and the mean of
            single images' deviations, which much public code divides by; instead of the preset's.
        holdout: share of the training file that is held out, stratified and the same for every seed.
        subset: images of the training file that are used at all, stratified; all where not given.
        train_images: images the training file must hold; where not given, `timecat plan` counts those of the file, or
            of its source.
        num_classes: labels must be below it; set by the model.
        seed: of order and augmentation; set by the study.
        steps: of the training, which `ramp` is a share of; set by the study.
        workers: decoding threads per process; without a number, a core is left to each training process.
    """

    train: str | None = None
    mixture: dict[str, Any] | None = None
    label_space: LabelSpace = "shared"
    val: str | None = None
    test: str | None = None
    tests: dict[str, Any] | None = None
    root: str | None = None
    source: str | None = None
    test_fraction: OpenUnitInterval | None = None
    max_side: PositiveInt | None = None
    skip_broken: bool = False
    batch_size: Batch = 256
    device_batch_size: Batch | None = None
    eval_batch_size: Batch = 256
    resolution: Side = 224
    train_resolution: tuple[Side, Side] | None = None
    ramp: tuple[ClosedUnitInterval, ClosedUnitInterval] = (0.0, 1.0)
    view: Preset = "imagenet"
    augment: bool = True
    flip: bool | None = None
    padding: NonNegativeInt | None = None
    scale: tuple[ClosedUnitInterval, ClosedUnitInterval] | None = None
    interpolation: Interpolation | None = None
    normalisation: Normalisation | None = None
    holdout: BelowOne = 0.0
    subset: PositiveInt | None = None
    train_images: PositiveInt | None = None
    num_classes: PositiveInt | None = None
    seed: Seed = 0
    steps: PositiveInt | None = None
    workers: PositiveInt | None = None

    def __post_init__(self) -> None:
        self._check_mixture()
        self._check_tests()
        if self.padding is not None and self.padding >= self.resolution:
            raise UserError(
                f"data.padding {self.padding}: choose from 0 to {self.resolution - 1}, below the resolution"
            )
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"data.scale {list(self.scale)}: give two shares of the area, 0 < low <= high <= 1")
        if self.train_resolution is not None and any(side % 32 for side in self.train_resolution):
            raise UserError(f"data.train_resolution {list(self.train_resolution)}: give two multiples of 32")
        if self.ramp[0] > self.ramp[1]:
            raise UserError(f"data.ramp {list(self.ramp)}: give two shares of the epochs, 0 <= start <= end <= 1")

    def _check_mixture(self) -> None:
        if self.mixture is None:
            if self.train is None:
                raise UserError("data.train is missing; add it")
            return
        if not self.mixture:
            raise UserError("data.mixture names no component; add one, such as digits: {weight: 1}, or remove it")
        components = {}
        for name, given in self.mixture.items():
            component = given
            check_name(name, "a component of data.mixture")
            if not isinstance(given, ComponentConfig):
                component = parse_section(ComponentConfig, given, f"data.mixture.{name}")
            if component.train is None and self.train is None:
                raise UserError(f"data.mixture.{name}.train is missing, and there is no data.train; add one of them")
            components[name] = component
        object.__setattr__(self, "mixture", components)
        for key in ("subset", "val"):
            if getattr(self, key) is not None:
                raise UserError(f"data.{key} contradicts data.mixture: remove it; data.holdout is of each component")

    def _check_tests(self) -> None:
        found = {}
        for name, given in (self.tests or {}).items():
            test = {"test": given} if isinstance(given, str) else given
            check_name(name, "a test set of data.tests")
            if not isinstance(test, ExtraTestConfig):
                try:
                    test = parse_section(ExtraTestConfig, test, f"data.tests.{name}")
                except UserError as error:
                    told = str(error)
                    raise UserError(told if "data.tests." in told else f"data.tests.{name}: {told}") from None
            found[name] = test
        object.__setattr__(self, "tests", found or None)

    @property
    def extra_tests(self) -> dict[str, ExtraTestConfig]:
        """The further test sets, by name; empty without any."""
        return self.tests or {}

    @property
    def components(self) -> dict[str, ComponentConfig]:
        """The mixture's, by name; empty without one."""
        return self.mixture or {}

    @property
    def component_files(self) -> dict[str, Path]:
        """The file of each component."""
        return {name: self.directory / str(each.train or self.train) for name, each in self.components.items()}

    @property
    def shares(self) -> dict[str, float]:
        """Of each component, adding up to 1."""
        total = sum(component.weight for component in self.components.values())
        return {name: component.weight / total for name, component in self.components.items()}

    def train_side(self, epoch: int, epochs: int) -> int:
        """Side in pixels of what the network trains on in an epoch of a training of so many."""
        if self.train_resolution is None:
            return self.resolution
        low, high = self.train_resolution
        start, end = (int(share * epochs) for share in self.ramp)
        if epoch <= start or epoch >= end:
            return low if epoch <= start else high
        return round((low + (high - low) * (epoch - start) / (end - start)) / 32) * 32

    @property
    def directory(self) -> Path:
        """Where the files lie."""
        return Path(self.root or os.environ.get("TIMECAT_DATA") or "data")

    @property
    def files(self) -> dict[str, Path]:
        """The .beton file of each split that is named; of a mixture `train` is that of each component.

        A further test set is the split `test_<name>`.
        """
        named = {"train": None if self.mixture else self.train, "val": self.val, "test": self.test}
        named |= {extra_split(name): test.test for name, test in self.extra_tests.items()}
        return {split: self.directory / name for split, name in named.items() if name}

    @property
    def training_files(self) -> list[Path]:
        """The training file, or those of the mixture's components; and the validation file."""
        named = [path for split, path in self.files.items() if split in ("train", "val")]
        return list(dict.fromkeys([*self.component_files.values(), *named]))

    @property
    def sources(self) -> dict[Path, str | None]:
        """Every file that is named, and what it is made from."""
        named = dict.fromkeys(self.files.values(), self.source)
        for name, path in self.component_files.items():
            named[path] = self.components[name].source or self.source
        for test in self.extra_tests.values():
            named[self.directory / test.test] = test.source or self.source
        return named


def extra_split(test: str) -> str:
    """What the split, and the part, of a further test set is called."""
    return f"test_{test}"
