"""`timecat knn`: the test images by their nearest training images, on each cat's stored features."""

import math
from collections.abc import Callable, Sequence

import torch

from timecat.errors import UserError
from timecat.heads.neighbours import BANK_ROWS, QUERY_ROWS, classify
from timecat.heads.probe import read_predictions, write_predictions
from timecat.heads.sources import Source, probes_of
from timecat.heads.stored import StoredCat, StoredFeatures, images_to_fit, opened, unfinished
from timecat.progress_bar import bar
from timecat.study.directory import write_record
from timecat.study.knn import Knn, KnnOfCat, KnnSetting

KS = (10, 20, 100, 200)  # DINO's
TEMPERATURE = 0.07  # of both papers


def knn(
    source: Source,
    data: str | None = None,
    ks: Sequence[int] | None = None,
    temperatures: Sequence[float] | None = None,
    show: Callable[[str], None] = lambda name: None,
) -> None:
    """Classify by every cat that has no result with these settings yet; write knn.json and knn.npz.

    Of several k and temperatures one is chosen for each cat on the held-out images; the test set is read once.

    Args:
        ks: KS where not given, those of them that are no more than the training images.
        temperatures: TEMPERATURE where not given; infinity weighs all votes alike.
        show: is told the name of each data set that is done.

    Raises:
        UserError: a k beyond the training images, a member that is not trained yet, or data that make no sense.
    """
    todo = []
    for probe in probes_of(source, data):
        images = images_to_fit(source, probe)
        if ks and max(ks) > images:
            raise UserError(
                f"--k {max(ks)}: {probe.name} has {images:,} training images that are not held out; choose up to that"
            )
        todo.append((probe, sorted(set(ks or [k for k in KS if k <= images] or [images]))))
    for probe, few in todo:
        grid = [(k, temperature) for k in few for temperature in sorted(set(temperatures or [TEMPERATURE]))]
        with opened(source, probe) as features:
            _classify_all(features, grid)
        show(probe.name)


def _classify_all(features: StoredFeatures, grid: list[tuple[int, float]]) -> None:
    passes, directory = features.passes, features.directory
    path, arrays = directory.knn(".json"), directory.knn(".npz")
    settings = {
        "settings": [(k, _or_none(temperature)) for k, temperature in grid],
        "holdout": features.probe.data.holdout,
        "refit": features.probe.probe.refit,
        "views": features.probe.probe.views,
    }
    record = features.begin(path, Knn, settings, arrays)
    predictions = read_predictions(arrays) if record["cats"] else {}
    left = unfinished(record, features.cats)
    left += [cat for cat in features.cats if cat not in left and cat.of.name not in predictions]
    voting = passes.all if features.probe.probe.refit else passes.fit
    labels = passes.labels["test"].cpu().numpy()
    record |= {"train_images": len(voting), "held_images": len(passes.held), "test_images": len(labels)}
    images = len(passes.held) + len(labels)
    title = f"{features.probe.name}: nearest neighbours"
    with bar(title, len(features.cats) * images, "images", (len(features.cats) - len(left)) * images) as advance:
        for cat in left:
            entry, predicted = _of_cat(features, cat, grid, advance)
            predictions |= {"labels": labels, cat.of.name: predicted}
            record["cats"].setdefault(cat.cat, {})[cat.repetition] = entry
            write_predictions(arrays, predictions)
            write_record(path, record)


def _of_cat(features: StoredFeatures, cat: StoredCat, grid: list[tuple[int, float]], advance: Callable[[int], None]):
    passes, part = features.passes, features.train_part
    beside = 4 * (BANK_ROWS * QUERY_ROWS + (BANK_ROWS + QUERY_ROWS) * cat.of.features)
    bank, labels = features.matrix(part, cat, beside), passes.labels[part]
    fit = torch.from_numpy(passes.fit)
    held = features.matrix(passes.held_part, cat, beside)
    predicted = classify(bank, fit, labels[fit.to(labels.device)], held, passes.held, passes.classes, grid, advance)
    truth = passes.labels[passes.held_part].cpu()[passes.held]
    values = (100 * (predicted == truth).double().mean(1)).tolist()
    chosen = max(range(len(grid)), key=lambda cell: (values[cell], *grid[cell]))  # of equals the smoothest
    rows = torch.from_numpy(passes.all) if features.probe.probe.refit else fit
    test = features.matrix("test", cat, beside)
    asked = torch.arange(test.rows)
    (found,) = classify(
        bank, rows, labels[rows.to(labels.device)], test, asked, passes.classes, [grid[chosen]], advance
    ).numpy()
    tried: list[KnnSetting] = [
        {"k": k, "temperature": _or_none(temperature), "acc1": value}
        for (k, temperature), value in zip(grid, values, strict=True)
    ]
    entry: KnnOfCat = {
        "key": cat.key,
        "weights": cat.weights,
        "features": cat.of.features,
        "k": grid[chosen][0],
        "temperature": _or_none(grid[chosen][1]),
        "chosen_by_acc1": values[chosen],
        "acc1": 100 * float((found == passes.labels["test"].cpu().numpy()).mean()),
        "settings": tried,
    }
    return entry, found


def _or_none(temperature: float) -> float | None:
    """As JSON has it, which knows no infinity."""
    return temperature if math.isfinite(temperature) else None
