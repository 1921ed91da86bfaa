"""What lies beside exported weights: config.json, by which they are loaded, and README.md, the model card."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from timecat import __version__, files
from timecat.data.transform import EvalTransform
from timecat.errors import UserError
from timecat.networks.cat import FrozenCat
from timecat.study.directory import StudyDirectory, read_record
from timecat.study.reported import Report
from timecat.study.saved_plan import PLAN_AGAIN, SavedPlan, SavedPreprocessing, read_networks
from timecat.study.schema import mismatch

CONFIG, CARD = "config.json", "README.md"
REPORT_AGAIN = "`timecat report` writes it again"
PAPER = "https://arxiv.org/abs/2506.18221"
UPLOAD = "hf upload USER/NAME {out}"


class ExportedMember(TypedDict):
    """One network: its weights' file, if they were exported, and what `Weights` has of it."""

    file: str
    features: int
    backbone: str | None


class Config(TypedDict):
    """config.json.

    Keys:
        data: the probe whose head it is; None without one.
        sha256: of each file that was exported, by its name.
    """

    timecat: str
    study: str
    cat: str
    data: str | None
    repetition: int
    members: list[ExportedMember]
    num_features: int
    classes: list[str]
    preprocessing: dict[str, Any]
    sha256: dict[str, str]


class _Preprocessed(TypedDict):
    preprocessing: SavedPreprocessing


@dataclass(frozen=True)
class Exported:
    """Which cat of which study it is."""

    study: Path
    cat: str
    repetition: int
    data: str | None


def config_of(cat: FrozenCat, source: Exported, names: list[str]) -> Config:
    """config.json of a cat whose members' files have these names."""
    _, networks = read_networks(StudyDirectory(source.study), source.cat, source.repetition)
    members: list[ExportedMember] = [
        {"file": name, "features": network["features"], "backbone": network["backbone"]}
        for name, network in zip(names, networks, strict=True)
    ]
    return {
        "timecat": __version__,
        "study": source.study.resolve().name,
        "cat": source.cat,
        "data": source.data,
        "repetition": source.repetition,
        "members": members,
        "num_features": cat.num_features,
        "classes": list(cat.classes),
        "preprocessing": cast(EvalTransform, cat.transform).preprocessing.as_json(),
        "sha256": {},
    }


def model_card(config: Config, source: Exported, license_: str | None, names: list[str]) -> str:
    """README.md: what it is, how to use it, what it was trained on at which cost, and its scores.

    Raises:
        UserError: the study is of an earlier version.
    """
    directory = StudyDirectory(source.study)
    plan, cat = read_record(directory.plan, SavedPlan, PLAN_AGAIN) or {}, source.cat
    _, networks = read_networks(directory, cat, source.repetition)
    runs = {run["name"]: run for run in plan["runs"]}
    trained = [
        {**runs[network["member"]], "steps": network["step"]} for network in networks if network["member"] is not None
    ]
    lines = [
        "---",
        "library_name: timecat",
        "pipeline_tag: image-feature-extraction" if source.data is None else "pipeline_tag: image-classification",
        *([f"license: {license_}"] if license_ else []),
        "tags: [time-cat, frozen-features, linear-probe]",
        "---",
        "",
        f"# {cat} of {config['study']}",
        "",
        f"The penultimate features of {len(networks)} networks side by side, {config['num_features']:,} of them, "
        f"frozen: Time-Cat ([{PAPER.removeprefix('https://')}]({PAPER})).",
        "",
        *_training(trained, plan),
        *_scores(directory, cat),
        *_use(config, names),
    ]
    if license_ is None:
        lines += [
            "## Licence",
            "",
            "Not stated. Weights may be bound by the licence of the images they were trained on.",
            "",
        ]
    return "\n".join(lines)


def _training(runs: list[dict[str, Any]], plan: dict[str, Any]) -> list[str]:
    if not runs:
        return ["Its networks were trained elsewhere.", ""]
    model, data = runs[0]["model"], runs[0]["data"]
    longest = {
        run["name"]: run["steps"] for run in sorted(runs, key=lambda run: run["steps"])
    }  # of snapshots of one run
    images = sum(longest.values()) * plan["batch_size"]
    trained_on = " + ".join(data["mixture"]) if data.get("mixture") else data["train"]
    sizes = sorted({run["steps"] for run in runs})
    return [
        "## Training",
        "",
        f"- network: ResNet{model['depth']}, width {model['width']}, {model['stem']} stem",
        f"- data: {trained_on}, {model['num_classes']:,} classes",
        f"- budget: {images:,} training images in all, batches of {plan['batch_size']:,}, "
        f"{', '.join(f'{steps:,}' for steps in sizes)} steps a member",
        f"- seeds: {', '.join(str(run['seed']) for run in runs)}",
        f"- optimiser: {model['optimizer']}, learning rate {model['lr']:g}, weight decay {model['weight_decay']:g}, "
        f"{model['schedule']} schedule",
        "",
    ]


def _scores(directory: StudyDirectory, cat: str) -> list[str]:
    """The report's, over all repetitions; these weights are those of one of them."""
    report = cast(Report | None, read_record(directory.report("heldout", ".json"), Report, REPORT_AGAIN))
    if report is None or cat not in report["cats"]:
        return []
    lines = [
        "## Scores",
        "",
        "Linear probe on the frozen features, top-1 %; chosen on held-out images, the test set read once. The mean "
        "over the study's repetitions with its 95 % interval; these weights are those of one repetition.",
        "",
        "| data | test images | top-1 % | 95 % | over |",
        "|---|--:|--:|--:|---|",
    ]
    for data in report["data"]:
        found = report["cats"][cat]["acc1"].get(data["name"])
        if found is not None:
            low, high = found["interval"]
            over = "test images" if data["unit"] == "images" else f"{data['repetitions']} repetitions"
            lines.append(
                f"| {data['name']} | {data['test_images']:,} | {found['mean']:.1f} | {low:.1f} to {high:.1f} | {over} |"
            )
    return [*lines, ""]


def _use(config: Config, names: list[str]) -> list[str]:
    size = "x".join(map(str, config["preprocessing"]["input_size"][1:]))
    lines = ["## Use", ""]
    if any(name.endswith(".safetensors") for name in names):
        gives = "logits" if config["data"] else "features"
        lines += [
            "```python",
            "import timecat",
            "from PIL import Image",
            "",
            'cat = timecat.load(".")  # this directory',
            f'{gives} = cat(cat.transform(Image.open("image.jpg"))[None])',
            "```",
            "",
            "Each member file is a plain state dict under its network's own keys.",
            "",
        ]
    outputs = "`features`" + (" and `logits`" if config["data"] else "")
    for name, by in (("cat.pt2", "`torch.export.load`"), ("cat.onnx", "any ONNX runtime")):
        if name in names:
            lines += [f"`{name}`: by {by}, of normalised images (b, 3, {size}), gives {outputs}.", ""]
    return [*lines, f"`{CONFIG}` has the preprocessing under timm's names.", ""]


def read_config(out: Path) -> Config:
    """
    Raises:
        UserError: it is not what `timecat export` writes.
    """
    content = files.read_json(out / CONFIG)
    why = mismatch(content, Config) or mismatch(content, _Preprocessed)
    if why is not None:
        raise UserError(f"{out / CONFIG}: is not what `timecat export` writes ({why}); export the cat again")
    return cast(Config, content)
