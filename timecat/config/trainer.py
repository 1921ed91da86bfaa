"""The `trainer` section of a config: Lightning's Trainer, of which studies and probes read a few keys."""

import re
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from timecat.config.types import MAX_COUNT, Devices, NonNegativeFloat, NonNegativeInt, PositiveInt
from timecat.errors import UserError, shown

Accelerator = Literal["auto", "gpu", "cuda", "cpu", "mps", "tpu", "hpu"]
Precision = Literal[
    "bf16-mixed",
    "16-mixed",
    "32-true",
    "64-true",
    "bf16-true",
    "16-true",
    "bf16",
    "16",
    "32",
    "64",
    16,
    32,
    64,
    "transformer-engine",
    "transformer-engine-float16",
]
Classes = str | dict[str, Any]  # a class path, or {class_path: …, init_args: …}


@dataclass(frozen=True)
class PassedOn:
    """What else Lightning's Trainer takes, with its types; LightningCLI checks the values when a trainer is made."""

    barebones: bool = False
    callbacks: Classes | list[Classes] | None = None
    check_val_every_n_epoch: PositiveInt | None = None
    detect_anomaly: bool = False
    enable_autolog_hparams: bool = True
    enable_checkpointing: bool | None = None
    enable_model_summary: bool | None = None
    enable_progress_bar: bool | None = None
    fast_dev_run: int | bool = False
    inference_mode: bool = True
    limit_predict_batches: int | float | None = None
    limit_test_batches: int | float | None = None
    limit_val_batches: int | float | None = None
    log_every_n_steps: PositiveInt | None = None
    min_epochs: NonNegativeInt | None = None
    min_steps: NonNegativeInt | None = None
    model_registry: str | None = None
    num_sanity_val_steps: int | None = None
    plugins: Classes | list[Classes] | None = None
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | dict[str, Any] | None = None
    reload_dataloaders_every_n_epochs: NonNegativeInt = 0
    strategy: Classes = "auto"
    use_distributed_sampler: bool = True
    val_check_interval: int | float | str | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for key in ("limit_predict_batches", "limit_test_batches", "limit_val_batches"):
            _check_batches(key, getattr(self, key), least=0)
        for key in ("callbacks", "plugins", "profiler", "strategy"):
            check_classes(f"trainer.{key}", getattr(self, key))
        if not isinstance(self.val_check_interval, str | dict):
            _check_batches("val_check_interval", self.val_check_interval)
        if self.num_sanity_val_steps is not None and not -1 <= self.num_sanity_val_steps <= MAX_COUNT:
            raise UserError("trainer.num_sanity_val_steps: give a whole number of 0 or more, or -1 for all")


def check_classes(where: str, given: Any) -> None:
    """Refuse what names no class of Lightning's.

    Raises:
        UserError: so.
    """
    for each in given if isinstance(given, list) else [given]:
        path = each.get("class_path") if isinstance(each, dict) else each
        if not (each is None or isinstance(each, bool)) and (not isinstance(path, str) or not path.strip()):
            raise UserError(f"{where} is {shown(given)}; give a class_path with init_args, or a list of these")


def _check_batches(key: str, value: float | None, least: int = 1) -> None:
    """Refuse what is neither a number of batches nor a share of them.

    Raises:
        UserError: so.
    """
    if value is None or (isinstance(value, int) and least <= value <= MAX_COUNT):
        return
    if isinstance(value, int) or not (0 < value <= 1 or value == least):
        raise UserError(
            f"trainer.{key} is {shown(value)}; it must be a whole number of batches, {least} or more, or a share of "
            "them between 0 and 1"
        )


PASSED_ON = tuple(field.name for field in fields(PassedOn))


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how Lightning trains.

    Args:
        accelerator: `auto`, `gpu` or `cpu`.
        devices: of each member; of a probe on a CPU, the processes that compute features.
        num_nodes: machines of each member.
        precision: such as `bf16-mixed`; Lightning's default is float32, which on a GPU computes convolutions and matrix
            products in TF32.
        sync_batchnorm: BatchNorm normalises the images of all devices together.
        gradient_clip_val: bound of the gradient.
        gradient_clip_algorithm: `norm` or `value`.
        deterministic: torch's deterministic algorithms alone.
        benchmark: cuDNN tries its algorithms at each new size; true where not deterministic.
        limit_train_batches: of an epoch.
        overfit_batches: train on so many batches over and over.
        accumulate_grad_batches: worked out from data.device_batch_size.
        max_steps: set by the study.
        max_epochs: of a probe; a study sets its steps.
        max_time: of a probe on images.
        default_root_dir: of a probe on images.
        logger: class_path and init_args of one of Lightning's loggers, or a list of these: in a study beside
            TensorBoard's, each member a run that goes on through requeues; of a probe on images instead of it.
        other: what else the section holds, as it is written.
    """

    accelerator: Accelerator = "auto"
    devices: int | str | list[int] = "auto"
    num_nodes: Devices = 1
    precision: Precision | None = None
    sync_batchnorm: bool = False
    gradient_clip_val: NonNegativeFloat | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    limit_train_batches: int | float | None = None
    overfit_batches: int | float = 0.0
    accumulate_grad_batches: PositiveInt = 1
    max_steps: int = -1
    max_epochs: int | None = None
    max_time: Any = None
    default_root_dir: str | None = None
    logger: Any = None
    other: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_classes("trainer.logger", self.logger)
        _check_batches("limit_train_batches", self.limit_train_batches)
        _check_batches("overfit_batches", self.overfit_batches, least=0)
        for key in ("max_steps", "max_epochs"):
            value = getattr(self, key)
            if value is not None and not -1 <= value <= MAX_COUNT:
                raise UserError(f"trainer.{key} is {shown(value)}; it must be a whole number of 1 or more, or -1")
        numbers = self.devices if isinstance(self.devices, list) else str(self.devices).split(",")
        several = isinstance(self.devices, list) or len(numbers) > 1
        if self.devices != "auto" and (
            not all(re.fullmatch("-1|[0-9]{1,5}", str(number)) for number in numbers)
            or len({str(number) for number in numbers}) < len(numbers)
            or (not several and str(self.devices) == "0")
            or not numbers
        ):
            raise UserError(
                f"trainer.devices is {shown(self.devices)}; it must be a number of them, auto, or their numbers"
            )

    @property
    def devices_per_member(self) -> int:
        """The number of devices where one is given, else 1."""
        return max(1, int(str(self.devices))) if str(self.devices).isdigit() else 1
