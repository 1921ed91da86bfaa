"""What each cat of a study costs: to train, to run on an image, and to keep. Pure arithmetic, no torch."""

from collections.abc import Iterable
from typing import TypedDict, TypeVar

from timecat.config.files import ProbeFile
from timecat.config.member import MemberConfig
from timecat.data.count import train_images
from timecat.study import costs
from timecat.study.plan import MemberPlan, SeededCat, Snapshot
from timecat.study.study import Study

Number = TypeVar("Number", int, float)


class Costs(TypedDict):
    """A cat's, in one repetition; None where a network's are not known in closed form.

    Keys:
        parameters: of all members' backbones; with their classifiers where these are the head.
        training_flops: of all images of all members; a run that several of its snapshots come from counts once.
        features: their number.
        inference_flops: by data set, of one image through the backbones and the head.
        head_bytes: by data set, of the head in float32; 0 where no head is fitted.
    """

    parameters: int | None
    training_flops: float | None
    features: int
    inference_flops: dict[str, int | None]
    head_bytes: dict[str, int]


def costs_of_cats(study: Study) -> dict[str, Costs]:
    """By cat; the data sets are those of the study's probes that it is probed on."""
    first = [seeded for seeded in study.seeded_cats() if seeded.repetition == 0]
    return {seeded.cat.name: costs_of_cat(study, seeded) for seeded in first}


def costs_of_cat(study: Study, seeded: SeededCat) -> Costs:
    """Of one cat in one repetition."""
    probes = {probe.name: probe for probe in study.probes if seeded.cat.is_probed_on(probe.name)}
    size = costs.parameters if seeded.cat.head == "own" else costs.backbone_parameters
    models = [_model(snapshot) for snapshot in seeded.snapshots]
    longest: dict[str, Snapshot] = {}
    for snapshot in sorted(seeded.trained, key=lambda snapshot: snapshot.step):
        longest[snapshot.plan.name] = snapshot
    runs = [_run_flops(snapshot.plan, snapshot.step, study.batch_size) for snapshot in longest.values()]
    return {
        "parameters": _sum(model and size(model) for model in models),
        "training_flops": None if seeded.cat.elsewhere else _sum(runs),
        "features": seeded.features,
        "inference_flops": {
            name: _sum(
                [
                    *(model and costs.backbone_flops(model, probe.data.resolution) for model in models),
                    *(costs.head_flops(*sizes) for sizes in _maps(seeded, probe)),
                ]
            )
            for name, probe in probes.items()
        },
        "head_bytes": {
            name: 0 if seeded.cat.head == "own" else sum(costs.head_bytes(*sizes) for sizes in _maps(seeded, probe))
            for name, probe in probes.items()
        },
    }


def _model(snapshot: Snapshot) -> MemberConfig | None:
    """None of a network that is no ResNet of ours."""
    return None if snapshot.elsewhere and snapshot.elsewhere.backbone else snapshot.plan.model


def _maps(seeded: SeededCat, probe: ProbeFile) -> list[tuple[int, int]]:
    """(inputs, outputs) of the linear maps behind the backbones."""
    classes = probe.model.num_classes
    if seeded.cat.head == "own":
        return [(snapshot.width, snapshot.plan.model.num_classes) for snapshot in seeded.snapshots]
    if seeded.cat.head == "ensemble":
        return [(snapshot.width, classes) for snapshot in seeded.snapshots]
    projection = [(seeded.all_features, seeded.features)] if seeded.features < seeded.all_features else []
    return [*projection, (seeded.features, classes)]


def _run_flops(plan: MemberPlan, steps: int, batch: int) -> float | None:
    """Of a run to this step; None where its images' sides go by epochs whose length is not known yet."""
    if plan.data.train_resolution is None:
        return steps * batch * costs.training_flops(plan.model, plan.data.resolution)
    per_epoch = (train_images(plan.data) or 0) // batch
    if not per_epoch:
        return None
    epochs = -(-plan.steps // per_epoch)
    taken = [min(per_epoch, steps - epoch * per_epoch) for epoch in range(-(-steps // per_epoch))]
    sides = [plan.data.train_side(epoch, epochs) for epoch in range(len(taken))]
    return sum(count * batch * costs.training_flops(plan.model, side) for count, side in zip(taken, sides, strict=True))


def _sum(values: Iterable[Number | None]) -> Number | None:
    """None where one is not known."""
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
