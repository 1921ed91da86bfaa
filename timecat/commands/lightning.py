"""Lightning's own commands: fit, validate, test and predict on one network."""

from typing import Any

from timecat.cluster.stop import STOPPED
from timecat.config.files import ProbeFile, check_member, parse_trainer
from timecat.config.member import MemberConfig
from timecat.config.read import as_arguments, read_config
from timecat.data.classes import num_classes
from timecat.errors import UserError
from timecat.process import die_with_parent
from timecat.report.check import check_machines, check_one_value
from timecat.terminal import say

WRITES = {"predict": "\nWrites features.npy and indices.npy to trainer.default_root_dir."}


def on_one_network(command: str, configs: list[str], overrides: dict[str, Any], others: list[str], asks: bool) -> int:
    """LightningCLI on one network: a probe's, or a member's without a study; returns 0.

    Raises:
        UserError: there is no config, or it is not one of these.
    """
    die_with_parent(STOPPED)  # where DDP started this process
    is_probe, config = False, {}
    if not configs and not asks:
        raise UserError(f"timecat {command}: no config given; name one, such as configs/probe/digits.yaml")
    if configs:
        config = read_config(configs, overrides)
        if "tune" in config:
            raise UserError(f"{configs[-1]}: is a config of timecat tune; give it to this command")
        is_probe = "probe" in config
        if is_probe:
            probe = ProbeFile.parse(configs[-1], config)
            model, data = probe.model, probe.data
        else:
            model, data = check_member(config)
        if not asks:
            trainer = parse_trainer(config.get("trainer"))
            check_machines(trainer)
            if command == "fit" and isinstance(model, MemberConfig):
                check_one_value(model, data, trainer.num_nodes * trainer.devices_per_member)
        if not model.num_classes and not asks:
            overrides["model.num_classes"] = num_classes(data)
    ckpt_path = _ckpt_path(others, config)
    needed = command in ("validate", "test") or (command == "predict" and not is_probe)
    if needed and ckpt_path is None and not asks:
        raise UserError(f"--ckpt_path is missing, without which {command} would have random weights; name a checkpoint")
    if not asks and ckpt_path is not None:
        from timecat.members.ckpt_path import check_checkpoint

        check_checkpoint(ckpt_path, trains=command == "fit")
    if asks and {"-h", "--help"} & set(others):
        ends = "" if command == "fit" else " --ckpt_path CHECKPOINT"
        print(f"Lightning's {command} on one network, a probe's or a member's.{WRITES.get(command, '')}")
        print(f"example: timecat {command} --config configs/probe/digits.yaml{ends}\n")
    if command == "fit" and not asks:
        network = "a linear probe on images" if is_probe else "one network, without a study"
        say(f"training {network}, by Lightning" + ("; timecat probe is the way by features" if is_probe else ""))
    arguments = [command, *as_arguments(configs, overrides), *others]
    if is_probe:
        from timecat.heads.cli import ProbeCLI

        ProbeCLI(arguments)
    else:
        from timecat.members.trainer import MemberCLI

        MemberCLI(arguments)
    return 0


def _ckpt_path(others: list[str], config: dict[str, Any]) -> Any:
    """What --ckpt_path says, or the config; None without."""
    for place, word in enumerate(others):
        name, given, value = word.partition("=")
        if name == "--ckpt_path":
            return value if given else next(iter(others[place + 1 :]), None)
    return config.get("ckpt_path")
