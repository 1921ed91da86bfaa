"""LightningCLI for members (`study` configs) and for probes on images (`probe` configs)."""

import logging
import warnings
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from timecat.config import as_arguments, split_arguments
from timecat.data.datamodule import ImageData
from timecat.errors import UserError
from timecat.heads.linear_probe import EPOCHS, LinearProbe
from timecat.heads.sweep import ProbeConfig
from timecat.members.member import Member
from timecat.process import in_slurm_step
from timecat.study.study import Run, StudyConfig


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def quiet_lightning() -> None:
    """One line per member is enough: Lightning's tips and device banners repeat for every one."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.", category=UserWarning)
    warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")


class _CLI(LightningCLI):
    """LightningCLI whose errors are one line."""

    def __init__(self, model: type[LightningModule], arguments: list[str], run: bool) -> None:
        # LightningCLI warns where both `args` and a command line are there; ours is the rest of that command line.
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
        logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
        if not run:
            quiet_lightning()
        try:
            super().__init__(
                model,
                ImageData,
                save_config_callback=SaveConfigCallback if run and arguments[0] == "fit" else None,
                save_config_kwargs={"overwrite": True},  # a requeued run writes it again
                seed_everything_default=0 if run else False,
                parser_kwargs={
                    "exit_on_error": False,
                    **{name: {"exit_on_error": False} for name in self.subcommands()},
                },
                args=arguments,
                run=run,
            )
        except ArgumentError as error:
            raise UserError(_one_line(error)) from None
        except MisconfigurationException as error:
            raise UserError(f"trainer: {_one_line(error)}") from None


class StudyCLI(_CLI):
    """Parses a study's config once; makes the module, the data and the trainer of each of its members."""

    def __init__(self, arguments: list[str]) -> None:
        configs, overrides, others = split_arguments(arguments)
        # the study's own keys are read by `Study`, which knows the cats by name
        kept = {key: value for key, value in overrides.items() if not key.startswith("study.")}
        super().__init__(Member, [*as_arguments(configs, kept), *others], run=False)
        self.study_config = self.config

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--study", type=StudyConfig)

    def instantiate_classes(self) -> None:
        """Nothing yet: each member has a seed, a horizon and perhaps a model of its own."""

    def instantiate(self, run: Run) -> tuple[Member, ImageData, dict[str, Any]]:
        """The run's module and data, and the trainer section with its classes instantiated."""
        model = {**self.study_config.model.as_dict(), **run.model}
        batch_size, lr_batch_size = self.study_config.data.batch_size, model["lr_batch_size"]
        scale = batch_size / lr_batch_size if lr_batch_size else 1.0  # 0 is refused by the member
        changes = {
            "model": {**run.model, "steps": run.steps, "lr": model["lr"] * scale},
            "data": {"seed": run.seed, "steps": run.steps, "num_classes": model["num_classes"]},
        }
        try:
            self.config = self.parser.parse_object(changes, self.study_config)
        except ArgumentError as error:
            raise UserError(_one_line(error)) from None
        self.__dict__.pop("config_dump", None)  # LightningCLI's copy, which becomes the module's hyperparameters
        instance = self.parser.instantiate(self.config)
        return instance.model, instance.data, instance.trainer.as_dict()

    def trainer(self, settings: dict[str, Any], *, callbacks: list[Any], **ours: Any) -> Trainer:
        given = settings.pop("callbacks", None) or []
        callbacks = [*(given if isinstance(given, list) else [given]), *callbacks]
        plugins = settings.pop("plugins", None) or []
        plugins = list(plugins) if isinstance(plugins, list | tuple) else [plugins]
        on_slurm = SLURMEnvironment.detect() and in_slurm_step()
        if on_slurm:
            plugins.append(SLURMEnvironment(auto_requeue=False))  # timecat.cluster.stop does it
        elif SLURMEnvironment.detect():  # in a batch script without srun, where Lightning's own choice hangs
            plugins.append(LightningEnvironment())
        try:
            trainer = Trainer(**{**settings, **ours}, callbacks=callbacks, plugins=plugins)
            if on_slurm and trainer.world_size != trainer.num_nodes * trainer.num_devices:
                raise UserError(
                    f"SLURM started {trainer.world_size} processes for trainer.num_nodes {trainer.num_nodes} x "
                    f"trainer.devices {trainer.num_devices}; give sbatch --nodes and --ntasks-per-node to fit"
                )
            # Its SIGTERM handler speaks to the other processes from within the handler, and ends a training that nobody
            # saved (as in Lightning issue 21406); ours are those of timecat.cluster.stop.
            trainer._signal_connector.register_signal_handlers = lambda: None
            if settings.get("sync_batchnorm") and trainer.strategy.root_device.type == "cpu":
                raise UserError("trainer.sync_batchnorm: torch has it for GPUs only; set it to false on a CPU")
            return trainer
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UserError(f"trainer: {_one_line(error)}") from None


class MemberCLI(_CLI):
    """Lightning's own subcommands on one member, such as `timecat validate --config … --ckpt_path …`."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(Member, arguments, run=True)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--study", type=StudyConfig | None, default=None)
        parser.link_arguments("model.num_classes", "data.num_classes")
        parser.link_arguments("seed_everything", "data.seed")


class ProbeCLI(_CLI):
    """A linear probe on images; with run=False only its config is parsed."""

    def __init__(self, arguments: list[str], run: bool = True) -> None:
        self._run = run
        super().__init__(LinearProbe, arguments, run=run)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--probe", type=ProbeConfig, default=ProbeConfig())
        parser.link_arguments("model.num_classes", "data.num_classes")
        parser.link_arguments("seed_everything", "data.seed")

    def instantiate_classes(self) -> None:
        if self._run:
            super().instantiate_classes()


def lightning(command: str, arguments: list[str], probe: bool) -> None:
    """Run a subcommand of LightningCLI on a probe's or a member's config."""
    (ProbeCLI if probe else MemberCLI)([command, *arguments])


@dataclass(frozen=True)
class ProbeSettings:
    """What the fast path takes of a probe's config: the same keys as LightningCLI reads for a probe on images."""

    data: ImageData
    classes: int
    epochs: int
    seed: int
    grid: list[tuple[float, float]]  # (learning rate, weight decay) of each head
    devices: int
    probe: ProbeConfig

    @classmethod
    def read(cls, path: str) -> "ProbeSettings":
        """Parse the config as `timecat fit --config` would.

        Raises:
            UserError: no probe's config, an unknown key, a wrong type, no test file, or nothing held out.
        """
        ProbeConfig.read(path)  # whose errors are plainer
        config = ProbeCLI(["--config", path], run=False).config
        data = ImageData(**config.data.as_dict())
        if not data.holdout:
            raise UserError(
                f"{path}: data.holdout is 0, but weight decay and epoch are chosen on held-out data; set 0.2"
            )
        probe, devices = ProbeConfig(**config.probe.as_dict()), config.trainer.devices
        return cls(
            data,
            config.model.num_classes,
            config.trainer.max_epochs or EPOCHS,
            data.seed,
            probe.grid(config.model.lr),
            devices if isinstance(devices, int) and devices > 0 else 1,
            probe,
        )

    def heads(self) -> dict[str, Any]:
        """What the heads are a function of, beside the features."""
        return {
            "solver": self.probe.solver,
            "lrs": sorted({lr for lr, _ in self.grid}),
            "weight_decays": self.probe.weight_decays,
            "epochs": self.epochs,
            "batch_size": self.data.batch_size,
            "seed": self.seed,
            "holdout": self.data.holdout,
            "refit": self.probe.refit,
            "views": self.probe.views,
        }
