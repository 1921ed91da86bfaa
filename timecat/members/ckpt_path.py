"""The file that Lightning's own commands are given by --ckpt_path, looked at before they begin."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from timecat.errors import UserError
from timecat.networks.finite import first_not_finite
from timecat.networks.weights_file import check_tensor, read_file

OF_LIGHTNING = ("best", "last", "hpc")  # what it finds itself
NEEDED = {"optimizer_states": list, "lr_schedulers": list, "loops": Mapping, "epoch": int, "global_step": int}
NO_CHECKPOINT = "give one that Lightning's fit, or timecat fit, has written (last.ckpt)"


def check_checkpoint(given: Any, trains: bool) -> None:
    """Refuse a file that is no checkpoint of Lightning's, whose weights are no numbers, or that holds code.

    Args:
        given: what --ckpt_path says; None without.
        trains: whether a training is to go on from it.

    Raises:
        UserError: so.
    """
    if given is None or str(given) in OF_LIGHTNING or "://" in str(given) or str(given).startswith("registry"):
        return
    path = Path(str(given))
    if not path.is_file():
        why = "is not a file" if path.exists() else "no such file"
        raise UserError(f"--ckpt_path {given}: {why}; {NO_CHECKPOINT}")
    try:
        content = read_file(path)
    except UserError as error:
        raise UserError(f"--ckpt_path {error}; {NO_CHECKPOINT}") from None
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise UserError(f"--ckpt_path {given}: has no state_dict; {NO_CHECKPOINT}")
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise UserError(f"--ckpt_path {given}: {key} is no tensor; {NO_CHECKPOINT}")
        check_tensor(f"--ckpt_path {given}", str(key), value)
    if (name := first_not_finite(state.items())) is not None:
        raise UserError(f"--ckpt_path {given}: {name} is not finite; {NO_CHECKPOINT}")
    for key, kind in NEEDED.items() if trains else ():
        if not isinstance(content.get(key), kind) or (key == "optimizer_states" and not content[key]):
            raise UserError(f"--ckpt_path {given}: has no {key} that a training can go on from; {NO_CHECKPOINT}")


def came_from_loading(error: BaseException) -> bool:
    """Whether Lightning raised it where it restores a checkpoint: weights, optimiser and loops of another training."""
    frame: TracebackType | None = error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        if "checkpoint_connector" in code.co_filename and code.co_name != "dump_checkpoint":
            return True
        frame = frame.tb_next
    return False
