"""What a probe would leave, made up: results and predictions of a study that nobody trained."""

import numpy as np

from timecat.study.directory import write_record
from timecat.study.study import Study


def write_results(study: Study, right: dict[str, dict[str, np.ndarray]]) -> None:
    """Write results.json and predictions.npz of each data set.

    Args:
        right: of each data set, for each seeded cat by its name, which test images it gets right, bool (n,).
    """
    for probe in study.probes:
        seeded = {cat.name: cat for cat in study.seeded_cats(probe.name)}
        count = len(next(iter(right[probe.name].values())))
        labels = np.arange(count) % probe.model.num_classes
        predictions, cats = {"labels": labels}, {}
        for name, hits in right[probe.name].items():
            cat = seeded[name]
            predictions[name] = np.where(hits, labels, (labels + 1) % probe.model.num_classes)
            result = {
                "key": "made up",
                "chosen_by_acc1": 50.0,
                "acc1": 100 * float(hits.mean()),
                "acc5": 100.0,
                "mean_per_class": 100 * float(hits.mean()),
                "worst_class": {"class": 0, "acc1": 0.0},
                "per_class": [100 * float(hits[labels == k].mean()) for k in range(probe.model.num_classes)],
                "lr": 0.1,
                "weight_decay": 1e-3,
                "epochs": 4,
                "heads": [],
                "head": cat.cat.head,
                "seeds": [snapshot.plan.seed for snapshot in cat.snapshots],
                "steps": cat.cat.steps,
                "snapshots": [snapshot.name for snapshot in cat.snapshots],
                "features": cat.features,
            }
            of_cat = cats.setdefault(
                cat.cat.name, {"members": cat.cat.members, "steps": cat.cat.steps, "repetitions": {}}
            )
            of_cat["repetitions"][str(cat.repetition)] = result
        settings = {"protocol": "heldout", "classes": probe.model.num_classes, "settings": {}, "data": probe.name}
        directory = study.directory.probe(probe.name)
        write_record(directory.results("heldout"), {**settings, "test_images": count, "train_images": 0, "cats": cats})
        np.savez(directory.predictions("heldout"), **predictions)
