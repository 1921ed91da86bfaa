"""The `trainer` section of a config: Lightning's Trainer, of which studies and probes read a few keys."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from timecat.config.types import NonNegativeInt, PositiveInt

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


@dataclass(frozen=True)
class PassedOn:
    """What else Lightning's Trainer takes, with its types; LightningCLI checks the values when a trainer is made."""

    barebones: bool = False
    callbacks: Any = None
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
    log_every_n_steps: NonNegativeInt | None = None
    min_epochs: NonNegativeInt | None = None
    min_steps: NonNegativeInt | None = None
    model_registry: str | None = None
    num_sanity_val_steps: int | None = None
    plugins: Any = None
    profiler: Any = None
    reload_dataloaders_every_n_epochs: NonNegativeInt = 0
    strategy: Any = "auto"
    use_distributed_sampler: bool = True
    val_check_interval: int | float | str | dict[str, Any] | None = None


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
    num_nodes: PositiveInt = 1
    precision: Precision | None = None
    sync_batchnorm: bool = False
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    deterministic: bool | str | None = None
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

    @property
    def devices_per_member(self) -> int:
        """The number of devices where one is given, else 1."""
        return max(1, int(str(self.devices))) if str(self.devices).isdigit() else 1
