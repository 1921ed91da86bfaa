"""A cat outside of timecat: its weights as safetensors, or its computation as torch.export's program or as ONNX."""

import copy
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import safetensors.torch
import torch
from torch import Tensor, nn

from timecat import files
from timecat.data.transform import EvalTransform
from timecat.errors import UserError
from timecat.networks.backbone import Backbone, Named
from timecat.networks.cat import FrozenCat

FORMATS = ("safetensors", "torch", "onnx")
HEAD = "head.safetensors"


class Outputs(nn.Module):
    """features (b, num_features) and, with a head, logits (b, num_classes), of normalised images (b, 3, side, side)."""

    def __init__(self, cat: FrozenCat) -> None:
        super().__init__()
        self.members, self.head = copy.deepcopy(cat.members), copy.deepcopy(cat.head)
        self.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()  # pyright: ignore[reportCallIssue]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = torch.cat([cast(Backbone, member).features(images) for member in self.members], dim=1)
        return (features,) if self.head is None else (features, self.head(features))


def names_of(format_: str, members: int, head: bool) -> list[str]:
    """The files that a format writes."""
    if format_ == "safetensors":
        return [f"member_{k}.safetensors" for k in range(members)] + [HEAD] * head
    return ["cat.pt2"] if format_ == "torch" else ["cat.onnx"]


def check_formats(formats: Sequence[str]) -> None:
    """
    Raises:
        UserError: no such format, or a package that it needs is not there.
    """
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--format {name}: choose of {', '.join(FORMATS)}")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if "onnx" in formats and missing:
        raise UserError(f"--format onnx: needs {' and '.join(missing)}; pip install {' '.join(missing)}")


def export(cat: FrozenCat, out: Path, format_: str) -> None:
    """Write the cat below `out` in one format.

    `safetensors`: a file of each member, under torchvision's keys (a network of torchvision or timm under its own), and
    the head's linear layers. `torch`: `torch.export.load` gives a program, `onnx`: any ONNX runtime a session, of
    images float32 (b, 3, side, side), normalised, that gives features and, with a head, logits; b is free.
    """
    if format_ == "safetensors":
        for name, member in zip(names_of(format_, len(cat.members), False), cat.members, strict=True):
            network = member.network if isinstance(member, Named) else member
            _save(network.state_dict(), out / name)
        if cat.head is not None:
            _save(cat.head.state_dict(), out / HEAD)
        return
    side = cast(EvalTransform, cat.transform).preprocessing.input_size[1]
    example, outputs = torch.zeros(2, 3, side, side), Outputs(cat)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(outputs, (example,), dynamic_shapes={"images": {0: batch}}, strict=False)
    (name,) = names_of(format_, len(cat.members), cat.head is not None)
    if format_ == "torch":
        files.write_with(out / name, lambda file: torch.export.save(program, file))
        return
    named = ["features", "logits"][: 1 if cat.head is None else 2]
    onnx = torch.onnx.export(
        program, (), input_names=["images"], output_names=named, verbose=False, external_data=False
    )
    assert onnx is not None
    files.write_bytes(out / name, onnx.model_proto.SerializeToString())


def _save(state: dict[str, Tensor], path: Path) -> None:
    contiguous = {key: tensor.contiguous() for key, tensor in state.items()}
    files.write_bytes(path, safetensors.torch.save(contiguous, {"format": "pt"}))
