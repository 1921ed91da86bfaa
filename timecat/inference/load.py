"""A study's cat as a module in one's own code: frozen, with its transform, and with a probe's head where asked for."""

from pathlib import Path

import safetensors.torch

from timecat import files
from timecat.config.section import suggestion
from timecat.data.preprocessing import Preprocessing
from timecat.data.transform import EvalTransform
from timecat.errors import UserError
from timecat.heads.linear_head import Classifier, load_head
from timecat.inference.card import CONFIG, read_config
from timecat.inference.export import HEAD
from timecat.networks.backbone import Weights
from timecat.networks.cat import FrozenCat
from timecat.study.directory import ProbeDirectory, StudyDirectory
from timecat.study.results import read_stored
from timecat.study.saved_plan import SavedNetwork, read_networks, read_preprocessing


def load(study: str | Path, cat: str | None = None, *, data: str | None = None, repetition: int = 0) -> FrozenCat:
    """Load a cat of a finished study, on the CPU; every byte of its weights is checked.

    Args:
        study: its directory, such as runs/demo; or one that `timecat export` wrote, without anything else.
        cat: its name in study.cats.
        data: the probe whose chosen head classifies, and whose preprocessing `transform` then is; without it, features
            alone, and the preprocessing that the members were trained for.
        repetition: of the study, from 0; each has other seeds.

    Returns:
        A frozen module of normalised images (b, 3, h, w): features (b, num_features) float32, or with `data` logits
        (b, num_classes). `cat.transform(image)` makes such images of PIL images and of uint8 tensors.

    Raises:
        UserError: there is no such study, cat, repetition or probe; something is not trained, or is another file than
            was written; the cat is no concatenation of networks in files.
    """
    directory = StudyDirectory(Path(study))
    if cat is None:
        if (directory.path / CONFIG).is_file():
            return _exported(directory.path)
        raise UserError(f"{study}: name one of the study's cats too, or a directory that `timecat export` wrote")
    config, networks = read_networks(directory, cat, repetition)
    if config.get("soup") or config.get("project"):
        raise UserError(f"{directory}: {cat} is a soup or a projection; load the cat that it is made of")
    weights = [_weights(directory, network) for network in networks]
    if data is None:
        preprocessing = _of_members(directory, cat, networks)
        return FrozenCat(weights, transform=EvalTransform(preprocessing))
    if config.get("head") == "own":
        raise UserError(f"{directory}: {cat} classifies by its members' own heads; leave data= out")
    probe = directory.probe(data)
    head = _head(directory, probe, data, f"{cat}_{repetition}", [files.sha256(one.path) for one in weights])
    kept = read_preprocessing(probe.preprocessing("heldout"))
    if kept is None:
        raise UserError(f"{probe}: is of an earlier version; `timecat probe` with the study's config renews it")
    preprocessing, classes = kept
    classes = classes or tuple(map(str, range(head.num_classes)))
    return FrozenCat(weights, head, classes, EvalTransform(preprocessing))


def load_by_name(name: str, data: str | None = None, head: bool = False) -> FrozenCat:
    """`load` of STUDY:CAT or STUDY:CAT:REPETITION, such as runs/demo:cat5.

    Args:
        head: with the head of the study's one probe, where no `data` names it.

    Raises:
        UserError: it is no such name; as `load`.
    """
    if (Path(name) / CONFIG).is_file():
        return load(name)
    study, cat, repetition = split_name(name)
    if head and data is None:
        probes = StudyDirectory(Path(study)).probed()
        if len(probes) > 1:
            raise UserError(f"{study}: has several probes; name one by --data: {', '.join(probes)}")
        if not probes:
            raise UserError(f"{study}: no probe has results; `timecat probe` makes them")
        data = probes[0]
    return load(study, cat, data=data, repetition=repetition)


def split_name(name: str) -> tuple[str, str, int]:
    """Study, cat and repetition of STUDY:CAT or STUDY:CAT:REPETITION.

    Raises:
        UserError: it is no such name.
    """
    study, *rest = name.split(":")
    if len(rest) not in (1, 2) or not all(rest) or (len(rest) == 2 and not rest[1].isdigit()):
        raise UserError(f"{name}: must be a study's directory and a cat, such as runs/demo:cat5 or runs/demo:cat5:2")
    return study, rest[0], int(rest[1]) if len(rest) == 2 else 0


def _exported(path: Path) -> FrozenCat:
    """What `timecat export` wrote as safetensors."""
    config = read_config(path)
    for name in [*(one["file"] for one in config["members"]), *([HEAD] if config["data"] is not None else [])]:
        if not (path / name).is_file():
            raise UserError(f"{path / name}: no such file; `timecat export` with --format safetensors writes it")
        if files.sha256(path / name) != config["sha256"].get(name):
            raise UserError(f"{path / name}: is damaged, or another file than was exported; export the cat again")
    head, transform = None, EvalTransform(Preprocessing.of_json(config["preprocessing"]))
    if config["data"] is not None:
        head = Classifier.of_state(safetensors.torch.load_file(path / HEAD))
    weights = [Weights(path / one["file"], one["features"], one["backbone"]) for one in config["members"]]
    return FrozenCat(weights, head, config["classes"], transform)


def _weights(directory: StudyDirectory, network: SavedNetwork) -> Weights:
    if network["member"] is None:
        return Weights(Path(str(network["file"])), network["features"], network["backbone"])
    member = directory.member(network["member"])
    member.verify(network["step"])
    return Weights(member.snapshot(network["step"]), network["features"])


def _of_members(directory: StudyDirectory, cat: str, networks: list[SavedNetwork]) -> Preprocessing:
    """The preprocessing that all its members have."""
    found = []
    for network in networks:
        if network["member"] is None:
            raise UserError(
                f"{directory}: {cat} was trained elsewhere, and nobody knows how its images were normalised; name the "
                "probe whose preprocessing it is to have: data="
            )
        path = directory.member(network["member"]).preprocessing
        kept = read_preprocessing(path)
        if kept is None:
            raise UserError(f"{path}: no such file; `timecat fit` with the study's config writes it")
        found.append(kept[0])
    if any(each != found[0] for each in found):
        raise UserError(f"{directory}: members of {cat} were trained on different preprocessing; name a probe's: data=")
    return found[0]


def _head(directory: StudyDirectory, probe: ProbeDirectory, data: str, name: str, weights: list[str]) -> Classifier:
    results = read_stored(probe.results("heldout"))
    if results is None:
        known = directory.probed()
        remedy = suggestion(data, known) if known else "`timecat probe` makes one"
        raise UserError(f"{directory}: no results of a probe {data!r}; {remedy}")
    cat, _, repetition = name.rpartition("_")
    result = results["cats"].get(cat, {}).get("repetitions", {}).get(repetition)
    if result is None or result.get("weights") != weights:
        raise UserError(f"{probe}: no results of {cat}, repetition {repetition}, as it is now; run `timecat probe`")
    path = probe.head(name, "heldout")
    if "head_sha256" not in result or not path.is_file():
        raise UserError(f"{path}: there is no head; with probe.logits true, `timecat probe` makes and keeps it")
    return Classifier.of(load_head(path, result["head_sha256"]))
