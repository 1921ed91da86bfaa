"""Weights from elsewhere as torchvision-keyed state dicts: so a cat can be made of any ResNets that one has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from timecat.errors import UserError
from timecat.networks.weights_file import AGAIN, check_numbers, check_tensor, read_file

# where files keep the state dict: Lightning and timm, the public Time-Cat checkpoints, AlgoPerf, others
SECTIONS = ("state_dict", "model_params", "model_state_dict", "model")
# what wrappers put before every key: DataParallel, torch.compile, and the names that modules give their network
PREFIXES = ("module.", "_orig_mod.", "network.", "model.", "model0.", "backbone.", "encoder.", "resnet.", "net.")
LONGEST = 300  # characters of a key
COUNTER = "num_batches_tracked"  # how the keys end that are no weights; old files have none
DOWNSAMPLE = {"downsample.conv.": "downsample.0.", "downsample.bn.": "downsample.1."}  # AlgoPerf's names


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a ResNet onto the CPU, under torchvision's keys.

    Takes plain state dicts and checkpoints of torchvision, timm, Lightning, AlgoPerf and the public Time-Cat code, and
    files of safetensors. Nothing but tensors and plain containers is unpickled.

    Raises:
        UserError: no such file, a damaged one, no weights in it, weights in the middle of schedule-free training, not
            one network, or a weight that is no finite floating-point number.
    """
    state = torchvision_keys(_read(path), str(path))
    for key, value in state.items():
        if not value.is_floating_point() and not key.endswith(COUNTER):
            raise UserError(f"{path}: {key} is of {value.dtype}, no weights; {AGAIN}")
    check_numbers(str(path), state)
    return state


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of any network onto the CPU, under its own keys; files as `read_weights` takes them.

    Raises:
        UserError: as `read_weights`.
    """
    state = _state_dict(_read(path), str(path))
    check_numbers(str(path), state)
    return state


def _read(path: str | Path) -> Any:
    """What a file holds, tensors on the CPU.

    Raises:
        UserError: as `read_file`, or weights in the middle of schedule-free training.
    """
    content = read_file(path)
    if _is_schedule_free_training(content):
        raise UserError(
            f"{path}: holds the weights at which schedule-free takes gradients, not their average; "
            "take the snapshot_<step>.pt beside it"
        )
    return content


def torchvision_keys(content: Any, name: str) -> dict[str, Tensor]:
    """The state dict in what a file holds, under torchvision's keys.

    Args:
        name: what it is called in an error.

    Raises:
        UserError: there is no state dict, or it is that of several networks.
    """
    state = _state_dict(content, name)
    while prefix := _wrapper(state):
        beside = [key for key in state if not key.startswith(prefix)]  # such as metrics: no part of the network
        if any(key.endswith("conv1.weight") for key in beside):
            raise UserError(f"{name}: holds several networks, {prefix} and {beside[0]}; save each one's state dict")
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    for theirs, ours in DOWNSAMPLE.items():
        state = {key.replace(theirs, ours): value for key, value in state.items()}
    return state


def _state_dict(content: Any, name: str) -> dict[str, Tensor]:
    for section in SECTIONS:
        if isinstance(content, Mapping) and isinstance(content.get(section), Mapping):
            content = content[section]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{name}: holds no state dict; save model.state_dict()")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{name}: {key!r} is no tensor, so this is no state dict; save model.state_dict()")
        if not key.isprintable() or len(key) > LONGEST:
            raise UserError(f"{name}: {key[:20]!r}… is no name of a tensor; save model.state_dict()")
        check_tensor(name, key, value)
    return dict(content)


def _wrapper(state: dict[str, Tensor]) -> str | None:
    """What stands before the keys of a ResNet that something wraps."""
    if "conv1.weight" in state:
        return None
    return next((p for p in PREFIXES if any(key.startswith(p) and key.endswith("conv1.weight") for key in state)), None)


def differences(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """Keys of a state dict that are missing, unexpected, of another shape or type, in words, the first ones of each;
    empty where it fits."""
    wrong = {
        "missing": [key for key in wanted if key not in state and not key.endswith(COUNTER)],
        "unexpected": [key for key in state if key not in wanted],
        "of another shape": [key for key in wanted if key in state and state[key].shape != wanted[key].shape],
        "of another type": [
            key for key in wanted if key in state and state[key].is_floating_point() != wanted[key].is_floating_point()
        ],
    }
    return "; ".join(f"{what}: {', '.join(keys[:4])}{', …' * (len(keys) > 4)}" for what, keys in wrong.items() if keys)


def _is_schedule_free_training(content: Any) -> bool:
    """A Lightning checkpoint that schedulefree's optimiser left in its training mode."""
    if not isinstance(content, Mapping):
        return False
    optimizers = content.get("optimizer_states")
    states = [state for state in optimizers if isinstance(state, Mapping)] if isinstance(optimizers, list) else []
    groups = [group for state in states for group in state.get("param_groups") or ()]
    return any(isinstance(group, Mapping) and group.get("train_mode") for group in groups)
