"""LightningCLI for a linear probe on images."""

from lightning.pytorch.cli import LightningArgumentParser

from timecat.config.probe import EPOCHS, ProbeConfig
from timecat.data.order import in_blocks
from timecat.heads.linear_probe import LinearProbe
from timecat.members.trainer import TimecatCLI


class ProbeCLI(TimecatCLI):
    """Lightning's subcommands on a probe, such as `timecat fit --config configs/probe/digits.yaml`."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(LinearProbe, arguments, run=True, trainer_defaults={"max_epochs": EPOCHS})

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        self.datamodule.ordered = in_blocks  # as heads on stored features are trained

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--probe", type=ProbeConfig, default=ProbeConfig())
        parser.link_arguments("model.num_classes", "data.num_classes")
        parser.link_arguments("seed_everything", "data.seed")
