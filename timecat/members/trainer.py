"""LightningCLI for members: the trainer of each member of a study, and Lightning's own subcommands on one member."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from timecat.cluster.gloo import choose_interface
from timecat.config.study import StudyConfig
from timecat.data.datamodule import ImageData
from timecat.errors import UserError
from timecat.members.ckpt_path import came_from_loading
from timecat.members.ddp import keep_to_this_machine
from timecat.members.feature_writer import FeatureWriter
from timecat.members.loggers import logger_classes
from timecat.members.member import Member
from timecat.process import in_slurm_step, in_torchrun
from timecat.study.plan import MemberPlan
from timecat.study.study import Study


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def drop_adverts() -> None:
    """No "💡 Tip" to install litlogger and litmodels, which upload to the platform of Lightning's makers.

    Lightning 2.6 logs both for every trainer: pytorch/trainer/connectors/callback_connector.py and logger_connector/.
    """
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advert)


def _is_no_advert(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("💡 Tip")


def quiet_lightning() -> None:
    """One line per member is enough: Lightning's tips and device banners repeat for every one."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.", category=UserWarning)
    warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")


class TimecatCLI(LightningCLI):
    """LightningCLI whose errors are one line.

    Args:
        arguments: a subcommand and its command line; or a config's sections, with run=False.
    """

    def __init__(
        self,
        model: type[LightningModule],
        arguments: list[str] | dict[str, Any],
        run: bool,
        trainer_defaults: dict[str, Any] | None = None,
    ) -> None:
        # LightningCLI warns where both `args` and a command line are there; ours is the rest of that command line.
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
        logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
        drop_adverts()
        if not run:
            quiet_lightning()
        subcommand = arguments[0] if isinstance(arguments, list) else ""
        defaults = dict(trainer_defaults or {})
        if subcommand == "predict":
            defaults["callbacks"] = [FeatureWriter()]  # which takes the indices from the batch
            warnings.filterwarnings("ignore", message="Couldn't infer the batch indices")
        try:
            super().__init__(
                model,
                ImageData,
                save_config_callback=SaveConfigCallback if subcommand == "fit" else None,
                save_config_kwargs={"overwrite": True},  # a requeued run writes it again
                seed_everything_default=0 if run else False,
                trainer_defaults=defaults,
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
        except Exception as error:
            if not came_from_loading(error):
                raise
            why = _one_line(error)[:300] or type(error).__name__
            raise UserError(f"--ckpt_path: the checkpoint is of another network or training ({why})") from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (ImportError, ValueError, TypeError, MisconfigurationException) as error:
            raise UserError(f"trainer: {_one_line(error)}") from None
        keep_to_this_machine(trainer)
        return trainer

    def trainer_of_member(self, *, callbacks: list[Any], plugins: Sequence[Any] = (), **ours: Any) -> Trainer:
        """A new trainer by the config's section, with these callbacks, plugins and settings besides.

        Raises:
            UserError: Lightning refuses the section, or SLURM started another number of processes.
        """
        settings = self.parser.instantiate(self.config, instantiate_groups=False).trainer.as_dict()
        if settings.get("benchmark") is None:
            settings["benchmark"] = not settings.get("deterministic")
        given = settings.pop("callbacks", None) or []
        callbacks = [*(given if isinstance(given, list) else [given]), *callbacks]
        of_config = settings.pop("plugins", None) or []
        plugins = [*(of_config if isinstance(of_config, list | tuple) else [of_config]), *plugins]
        on_slurm = SLURMEnvironment.detect() and in_slurm_step() and not in_torchrun()
        if in_torchrun():  # in a job of SLURM too
            plugins.append(TorchElasticEnvironment())
        elif on_slurm:
            plugins.append(SLURMEnvironment(auto_requeue=False))  # timecat.cluster.stop does it
        elif SLURMEnvironment.detect():  # in a batch script without srun, where Lightning's own choice hangs
            plugins.append(LightningEnvironment())
        try:
            trainer = Trainer(**{**settings, **ours}, callbacks=callbacks, plugins=plugins)
            if trainer.strategy.root_device.type == "cuda":
                torch.set_float32_matmul_precision("high")  # TF32, which cuDNN's convolutions are by default
            if on_slurm and trainer.world_size != trainer.num_nodes * trainer.num_devices:
                raise UserError(
                    f"SLURM started {trainer.world_size} processes for trainer.num_nodes {trainer.num_nodes} x "
                    f"trainer.devices {trainer.num_devices}; give sbatch --nodes and --ntasks-per-node to fit"
                )
            keep_to_this_machine(trainer)
            if trainer.num_nodes > 1:
                choose_interface()
            # Its SIGTERM handler speaks to the other processes from within the handler, and ends a training that nobody
            # saved (as in Lightning issue 21406); ours are those of timecat.cluster.stop.
            trainer._signal_connector.register_signal_handlers = lambda: None
            if settings.get("sync_batchnorm") and trainer.strategy.root_device.type == "cpu":
                raise UserError("trainer.sync_batchnorm: torch has it for GPUs only; set it to false on a CPU")
            return trainer
        except (ImportError, ValueError, TypeError, MisconfigurationException) as error:
            raise UserError(f"trainer: {_one_line(error)}") from None


class StudyCLI(TimecatCLI):
    """Parses a study's trainer section; makes the module, the data and the trainer of each of its members."""

    def __init__(self, study: Study) -> None:
        self.study = study
        sections = {key: dict(section) for key, section in study.file.written.items()}
        logger_classes(sections["trainer"].pop("logger", None))  # `user_loggers` makes them for each member
        super().__init__(Member, sections, run=False)

    def instantiate_classes(self) -> None:
        """Nothing yet: each member has a seed, a horizon and perhaps a model of its own."""

    def instantiate(self, plan: MemberPlan) -> tuple[Member, ImageData]:
        """A member's module and data."""
        data = {"seed": plan.seed, "steps": plan.steps, "num_classes": plan.model.num_classes}
        return Member(**asdict(plan.model)), ImageData(**{**asdict(plan.data), **data})


class MemberCLI(TimecatCLI):
    """Lightning's own subcommands on one member, such as `timecat validate --config … --ckpt_path …`."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(Member, arguments, run=True)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--study", type=StudyConfig | None, default=None)
        parser.link_arguments("model.num_classes", "data.num_classes")
        parser.link_arguments("seed_everything", "data.seed")
