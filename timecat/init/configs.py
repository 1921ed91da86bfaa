"""The configs of a study and of its probes on one's own folders, as text: each header says what it is and costs."""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

from timecat.config.study import StudyConfig
from timecat.init.choose import HOLDOUT, Choice
from timecat.init.look import Folder
from timecat.terminal import duration, short

WIDTH = 116
PROBE_HOLDOUT = 0.2
PROBE_EPOCHS = (12, 60)  # at least and at most
PROBE_IMAGES = 60_000  # that an epoch's images and the epochs make, between these


@dataclass(frozen=True)
class Named:
    """A folder and what it is called in files' names and in the report."""

    name: str
    folder: Folder


@dataclass(frozen=True)
class Budget:
    """How long is trained.

    Attributes:
        why: it is so much, in words.
        seconds: that all trainings take; None where nobody can tell. `measured`: on this machine.
    """

    why: str
    seconds: float | None
    measured: bool

    @property
    def time(self) -> str:
        """In words."""
        if self.seconds is None:
            return "not measured; `timecat init … --hours H` measures images/s on a machine, and derives the budget"
        how = "measured" if self.measured else "a guess from its cores, to a factor of 3; --hours measures"
        return f"{duration(self.seconds)} on the machine of `timecat init` ({how}), without probes"


def study_text(own: Named, choice: Choice, budget: Budget, probes: list[str], path: Path, root: str | None) -> str:
    """The study's config.

    Args:
        probes: their configs, from the study's own.
        path: of the config, for the command.
        root: where the .beton files lie, where that is not the default.
    """
    folder, steps = own.folder, choice.steps
    recipe = "configs/tiny/table1.yaml" if choice.depth < 50 else "configs/table1.yaml"
    header = [
        f"Time-Cat on {folder.path}, written by `timecat init`.",
        f"Trains: cat1, cat2, cat4 and cat5 of ResNet{choice.depth} of width {choice.width} at {choice.resolution} px, "
        f"{len(folder.classes):,} classes, by the recipe of {recipe}; five seeds, whose runs share snapshots.",
        f"Costs: {choice.images:,} images a cat ({choice.epochs:,.0f} epochs of {choice.fitted:,}), "
        f"{choice.all_images:,} in all, {short(choice.flops(len(folder.classes)), 'FLOP')}. {budget.why}",
        f"Time: {budget.time}.",
        f"Expect: not known for these images; {_expect(choice)}",
        f"Not tuned on these images: learning rate {choice.lr} (measured: 0.01 for ResNet10 of width 16; the paper's: "
        "0.0025 for ResNet50), weight decay. Images are mirrored: data.flip false where that changes what they show.",
        f"Command: timecat run --config {path}    (Ctrl-C and again: it goes on)",
    ]
    lines = [
        *_comment(header),
        "seed_everything: 0",
        "study:",
        f"  name: {own.name}",
        "  repetitions: 1 # 3 or more tell what seeds are worth, at so many times the cost",
        "  cats:",
        *(f"    cat{n}: {{members: {n}, steps: {steps // n}}}" for n in (1, 2, 4, 5)),
        f"  probes: [{', '.join(probes)}]",
        "model:",
        f"  depth: {choice.depth}",
        f"  width: {choice.width}",
        f"  num_classes: {len(folder.classes)}",
        "  init: lecun",
        "  zero_init_residual: true",
        "  optimizer: schedule_free_adamw",
        f"  lr: {choice.lr}",
        "  momentum: 0.9",
        "  beta2: 0.9955159689799007",
        "  weight_decay: 0.08121616522670176",
        f"  warmup_steps: {min(steps // 50, 2939)}",
        "  label_smoothing: 0.2",
        "  batch_norm: third_step",
        "data:",
        *_data(own, choice, root),
        *([f"  val: {_file(own, 'val')}"] if {"val", "test"} <= set(folder.images) else []),
        f"  holdout: {HOLDOUT} # seen by no member; the own probe is chosen by it",
        f"  batch_size: {choice.batch}",
        *([f"  device_batch_size: {choice.device_batch}"] if choice.device_batch else []),
        f"  eval_batch_size: {_eval_batch(choice)}",
        "trainer:",
        "  accelerator: auto",
        "  devices: 1",
        "  precision: bf16-mixed",
        f"  log_every_n_steps: {max(1, min(50, steps // 20))}",
        f"  val_check_interval: {max(1, steps // 20)}",
        "  check_val_every_n_epoch: null",
    ]
    return "\n".join(lines) + "\n"


def probe_text(probed: Named, own: Named, choice: Choice, study: Path, path: Path, root: str | None) -> str:
    """A probe's config; `study` is the study's path."""
    folder, is_own = probed.folder, probed is own
    holdout = HOLDOUT if is_own else PROBE_HOLDOUT
    fitted = round(folder.train_images * (1 - holdout))
    batch = 256
    while batch > 2 and batch > fitted // 4:
        batch //= 2
    epochs = min(max(PROBE_EPOCHS[0], PROBE_IMAGES // max(1, fitted)), PROBE_EPOCHS[1])
    what = "the images that the members were trained on" if is_own else "images that the members never saw"
    chosen = "held-out training images" + (", which no member saw either" if is_own else "")
    classes = f"{len(folder.classes):,} classes"
    header = [
        f"Linear probe on {folder.path}: {what}. Written by `timecat init`.",
        f"Trains: BatchNorm1d + Linear on a frozen cat; weight decay and epoch chosen on {chosen}.",
        f"Data: {folder.train_images:,} images to train on, {folder.test_images:,} to test, of {classes}.",
        f"Fast path, features once, all cats:   timecat probe --config {study}",
        f"The same on images, one cat:          timecat fit --config {path}",
    ]
    step = choice.steps // 4
    lines = [
        *_comment(header),
        "seed_everything: 0",
        "probe:",
        "  weight_decays: [1.e-4, 1.e-3, 1.e-2]",
        "model:",
        f'  snapshots: ["{StudyConfig.root}/{own.name}/member_[0-3]/snapshot_{step}.pt"]',
        f"  num_classes: {len(folder.classes)}",
        "  lr: 0.1",
        "  weight_decay: 1.e-3",
        "data:",
        *_data(probed, choice, root),
        f"  test: {_file(probed, folder.test)}",
        f"  holdout: {holdout}",
        "  augment: false",
        f"  batch_size: {batch}",
        f"  eval_batch_size: {_eval_batch(choice)}",
        "trainer:",
        f"  max_epochs: {epochs}",
        f"  default_root_dir: {StudyConfig.root}/probe-{probed.name}",
        "  accelerator: auto",
        "  devices: 1",
    ]
    return "\n".join(lines) + "\n"


def _data(named: Named, choice: Choice, root: str | None) -> list[str]:
    folder = named.folder
    return [
        *([f"  root: {root}"] if root else []),
        f"  source: {json.dumps(str(folder.path), ensure_ascii=False)}",
        *([f"  test_fraction: {folder.test_fraction}"] if folder.test_fraction else []),
        *([f"  max_side: {choice.max_side}"] if choice.max_side else []),
        "  skip_broken: true",
        f"  train: {_file(named, 'train')}",
        f"  view: {choice.view}",
        f"  resolution: {choice.resolution}",
        *([f"  padding: {choice.padding}"] if choice.padding is not None else []),
    ]


def _file(named: Named, split: str) -> str:
    return f"{named.name}/{split}.beton"


def _eval_batch(choice: Choice) -> int:
    return 500 if choice.resolution <= 64 else 256


def _expect(choice: Choice) -> str:
    """By docs/results.md, whose figures are of 9,500 images of 20 classes at 32 px."""
    epochs = choice.epochs
    if epochs < 27:
        return (
            f"{epochs:.0f} epochs are few: in docs/results.md one network of twice the width is then as good as cats, "
            "or better. A larger budget is where members win."
        )
    words = (
        "in docs/results.md (20 classes, 32 px, 108 epochs) cat5 is 6.7 and 8.9 points above cat1 on images that the "
        "members never saw, and on the classes of pretraining 2.3, where one wide network does as well."
    )
    return words if epochs >= 54 else f"{words} At {epochs:.0f} epochs it is less, and width is level."


def _comment(header: list[str]) -> list[str]:
    wrap = {"initial_indent": "# ", "subsequent_indent": "#   ", "break_long_words": False, "break_on_hyphens": False}
    return [line for text in header for line in textwrap.wrap(text, WIDTH, replace_whitespace=False, **wrap)]
